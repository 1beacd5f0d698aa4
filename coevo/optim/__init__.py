"""Optimisers: genomes in, values back, better genomes out; each is one file and the socket `Optimizer`."""
