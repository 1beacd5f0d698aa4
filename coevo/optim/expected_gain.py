"""What designs of a finite pool are expected to gain: acquisition functions, on draws.

All that a suggestion needs is drawn once from the joint posterior over the pool, the designs told and those under
way. The correlations of these draws keep a batch diverse; drawing takes one factorisation per model instead of one
per candidate; and a draw may hold more than a model says: exact costs beside a learnt error.

BoTorch's own acquisition functions (S. Ament et al., "Unexpected Improvements to Expected Improvement for Bayesian
Optimization", NeurIPS 2023) are smooth and logarithmic so that gradients lead somewhere. The best of a pool needs
neither: here gains are exact for each draw, which ranks designs the same and takes a fraction of the time.
"""

from __future__ import annotations

import heapq
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from coevo import pareto
from coevo.protocols import Array

Acquisition = Literal["qlognehvi", "qparego"]
Rows = NDArray[np.int64]

REFERENCE = 1.1
"""The hypervolume's reference point, of objectives that are scaled to 0..1 over what was told."""
RHO = 0.05
"""Share of the sum in the augmented Tchebycheff function (J. Knowles, "ParEGO", IEEE TEC 10(1), 2006, eq. 2)."""


class Front:
    """Points that do not dominate each other, and their hypervolume.

    Args:
        points: ``(point, objective)``, scaled; dominated ones and those beyond the reference are left out.
    """

    def __init__(self, points: Array) -> None:
        points = points[(points < REFERENCE).all(axis=1)]
        self.points = points[pareto.nondominated(points, np.zeros(len(points)))] if len(points) else points
        self._reference = np.full(points.shape[1], REFERENCE)
        self._volume = pareto.hypervolume(self.points, self._reference)

    def covers(self, points: Array) -> NDArray[np.bool_]:
        """Says which points ``(point, objective)`` one of the front equals or dominates ``(point,)``."""
        below = np.asarray((self.points[None, :, :] <= points[:, None, :]).all(axis=2))
        return np.asarray(below.any(axis=1))

    def gain(self, points: Array) -> float:
        """Returns the hypervolume that points ``(point, objective)`` add."""
        points = points[(points < REFERENCE).all(axis=1)]
        points = points[~self.covers(points)]
        if not len(points):
            return 0.0
        together = np.concatenate([self.points, points])
        return pareto.hypervolume(together, self._reference) - self._volume

    def joined(self, points: Array) -> Front:
        """Returns the front with points ``(point, objective)`` added."""
        return Front(np.concatenate([self.points, points]))


class Gain(Protocol):
    """What one design more is expected to add to those taken."""

    def of(self, rows: Rows) -> Array:
        """Returns the mean gain over all draws, of each row ``(row,)``."""

    def take(self, row: int) -> None:
        """Adds a design to those taken."""


class HypervolumeGain:
    """Noisy expected hypervolume improvement: what a design adds to what those taken dominate.

    S. Daulton, M. Balandat and E. Bakshy, "Parallel Bayesian Optimization of Multiple Noisy Objectives with Expected
    Hypervolume Improvement", NeurIPS 2021, eq. 3: in every draw the front is that of what the designs are in that draw.

    Args:
        draws: ``(draw, design, objective)``, minimised.
        feasible: ``(draw, design)``.
        taken: Designs that count already.
    """

    def __init__(self, draws: Array, feasible: NDArray[np.bool_], taken: Rows) -> None:
        self._draws = draws
        self._counts = feasible & (draws < REFERENCE).all(axis=2)
        self._fronts = [
            Front(draw[taken[counts[taken]]]) for draw, counts in zip(self._draws, self._counts, strict=True)
        ]

    def of(self, rows: Rows) -> Array:
        """Returns the mean gain in hypervolume over all draws, of each row ``(row,)``."""
        gains = np.zeros(len(rows))
        for draw, counts, front in zip(self._draws, self._counts, self._fronts, strict=True):
            points = draw[rows]
            for i in np.flatnonzero(counts[rows] & ~front.covers(points)):
                gains[i] += front.gain(points[i : i + 1])
        return np.asarray(gains / len(self._draws))

    def take(self, row: int) -> None:
        """Adds a design to every draw's front."""
        for i in np.flatnonzero(self._counts[:, row]):
            self._fronts[i] = self._fronts[i].joined(self._draws[i, row : row + 1])


class WeightedGain:
    """Noisy expected improvement of the augmented Tchebycheff function over the best taken.

    Args:
        draws: ``(draw, design, objective)``, minimised.
        feasible: ``(draw, design)``.
        taken: Designs that count already.
        weights: Of the objectives ``(objective,)``.
    """

    def __init__(self, draws: Array, feasible: NDArray[np.bool_], taken: Rows, weights: Array) -> None:
        weighted = draws * weights
        self._figures = np.where(feasible, weighted.max(axis=2) + RHO * weighted.sum(axis=2), np.inf)
        worst = (1 + RHO) * REFERENCE  # stands for the best taken where a draw says that nothing is feasible
        self._best = self._figures[:, taken].min(axis=1, initial=worst)

    def of(self, rows: Rows) -> Array:
        """Returns the mean improvement over all draws, of each row ``(row,)``."""
        return np.asarray(np.maximum(self._best[:, None] - self._figures[:, rows], 0.0).mean(axis=0))

    def take(self, row: int) -> None:
        """Lets a design count among those taken."""
        self._best = np.minimum(self._best, self._figures[:, row])


def suggest(
    draws: Array,
    feasible: NDArray[np.bool_],
    taken: Rows,
    pool: Rows,
    *,
    acquisition: Acquisition,
    count: int,
    rng: np.random.Generator,
) -> Rows:
    """Returns the rows of the pool that promise most, greedily one after the other ``(at most count,)``.

    Args:
        draws: What designs may be ``(draw, design, objective)``: minimised, scaled to 0..1 over what was told.
        feasible: Whether they are feasible ``(draw, design)``.
        taken: Designs told or under way.
        pool: Designs to choose from.
        acquisition: ``qlognehvi`` for `HypervolumeGain`, ``qparego`` for `WeightedGain`, under new weights for each
            design (S. Daulton, M. Balandat and E. Bakshy, NeurIPS 2020).
        count: How many designs.
        rng: Source of the weights.
    """
    count = min(count, len(pool))
    if acquisition == "qlognehvi":
        return greedy(HypervolumeGain(draws, feasible, taken), pool, count)
    for _ in range(count):
        gain = WeightedGain(draws, feasible, taken, rng.dirichlet(np.ones(draws.shape[2])))
        taken = np.append(taken, greedy(gain, np.setdiff1d(pool, taken), 1))
    return taken[len(taken) - count :]


def greedy(gain: Gain, pool: Rows, count: int) -> Rows:
    """Returns the rows of a pool that add most ``(count,)``, taken one after the other.

    What a design adds only falls as others are taken, so that a gain computed earlier is a bound, and most need not be
    computed again (M. Minoux, "Accelerated greedy algorithms for maximizing submodular set functions", 1978).
    """
    heap = [(-value, row, 0) for value, row in zip(gain.of(pool).tolist(), pool.tolist(), strict=True)]
    heapq.heapify(heap)
    chosen: list[int] = []
    while len(chosen) < count:
        _, row, when = heapq.heappop(heap)
        if when == len(chosen):
            chosen.append(row)
            gain.take(row)
        else:
            heapq.heappush(heap, (-float(gain.of(np.array([row]))[0]), row, len(chosen)))
    return np.array(chosen, dtype=np.int64)
