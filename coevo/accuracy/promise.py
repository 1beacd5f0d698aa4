"""Which networks are worth more effort, by all objectives at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from coevo import pareto
from coevo.protocols import Array, Candidate

_REFERENCE = 1.1
"""The hypervolume's reference point, of objectives that are ranks from 0 to 1: the ends count too."""


def promising(candidates: Sequence[tuple[Candidate, float]], passed: int) -> list[int]:
    """Orders candidates by the hypervolume that each adds to those before it.

    All objectives are taken as ranks, from 0 for the best to 1 for the worst, so that neither their units nor the
    scale of a proxy matter. When nobody left adds anything, those left begin a front of their own.

    Args:
        candidates: (network with its designs' costs, error on this rung); ``passed`` of earlier steps first.
        passed: How many of them are past; they are not ordered.

    Returns:
        Indices of the others, counted from the first of them.
    """
    designs = [len(candidate.costs) for candidate, _ in candidates]
    owner = np.repeat(np.arange(len(candidates)), designs)
    errors = np.repeat([error for _, error in candidates], designs)
    points = _ranked(np.column_stack([errors, np.concatenate([candidate.costs for candidate, _ in candidates])]))
    volume = _Volume(points, owner)
    past = list(range(passed))
    left = list(range(passed, len(candidates)))
    order: list[int] = []
    front = list(past)
    while left:
        gains = [volume.of([*front, i]) - volume.of(front) for i in left]
        best = int(np.argmax(gains))
        if gains[best] <= 0 and front:
            front = []
            continue
        front.append(left[best])
        order.append(left.pop(best))
    return [i - passed for i in order]


class _Volume:
    """Hypervolumes of sets of networks."""

    def __init__(self, points: Array, owner: Any) -> None:
        self._points = points
        self._owner = owner
        self._reference = np.full(points.shape[1], _REFERENCE)
        self._known: dict[tuple[int, ...], float] = {}

    def of(self, networks: Iterable[int]) -> float:
        """Returns the hypervolume of all designs of some networks."""
        key = tuple(networks)
        if key not in self._known:
            points = self._points[np.isin(self._owner, key)]
            self._known[key] = pareto.hypervolume(points, self._reference) if len(points) else 0.0
        return self._known[key]


def _ranked(points: Array) -> Array:
    """Replaces values ``(design, objective)`` by their ranks from 0 to 1, equal ones having one rank."""
    ranks = np.empty_like(points)
    for k in range(points.shape[1]):
        distinct, place = np.unique(points[:, k], return_inverse=True)
        ranks[:, k] = place / max(1, len(distinct) - 1)
    return ranks
