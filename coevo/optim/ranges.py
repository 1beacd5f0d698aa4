"""Objectives of different units on one scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coevo.protocols import Array


class Range:
    """The range that objectives were told in so far; those that were always positive count by their logarithms.

    Args:
        objectives: Their number.
        logarithmic: Which of them may count by their logarithms at all ``(objective,)``; all if not given.
    """

    def __init__(self, objectives: int, logarithmic: NDArray[np.bool_] | None = None) -> None:
        self._among = np.ones(objectives, dtype=np.bool_) if logarithmic is None else logarithmic
        self._low = np.full(objectives, np.inf)
        self._high = np.full(objectives, -np.inf)

    @property
    def known(self) -> bool:
        """Whether any values were told."""
        return bool(np.isfinite(self._low).all())

    @property
    def logarithmic(self) -> NDArray[np.bool_]:
        """Which objectives count by their logarithms ``(objective,)``."""
        return np.asarray(self._among & (self._low > 0))

    @property
    def worst(self) -> Array:
        """The greatest value told of each objective ``(objective,)``; 0 before any was."""
        return np.where(np.isfinite(self._high), self._high, 0.0)

    def add(self, values: Array) -> None:
        """Widens the range to feasible values ``(design, objective)``."""
        self._low = np.minimum(self._low, values.min(axis=0, initial=np.inf))
        self._high = np.maximum(self._high, values.max(axis=0, initial=-np.inf))

    def scaled(self, values: Array) -> Array:
        """Returns values ``(..., objective)`` scaled to 0..1; an objective that never varied is 0."""
        low, high, values = self._logged(self._low), self._logged(self._high), self._logged(values)
        span = high - low
        return np.asarray((values - low) / np.where(span > 0, span, 1.0))

    def _logged(self, values: Array) -> Array:
        positive = np.where(self.logarithmic, np.maximum(values, np.finfo(np.float64).tiny), 1.0)
        return np.asarray(np.where(self.logarithmic, np.log(positive), values))
