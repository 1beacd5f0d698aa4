"""From genomes to figures: the joint space, constraints, and the evaluator with its caches."""

from coevo.evaluate.constraints import Constraint
from coevo.evaluate.evaluator import Evaluator, HardwareScore, accuracy_key, computed_metrics, needs_accuracy
from coevo.evaluate.joint import TEMPLATE, JointSpace
from coevo.evaluate.targets import Targets, on_target
from coevo.evaluate.trainings import KeyedTrainings, takes_one_by_one
from coevo.evaluate.unknown import known_metrics

__all__ = [
    "TEMPLATE",
    "Constraint",
    "Evaluator",
    "HardwareScore",
    "JointSpace",
    "KeyedTrainings",
    "Targets",
    "accuracy_key",
    "computed_metrics",
    "known_metrics",
    "needs_accuracy",
    "on_target",
    "takes_one_by_one",
]
