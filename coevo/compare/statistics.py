"""Which optimiser is better, and how surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from coevo.protocols import Array


def mean_ranks(values: Mapping[str, Array]) -> dict[str, float]:
    """Returns the mean rank of each label over seeds, 1 for the greatest value; equal values share theirs.

    Args:
        values: ``(seed,)`` by label, the same seeds for all.
    """
    from scipy.stats import rankdata

    table = np.array([values[label] for label in values])
    ranks = np.array([rankdata(-column) for column in table.T]).T
    return dict(zip(values, ranks.mean(axis=1).tolist(), strict=True))


def rank_sum_tests(values: Mapping[str, Array]) -> dict[tuple[str, str], float]:
    """Returns, for each two labels, how likely so large a difference is by chance, corrected for all pairs.

    Mann and Whitney's rank-sum test (1947), two-sided, exact where no values are equal; S. Holm's correction ("A simple
    sequentially rejective multiple test procedure", 1979).

    Args:
        values: ``(seed,)`` by label.

    Returns:
        p by (label, label), in both orders.
    """
    from scipy.stats import mannwhitneyu

    pairs = list(combinations(values, 2))
    raw = [
        1.0
        if np.array_equal(np.sort(values[a]), np.sort(values[b]))
        else float(mannwhitneyu(values[a], values[b]).pvalue)
        for a, b in pairs
    ]
    corrected = dict(zip(pairs, holm(raw), strict=True))
    return corrected | {(b, a): p for (a, b), p in corrected.items()}


def holm(values: Sequence[float]) -> list[float]:
    """Returns p values corrected for being several (Holm 1979): the k-th least times what is left, never falling."""
    corrected = [0.0] * len(values)
    least = 0.0
    for k, i in enumerate(np.argsort(values, kind="stable").tolist()):
        least = max(least, min(1.0, (len(values) - k) * values[i]))
        corrected[i] = least
    return corrected
