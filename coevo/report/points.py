"""A run as arrays, as every figure draws it: `Points`, the axes, and who is best at what."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from coevo.design import Quantity, Results
from coevo.pareto import nondominated
from coevo.report.knee import find_knee

Array = NDArray[np.float64]

MAX_DOMINATED = 20_000
"""Dominated designs that the page draws; browsers stand still above."""


@dataclass(frozen=True, eq=False)
class Points:
    """The evaluations of a run, in their order.

    Attributes:
        objectives: What was optimised.
        ids: Of the designs ``(design,)``.
        values: The objectives, minimised ``(design, objective)``; NaN where infeasible.
        natural: The objectives with the sign and unit that people read ``(design, objective)``; NaN if unknown.
        feasible: Whether all constraints hold ``(design,)``.
        front: Rows of the non-dominated designs, in the front's order.
    """

    objectives: tuple[Quantity, ...]
    ids: tuple[str, ...]
    values: Array
    natural: Array
    feasible: NDArray[np.bool_]
    front: NDArray[np.int64]

    @staticmethod
    def of(results: Results) -> Points:
        """Returns the points of a run."""
        shape = (len(results.evaluations), len(results.objectives))
        values, natural = np.full(shape, np.nan), np.full(shape, np.nan)
        sign = np.array([-1.0 if q.maximise else 1.0 for q in results.objectives])
        for row, evaluation in enumerate(results.evaluations):
            if evaluation.violation > 0:
                natural[row] = [evaluation.metrics.get(q.column, np.nan) for q in results.objectives]
            else:
                values[row] = evaluation.values
                natural[row] = sign * values[row]
        rows = {evaluation.id: row for row, evaluation in enumerate(results.evaluations)}
        return Points(
            objectives=results.objectives,
            ids=tuple(rows),
            values=values,
            natural=np.where(np.isfinite(natural), natural, np.nan),
            feasible=np.array([e.violation == 0 for e in results.evaluations], dtype=np.bool_),
            front=np.array([rows[d.evaluation.id] for d in results.front.designs], dtype=np.int64),
        )

    @cached_property
    def dominated(self) -> NDArray[np.int64]:
        """Rows of the feasible designs that are not on the front, all of them."""
        rest = self.feasible.copy()
        rest[self.front] = False
        return np.flatnonzero(rest)

    @cached_property
    def drawn(self) -> NDArray[np.int64]:
        """Rows of the dominated designs that the page draws: all, or a random sample of `MAX_DOMINATED`."""
        if len(self.dominated) <= MAX_DOMINATED:
            return self.dominated
        # The sample is of pixels, not of science: a fixed seed keeps the files of equal runs equal.
        sample = np.random.default_rng(0).choice(self.dominated, MAX_DOMINATED, replace=False)
        return np.asarray(np.sort(sample), dtype=np.int64)

    @cached_property
    def knee(self) -> int | None:
        """Row of the front's knee; None if it has none."""
        found = find_knee(self.values[self.front]) if len(self.front) else None
        return None if found is None else int(self.front[found])

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """Row of the best design of every objective ``(objective,)``; empty if the front is."""
        if not len(self.front):
            return ()
        return tuple(int(self.front[self.values[self.front, j].argmin()]) for j in range(len(self.objectives)))

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every pair of objectives as (x, y); the one that stands first in the experiment is on the y axis."""
        return [(j, i) for i, j in combinations(range(len(self.objectives)), 2)]

    def staircase(self, x: int, y: int) -> NDArray[np.int64]:
        """Returns the feasible rows that no other beats in this pair alone, from best ``x`` to best ``y``."""
        rows = np.flatnonzero(self.feasible)
        pair = self.values[rows][:, [x, y]]
        rows = rows[nondominated(pair, np.zeros(len(pair)))] if len(rows) else rows
        return rows[np.lexsort((self.values[rows, y], self.values[rows, x]))]

    def logarithmic(self, objective: int) -> bool:
        """Whether an objective's axis is logarithmic: it is positive, spans over a decade and is no percentage."""
        known = self.natural[self.feasible, objective]
        if self.objectives[objective].unit == "%" or not len(known) or known.min() <= 0:
            return False
        return bool(known.max() > 10 * known.min())


def label(quantity: Quantity) -> str:
    """Returns title and unit as print has them, e.g. ``Area [mm²]``."""
    return quantity.label.replace("mm2", "mm²")


def axis_label(quantity: Quantity) -> str:
    """Returns an axis title: `label`, and a word where more is better."""
    return f"{label(quantity)}, more is better" if quantity.maximise else label(quantity)


def log_ticks(values: Array) -> list[float]:
    """Returns 1, 2 and 5 of every decade that the values touch, only the 1s over more than three decades."""
    low, high = math.floor(math.log10(values.min())), math.ceil(math.log10(values.max()))
    steps = (1,) if high - low > 3 else (1, 2, 5)
    return [float(f"{step}e{decade}") for decade in range(low, high + 1) for step in steps]


def best_label(quantity: Quantity) -> str:
    """Returns e.g. ``lowest latency`` for the end of the front that is best in a quantity."""
    title = quantity.title or quantity.name
    name = title if title[:2].isupper() else title[:1].lower() + title[1:]
    return f"{'highest' if quantity.maximise else 'lowest'} {name}"
