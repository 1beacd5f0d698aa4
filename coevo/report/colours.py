"""Colours that people with any colour vision tell apart (Okabe and Ito, "Color Universal Design", 2008)."""

from __future__ import annotations

FRONT = "#0072B2"
KNEE = "#D55E00"
CHOSEN = "#000000"
DOMINATED = "#B8B8B8"
INFEASIBLE = "#E3A0A0"

MEMORIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
"""Of memories, from DRAM inwards, and of objectives where they stand side by side."""
COMPUTE = "#333333"
LEAKAGE = "#C4C4C4"
OPERANDS = ("#D55E00", "#56B4E9", "#009E73")
"""Of weights, inputs and outputs."""
