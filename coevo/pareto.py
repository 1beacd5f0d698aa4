"""Pareto ranks, crowding and hypervolume of a set of points; every objective is minimised.

Constraints follow Deb's constrained domination: a feasible point beats every infeasible one, feasible points
compare by Pareto domination, infeasible ones by their violation alone, so their values are never read.
Non-dominated sorting and hypervolume are moocore's. DEAP's own are not used: a NaN lands in its first front, and
its constrained fitness ignores violations.
"""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def check(values: ArrayLike, violation: ArrayLike) -> tuple[Floats, Floats]:
    """Returns values ``(point, objective)`` and violation ``(point,)`` as float64 once they make sense.

    Raises:
        ValueError: A shape is wrong, a violation is negative or NaN, or a feasible point has a value that is not
            finite; the text names the row.
    """
    values = _matrix(values)
    violation = np.asarray(violation, dtype=np.float64)
    if violation.shape != values.shape[:1]:
        raise ValueError(f"violation must be (point,) = ({len(values)},); got {violation.shape}")
    bad = np.flatnonzero(~(violation >= 0))
    if bad.size:
        raise ValueError(f"violation must be 0 or more; row {bad[0]} is {violation[bad[0]]}")
    _refuse_infinite(values, violation == 0)
    return values, violation


def ranks(values: ArrayLike, violation: ArrayLike) -> NDArray[np.int64]:
    """Ranks points by constrained domination, 0 the best ``(point,)``.

    Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEC 6(2), 2002, sec. III-A
    (fronts) and def. 1 (constrained domination). Feasible points come first, front by front; then the infeasible
    ones by violation, equal violations on equal rank.

    Args:
        values: ``(point, objective)``; rows with violation > 0 are not read.
        violation: ``(point,)``, 0 if feasible.

    Raises:
        ValueError: As `check`.
    """
    values, violation = check(values, violation)
    feasible = violation == 0
    result = np.zeros(len(values), dtype=np.int64)
    if feasible.any():
        result[feasible] = moocore.pareto_rank(values[feasible])
    if not feasible.all():
        fronts = int(result[feasible].max(initial=-1)) + 1
        result[~feasible] = fronts + np.unique(violation[~feasible], return_inverse=True)[1]
    return result


def crowding(values: ArrayLike, ranks: NDArray[np.int64]) -> Floats:
    """Returns the crowding distance of each point within its rank ``(point,)``; the larger, the lonelier.

    Deb et al. 2002, sec. III-B, averaged over objectives: the gap between a point's two neighbours in an
    objective over that objective's range in the front, infinite at both ends. An objective in which a front does
    not differ adds nothing (its ends would be arbitrary), and one or two points are infinitely lonely.

    Args:
        values: ``(point, objective)``, all finite.
        ranks: ``(point,)``, 0 or more.

    Raises:
        ValueError: A shape is wrong or a value is not finite.
    """
    values = _matrix(values)
    if ranks.shape != values.shape[:1]:
        raise ValueError(f"ranks must be (point,) = ({len(values)},); got {ranks.shape}")
    _refuse_infinite(values, np.ones(len(values), dtype=np.bool_))
    distance: Floats = np.zeros(len(values))
    if not len(values):
        return distance
    for column in values.T:
        order = np.lexsort((column, ranks))
        distance[order] += _gaps(column[order], ranks[order])
    distance[np.bincount(ranks)[ranks] <= 2] = np.inf
    distance /= values.shape[1]
    return distance


def _gaps(column: Floats, ranks: NDArray[np.int64]) -> Floats:
    """Gap between the neighbours of each point over its front's range, points sorted by rank, then by value."""
    new = ranks[1:] != ranks[:-1]
    first, last = np.ones(len(ranks), dtype=np.bool_), np.ones(len(ranks), dtype=np.bool_)
    first[1:] = last[:-1] = new
    front = np.cumsum(first) - 1
    span = (column[last] - column[first])[front]
    gap = np.full(len(column), np.inf)
    gap[1:-1] = column[2:] - column[:-2]
    gap[first | last] = np.inf
    ratio: Floats = np.divide(gap, span, out=np.zeros(len(column)), where=span > 0)
    return ratio


def nondominated(values: ArrayLike, violation: ArrayLike) -> NDArray[np.bool_]:
    """Says which points are feasible and dominated by no feasible one ``(point,)``; equal points are all kept.

    Args:
        values: ``(point, objective)``; rows with violation > 0 are not read.
        violation: ``(point,)``, 0 if feasible.

    Raises:
        ValueError: As `check`.
    """
    values, violation = check(values, violation)
    result: NDArray[np.bool_] = violation == 0
    result[result] = moocore.is_nondominated(values[result], keep_weakly=True)
    return result


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """Returns the volume that the points dominate, up to the reference point.

    Zitzler and Thiele, "Multiobjective evolutionary algorithms", IEEE TEC 3(4), 1999. A point that is not below
    the reference in every objective adds nothing.

    Args:
        values: ``(point, objective)``, all finite.
        reference: ``(objective,)``, finite.

    Raises:
        ValueError: A shape is wrong or a number is not finite.
    """
    values = _matrix(values)
    reference = _reference(reference, values)
    _refuse_infinite(values, np.ones(len(values), dtype=np.bool_))
    inside = values[(values < reference).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=reference)) if len(inside) else 0.0


def hypervolume_history(values: ArrayLike, violation: ArrayLike, reference: ArrayLike) -> Floats:
    """Returns the hypervolume of all feasible points up to and including each one ``(point,)``; it never falls.

    Keeps the front and adds each newcomer's own share: the box between it and the reference, less what the front
    dominates of that box. A newcomer that the front covers costs one comparison.

    Args:
        values: ``(point, objective)`` in the order of evaluation; rows with violation > 0 are not read.
        violation: ``(point,)``, 0 if feasible.
        reference: ``(objective,)``, finite.

    Raises:
        ValueError: As `check`, or the reference has another shape or is not finite.
    """
    values, violation = check(values, violation)
    reference = _reference(reference, values)
    gains = np.zeros(len(values))
    front = np.empty((0, values.shape[1]))
    inside = np.zeros(len(values), dtype=np.bool_)
    feasible = violation == 0
    inside[feasible] = (values[feasible] < reference).all(axis=1)
    for i in np.flatnonzero(inside):
        point = values[i]
        if (front <= point).all(axis=1).any():
            continue
        gains[i] = np.prod(reference - point)
        if len(front):
            gains[i] -= moocore.hypervolume(np.maximum(front, point), ref=reference)
        front = np.vstack([front[~(point <= front).all(axis=1)], point])
    # The share of a point that barely improves may round to a negative one.
    return np.cumsum(np.maximum(gains, 0.0))


def _matrix(values: ArrayLike) -> Floats:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"values must be (point, objective) with at least one objective; got {values.shape}")
    return values


def _reference(reference: ArrayLike, values: Floats) -> Floats:
    reference = np.asarray(reference, dtype=np.float64)
    if reference.shape != values.shape[1:]:
        raise ValueError(f"reference must be (objective,) = ({values.shape[1]},); got {reference.shape}")
    if not np.isfinite(reference).all():
        raise ValueError(f"reference must be finite; got {reference.tolist()}")
    return reference


def _refuse_infinite(values: Floats, read: NDArray[np.bool_]) -> None:
    bad = np.flatnonzero(read & ~np.isfinite(values).all(axis=1))
    if bad.size:
        raise ValueError(f"values of feasible rows must be finite; row {bad[0]} is {values[bad[0]].tolist()}")
