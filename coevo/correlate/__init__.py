"""How far can an accuracy model be trusted? Its ranking of random networks against a reference's, and its cost."""

from coevo.correlate.correlation import Correlation, Results, load_correlation
from coevo.correlate.statistics import Agreement, agreement
from coevo.correlate.write import write_results

__all__ = ["Agreement", "Correlation", "Results", "agreement", "load_correlation", "write_results"]
