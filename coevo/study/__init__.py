"""The search itself: the loop, the budget, the log in the run folder, and resuming from it."""

from coevo.study.plan import Budget, Header, Plan
from coevo.study.progress import Progress
from coevo.study.results import load_results
from coevo.study.sources import Source, Sources
from coevo.study.study import Study
from coevo.study.training import FinishedRun, load_run

__all__ = [
    "Budget",
    "FinishedRun",
    "Header",
    "Plan",
    "Progress",
    "Source",
    "Sources",
    "Study",
    "load_results",
    "load_run",
]
