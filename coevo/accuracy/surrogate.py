"""A regressor for few and small data: an ensemble of Gaussian processes and trees, with an uncertainty that is checked.

What is learnt is the order of the targets first: they are replaced by the quantiles of a normal distribution that their
ranks have, and predictions are mapped back through the same curve, so that a few very bad networks do not set the
scale. The members: two Gaussian processes (smooth, and rough with a linear part: C. Rasmussen, C. Williams, 2006, ch.
4), gradient boosting (J. Friedman, 2001) and extremely randomised trees (P. Geurts et al., 2006); their mean ranked
better than any one of them (`pytest -m slow -s tests/accuracy/test_predictor.py`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from coevo.protocols import Array

FOLDS = 5
"""Parts of the data that are held out in turn."""

LEAST = 2 * FOLDS
"""Samples without which nothing is fitted."""

_BOOSTERS = 3


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A fitted ensemble.

    Attributes:
        tau: Kendall's tau-b between targets and predictions of samples that were held out (5 folds); NaN if either
            is constant.
        samples: How many it was fitted to.
    """

    tau: float
    samples: int
    _predict: Callable[[Array], tuple[Array, Array]]
    _curve: tuple[Array, Array]
    _stretch: float

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Returns mean and standard deviation ``(sample,)`` of the targets of features ``(sample, feature)``."""
        mean, deviation = self._predict(features)
        deviation = self._stretch * deviation
        quantiles, targets = self._curve
        low, middle, high = (_interpolated(mean + k * deviation, quantiles, targets) for k in (-1, 0, 1))
        return middle, np.maximum((high - low) / 2, 1e-9)


def fit(features: Array, targets: Array, seed: int = 0) -> Surrogate:
    """Fits an ensemble and measures it on what is held out.

    Args:
        features: ``(sample, feature)``, at least `LEAST` samples.
        targets: ``(sample,)``.
        seed: Of folds and trees.

    Raises:
        ValueError: There are too few samples.
    """
    from scipy.stats import kendalltau, norm, rankdata

    count = len(targets)
    if count < LEAST:
        raise ValueError(f"{count} samples; at least {LEAST} are needed")
    quantiles = norm.ppf((rankdata(targets) - 0.5) / count)
    rng = np.random.default_rng(seed)
    folds = rng.permutation(count) % FOLDS
    mean, deviation = np.empty(count), np.empty(count)
    for fold in range(FOLDS):
        held = folds == fold
        mean[held], deviation[held] = _members(features[~held], quantiles[~held], seed)(features[held])
    constant = len(np.unique(targets)) == 1 or len(np.unique(mean)) == 1
    tau = float("nan") if constant else float(kendalltau(targets, mean).statistic)
    # So much larger must deviations be for residuals of held-out samples to have a variance of 1 in their units.
    stretch = float(np.sqrt(np.mean(((quantiles - mean) / deviation) ** 2)))
    order = np.argsort(targets, kind="stable")
    return Surrogate(
        tau, count, _members(features, quantiles, seed), (quantiles[order], targets[order]), max(stretch, 1e-6)
    )


def _members(features: Array, targets: Array, seed: int) -> Callable[[Array], tuple[Array, Array]]:
    """Fits the ensemble; returns features -> (mean, deviation), the latter of the smooth Gaussian process."""
    from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Matern, WhiteKernel

    centre, scale = features.mean(axis=0), features.std(axis=0)
    used = scale > 0

    def scaled(values: Array) -> Array:
        standard: Array = (values[:, used] - centre[used]) / scale[used]
        return standard if used.any() else np.zeros((len(values), 1))

    length = 2.0 * np.sqrt(max(1, int(used.sum())))
    rough = ConstantKernel() * Matern(length, nu=1.5) + WhiteKernel(0.1)
    smooth = ConstantKernel() * RBF(length) + ConstantKernel() * DotProduct() + WhiteKernel(0.1)
    processes = [GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed) for kernel in (smooth, rough)]
    trees: list[Any] = [ExtraTreesRegressor(100, max_features=0.5, random_state=seed)]
    for i in range(_BOOSTERS):
        booster = {"n_estimators": 200, "learning_rate": 0.05, "subsample": 0.5, "max_features": 0.5}
        trees.append(GradientBoostingRegressor(**booster, random_state=seed + i))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a length scale at its bound is a flat direction, no mistake
        for member in [*processes, *trees]:
            member.fit(scaled(features), targets)

    def predict(values: Array) -> tuple[Array, Array]:
        given = scaled(values)
        means, deviation = [], np.zeros(len(values))
        for process in processes:
            mean, deviation = process.predict(given, return_std=True)
            means.append(mean)
        means.append(trees[0].predict(given))
        means.append(np.mean([tree.predict(given) for tree in trees[1:]], axis=0))
        return np.mean(means, axis=0), np.maximum(deviation, 1e-6)

    return predict


def _interpolated(values: Array, known: Array, targets: Array) -> Array:
    """Maps quantiles back to targets, along straight lines between those seen and beyond the last ones."""
    result = np.interp(values, known, targets)
    for end, step in ((0, 1), (-1, -1)):
        inner = _inner(known, end, step)
        slope = (targets[end] - targets[inner]) / (known[end] - known[inner]) if known[end] != known[inner] else 0.0
        outside = values < known[0] if end == 0 else values > known[-1]
        result = np.where(outside, targets[end] + slope * (values - known[end]), result)
    return np.asarray(result)


def _inner(known: Array, end: int, step: int) -> int:
    """Index of a value a tenth of the way in, from which the slope at an end is taken."""
    return end + step * max(1, len(known) // 10)
