"""How a run went: the share of the objectives' box that is dominated, and the best so far, after each design."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coevo.pareto import hypervolume_history
from coevo.report.points import Array, Points, label

MARGIN = 0.1
"""How far the reference lies beyond the front's worst, as a share of the front's range."""


@dataclass(frozen=True, eq=False)
class History:
    """A curve over the evaluations.

    Attributes:
        label: Of its y axis.
        caption: What it shows, in one or two sentences.
        evaluations: Number of designs evaluated ``(step,)``, where the curve changes and at both ends.
        curve: Its height ``(step,)``.
    """

    label: str
    caption: str
    evaluations: Array
    curve: Array


def history(points: Points) -> History | None:
    """Returns hypervolume over evaluations, or the best so far for one objective; None if nothing is feasible."""
    if not len(points.front):
        return None
    return _hypervolume(points) if len(points.objectives) > 1 else _best(points)


def _hypervolume(points: Points) -> History:
    """The reference lies slightly beyond the front's worst values (Ishibuchi et al., Evol. Comput. 26(3), 2018)."""
    ideal, worst = _range(points)
    feasible = points.feasible[:, None]
    scaled = np.where(feasible, (points.values - ideal) / (worst - ideal), 0.0)
    reference = np.full(scaled.shape[1], 1.0 + MARGIN)
    volume = hypervolume_history(scaled, np.where(points.feasible, 0.0, 1.0), reference)
    share = np.asarray(volume, dtype=np.float64) / float(np.prod(reference))
    corner = ideal + (worst - ideal) * reference
    sign = [-1.0 if q.maximise else 1.0 for q in points.objectives]
    place = ", ".join(
        f"{(q.title or q.name).lower()} {s * c:.4g}{' ' + q.unit.replace('mm2', 'mm²') if q.unit else ''}"
        for q, s, c in zip(points.objectives, sign, corner, strict=True)
    )
    caption = (
        "Share of the box between the front's best values and the reference point that some design dominates; "
        f"higher is better, and a flat end says that the search has converged. Reference point: {place} "
        f"({MARGIN:.0%} beyond the front's worst)."
    )
    return _thinned("Hypervolume [share of the box]", caption, share)


def _range(points: Points) -> tuple[Array, Array]:
    """Best and worst of each objective over the front; an objective that the front does not trade gets a width."""
    front, feasible = points.values[points.front], points.values[points.feasible]
    low, high = front.min(axis=0), front.max(axis=0)
    high = np.where(high > low, high, feasible.max(axis=0))
    return low, np.where(high > low, high, low + np.maximum(1e-12, np.abs(low)))


def _best(points: Points) -> History:
    quantity = points.objectives[0]
    running = np.minimum.accumulate(np.where(points.feasible, points.values[:, 0], np.inf))
    curve = np.where(np.isfinite(running), running, np.nan) * (-1.0 if quantity.maximise else 1.0)
    better = "higher" if quantity.maximise else "lower"
    caption = f"Best feasible design so far; {better} is better, and a flat end says that the search has converged."
    return _thinned(f"Best {label(quantity)}", caption, curve)


def _thinned(label: str, caption: str, curve: Array) -> History:
    """Keeps the steps of a staircase: a run of 100,000 designs has few of them."""
    changes = np.ones(len(curve), dtype=np.bool_)
    changes[1:-1] = curve[1:-1] != curve[:-2]
    changes &= np.isfinite(curve)
    return History(label, caption, np.flatnonzero(changes).astype(np.float64) + 1, curve[changes])
