"""Timeloop's language: what it reads (both formats), what it writes, and how it is called. No cost model in here."""
