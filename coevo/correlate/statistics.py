"""Agreement of two rankings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_RESAMPLES = 1000
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Agreement:
    """How well estimated errors rank networks.

    Attributes:
        spearman: Rank correlation, ties by their mean rank (C. Spearman, 1904).
        low, high: Its 95 % interval, by resampling the networks 1,000 times (percentile bootstrap, B. Efron, 1979).
        kendall: Tau-b (M. Kendall, 1945): concordant less discordant pairs, corrected for ties.
        precision: Share of the reference's best ``top`` networks among the estimate's best ``top``.
        top: How many those are.
    """

    spearman: float
    low: float
    high: float
    kendall: float
    precision: float
    top: int


def agreement(estimate: Array, truth: Array, top_share: float = 0.1) -> Agreement:
    """Returns how well ``estimate`` ranks as ``truth`` does.

    Args:
        estimate: Estimated errors ``(network,)``; infinite where there is none, which ranks last.
        truth: The reference's errors ``(network,)``, finite.
        top_share: Share of the networks that counts as the best.

    Returns:
        NaN for correlations where one of the two is constant.

    Raises:
        ValueError: The shapes differ, there are fewer than three networks, or an estimate is NaN.
    """
    if estimate.shape != truth.shape or estimate.ndim != 1 or len(truth) < 3:
        raise ValueError(f"two errors of each of three or more networks, got {estimate.shape} and {truth.shape}")
    if np.isnan(estimate).any() or not np.isfinite(truth).all():
        raise ValueError("errors must be numbers, the reference's finite")
    from scipy.stats import kendalltau

    rng = np.random.default_rng(0)  # of the interval alone
    rows = rng.integers(0, len(truth), size=(_RESAMPLES, len(truth)))
    resampled = _correlations(ranks(estimate[rows]), ranks(truth[rows]))
    tail = 100 * (1 - _CONFIDENCE) / 2
    known = resampled[np.isfinite(resampled)]
    low, high = np.percentile(known, [tail, 100 - tail]) if len(known) else (math.nan, math.nan)
    top = max(1, round(top_share * len(truth)))
    tau = kendalltau(ranks(estimate), ranks(truth)).statistic if spread(estimate, truth) else math.nan
    return Agreement(
        spearman(estimate, truth), float(low), float(high), float(tau), _precision(estimate, truth, top), top
    )


def spearman(one: Array, two: Array) -> float:
    """Returns the correlation of the ranks of ``(network,)`` each; NaN if one is constant."""
    return float(_correlations(ranks(one[None, :]), ranks(two[None, :]))[0])


def ranks(values: Array) -> Array:
    """Returns ranks from 1 along the last axis ``(..., network)``, equal values having their mean."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(values, axis=-1), dtype=np.float64)


def _correlations(one: Array, two: Array) -> Array:
    """Pearson's correlation row by row ``(sample, network)``; NaN where one is constant."""
    one, two = (values - values.mean(axis=1, keepdims=True) for values in (one, two))
    scale = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
    return np.where(scale > 0, (one * two).sum(axis=1) / np.where(scale > 0, scale, 1), np.nan)


def spread(*values: Array) -> bool:
    """Whether none of them is constant."""
    return all(len(np.unique(value)) > 1 for value in values)


def _precision(estimate: Array, truth: Array, top: int) -> float:
    """Share of the truly best among the best estimated; of equal estimates each counts by its chance to be taken."""
    best = truth <= np.sort(truth)[top - 1]
    last = np.sort(estimate)[top - 1]
    surely, maybe = estimate < last, estimate == last
    places = top - int(surely.sum())
    return float((best & surely).sum() + places * (best & maybe).sum() / maybe.sum()) / top
