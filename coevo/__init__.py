"""coevo: Pareto fronts of co-designs, network and accelerator searched together."""
