"""From genomes to figures: the joint space, constraints, and the evaluator with its caches."""

from coevo.evaluate.constraints import Constraint
from coevo.evaluate.evaluator import Evaluator, HardwareScore, accuracy_key, computed_metrics, needs_accuracy
from coevo.evaluate.joint import TEMPLATE, JointSpace

__all__ = [
    "TEMPLATE",
    "Constraint",
    "Evaluator",
    "HardwareScore",
    "JointSpace",
    "accuracy_key",
    "computed_metrics",
    "needs_accuracy",
]
