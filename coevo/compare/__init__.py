"""Which optimiser is best on a problem: several, several seeds each, by the hypervolume of what they find."""

from coevo.compare.comparison import Comparison, ComparisonPlan, load_comparison
from coevo.compare.exact import Yardstick, exact_front, read_front, write_front
from coevo.compare.write import write_comparison

__all__ = [
    "Comparison",
    "ComparisonPlan",
    "Yardstick",
    "exact_front",
    "load_comparison",
    "read_front",
    "write_comparison",
    "write_front",
]
