"""Where a figure stands among those of a fixed reference sample, and how several such standings become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_NONE = 1e-12


@dataclass(frozen=True, eq=False)
class Scale:
    """The empirical distribution function of a sample, continuous and strictly increasing.

    Through the sample's distinct figures it is linear; each stands at the share of the sample below it, half of its
    ties included (Hazen's plotting position). Beyond the sample's ends it goes on, ever flatter, to half of the
    lowest standing on one side and half of the highest one's distance from 1 on the other, so that figures out there
    are still told apart.

    Attributes:
        figures: The sample's distinct finite figures, ascending; may be empty.
        standings: Of each, ascending, in (0, 1).
        spread: Length over which the tails bend: the standard deviation of the finite figures, 1 if that is 0.
    """

    figures: Values
    standings: Values
    spread: float

    @classmethod
    def of(cls, sample: Values) -> Scale:
        """Returns the scale of a sample ``(network,)``; a figure that is not finite stands below all others."""
        finite = sample[np.isfinite(sample)]
        figures, counts = np.unique(finite, return_counts=True)
        below = len(sample) - len(finite) + np.cumsum(counts) - counts
        spread = float(np.std(finite)) if len(figures) > 1 else 1.0
        return cls(figures, (below + counts / 2) / max(1, len(sample)), spread)

    def __call__(self, values: Values) -> Values:
        """Returns standings ``(network,)`` in (0, 1) of figures ``(network,)``, the more the better.

        A figure that is not finite (NaN, or an infinity: the proxy could not be computed) stands next to 0, so that in
        the sum of logarithms a network that lacks a figure comes after those that lack none.
        """
        if not len(self.figures):  # nothing to compare with: whatever is finite is better than what is not
            return np.where(np.isfinite(values), 0.5, _NONE)
        low, high = self.standings[0], self.standings[-1]
        standing = np.interp(values, self.figures, self.standings)
        with np.errstate(invalid="ignore"):
            under = np.maximum(self.figures[0] - values, 0) / self.spread
            over = np.maximum(values - self.figures[-1], 0) / self.spread
            standing = np.where(under > 0, low * (0.5 + 0.5 / (1 + under)), standing)
            standing = np.where(over > 0, high + (1 - high) * 0.5 * over / (1 + over), standing)
        return np.where(np.isfinite(values), standing, _NONE)


@dataclass(frozen=True, eq=False)
class Aggregate:
    """One standing from many: the sum of the logarithms of the standings, and where that stands in the sample.

    The logarithm punishes a network that is bad by any proxy more than it rewards one that is best by some.

    Source: J. Lee, B. Ham: AZ-NAS, CVPR 2024, section 3: the sum over proxies of log(rank / networks). Here a fixed
    sample takes the place of the networks that are compared, so that a standing does not depend on the company.

    Attributes:
        scales: Of each proxy.
        total: Of the sums.
    """

    scales: Mapping[str, Scale]
    total: Scale

    @classmethod
    def of(cls, sample: Mapping[str, Values]) -> Aggregate:
        """Returns the aggregate by a sample's figures ``(network,)`` by proxy."""
        scales = {name: Scale.of(values) for name, values in sample.items()}
        return cls(scales, Scale.of(_sum(scales, sample)))

    def __call__(self, values: Mapping[str, Values]) -> Values:
        """Returns the standings ``(network,)`` in (0, 1), the more the better, of figures ``(network,)`` by proxy."""
        return self.total(_sum(self.scales, values))


def _sum(scales: Mapping[str, Scale], values: Mapping[str, Values]) -> Values:
    logs: Sequence[Values] = [np.log(scale(values[name])) for name, scale in scales.items()]
    return np.asarray(np.sum(logs, axis=0), dtype=np.float64)
