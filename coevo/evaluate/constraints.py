"""Limits on metrics, and by how much a design breaks them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Constraint:
    """A limit on a metric.

    Attributes:
        column: The metric's `Quantity.column`, e.g. ``area_mm2``; limits are in its unit.
        max: Most that is allowed; None for no such limit.
        min: Least that is allowed; None for no such limit.
    """

    column: str
    max: float | None = None
    min: float | None = None

    def excess(self, value: float) -> float:
        """Returns by how much ``value`` is beyond the limits, relative to them (absolute for a limit of 0)."""
        above = 0.0 if self.max is None else max(0.0, value - self.max) / (abs(self.max) or 1.0)
        below = 0.0 if self.min is None else max(0.0, self.min - value) / (abs(self.min) or 1.0)
        return above + below

    @property
    def limits(self) -> str:
        """What is allowed, e.g. ``<= 16``."""
        signs = (("<=", self.max), (">=", self.min))
        return " and ".join(f"{sign} {limit:.6g}" for sign, limit in signs if limit is not None)

    def __str__(self) -> str:
        return f"{self.column} {self.limits}"


def total_excess(constraints: Iterable[Constraint], metrics: Mapping[str, float]) -> tuple[float, str]:
    """Returns the sum of relative excesses over the constraints whose metric is known, and what is broken.

    Args:
        constraints: The limits.
        metrics: Known metrics by column; a constraint on another is left out.
    """
    violation, reasons = 0.0, []
    for constraint in constraints:
        if constraint.column in metrics:
            value = metrics[constraint.column]
            excess = constraint.excess(value)
            if excess > 0:
                violation += excess
                reasons.append(f"{constraint.column} is {value:.6g}, must be {constraint.limits}")
    return violation, "; ".join(reasons)
