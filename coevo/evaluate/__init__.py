"""From genomes to figures: the joint space, constraints, and the evaluator with its caches."""

from coevo.evaluate.constraints import Constraint
from coevo.evaluate.evaluator import Evaluator, HardwareScore, computed_metrics, needs_accuracy
from coevo.evaluate.joint import TEMPLATE, JointSpace
from coevo.evaluate.trainings import KeyedTrainings, takes_one_by_one

__all__ = [
    "TEMPLATE",
    "Constraint",
    "Evaluator",
    "HardwareScore",
    "JointSpace",
    "KeyedTrainings",
    "computed_metrics",
    "needs_accuracy",
    "takes_one_by_one",
]
