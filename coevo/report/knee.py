"""Finds the knee of a front: the design after which a gain in one objective costs most in the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_TOLERANCE = 1e-9


def find_knee(values: NDArray[np.float64]) -> int | None:
    """Returns the row of the knee, the design farthest below the plane through the front's ends.

    The ends are the best designs of the single objectives. Distances are taken after every objective is scaled
    linearly to 0..1 over the front (Das, Structural Optimization 18, 1999, sec. 3: the point of the front that
    lies farthest from the convex hull of the individual minima).

    Args:
        values: The front ``(design, objective)``, minimised.

    Returns:
        The row, or None if no design lies below the plane: a front of one objective, of fewer than three
        designs, flat or bulging away from the ideal.
    """
    if len(values) < 3 or values.shape[1] < 2:
        return None
    low, high = values.min(axis=0), values.max(axis=0)
    traded = high > low
    if traded.sum() < 2:
        return None
    scaled = (values - low)[:, traded] / (high - low)[traded]
    normal = _plane(scaled)
    depth = (1.0 - scaled @ normal) / np.linalg.norm(normal)
    best = int(depth.argmax())
    return best if depth[best] > _TOLERANCE else None


def _plane(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns w ``(objective,)`` of the plane ``w . x = 1`` through the ends; through the unit points if they fail.

    The ends span no plane if one design is best in two objectives, and a plane that is not falling along every
    axis does not say which side is better.
    """
    tie = scaled.sum(axis=1)
    ends = scaled[[int(np.lexsort((tie, column))[0]) for column in scaled.T]]
    ones = np.ones(scaled.shape[1])
    try:
        normal = np.asarray(np.linalg.solve(ends, ones), dtype=np.float64)
    except np.linalg.LinAlgError:
        return ones
    return normal if np.isfinite(normal).all() and (normal > _TOLERANCE).all() else ones
