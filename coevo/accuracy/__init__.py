"""How good a network is: models of its error (socket `AccuracyModel`), the trained one with its data and processes."""
