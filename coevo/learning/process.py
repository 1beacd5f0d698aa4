"""Gaussian processes over networks' features: what errors to expect, how surely, and which go together."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

Array = NDArray[np.float64]

FAR = 5.0
"""Features are cut off so many standard deviations from the mean of what was learned from."""

_JITTER = 1e-8


@dataclass(frozen=True, eq=False)
class Scale:
    """A monotone map between values and their Gaussian scores: piecewise linear, beyond its ends in the mean slope.

    Attributes:
        values: Those learned from ``(value,)``, ascending, each once.
        scores: Their Gaussian scores ``(value,)``.
    """

    values: Array
    scores: Array

    @classmethod
    def of(cls, values: Array) -> Scale:
        """Returns the scale of values ``(network,)``; equal ones share their mean rank."""
        distinct, counts = np.unique(values, return_counts=True)
        ranks = np.cumsum(counts) - counts / 2
        return cls(distinct, np.array([NormalDist().inv_cdf(rank / len(values)) for rank in ranks]))

    @property
    def slope(self) -> float:
        """Value per score over the whole range."""
        span = float(self.scores[-1] - self.scores[0])
        return float(self.values[-1] - self.values[0]) / span if span > 0 else 1.0

    def to_score(self, values: Array) -> Array:
        """Returns the Gaussian scores of values, of any shape."""
        beyond = values - np.clip(values, self.values[0], self.values[-1])
        return np.asarray(np.interp(values, self.values, self.scores) + beyond / self.slope)

    def to_value(self, scores: Array) -> Array:
        """Returns the values of Gaussian scores, of any shape."""
        beyond = scores - np.clip(scores, self.scores[0], self.scores[-1])
        return np.asarray(np.interp(scores, self.scores, self.values) + beyond * self.slope)


@dataclass(frozen=True, eq=False)
class Standard:
    """Features to mean 0 and deviation 1 over what was learned from; what does not vary there is left out."""

    varies: NDArray[np.bool_]
    mean: Array
    deviation: Array

    @classmethod
    def of(cls, encoded: Array) -> Standard:
        """Returns the scaling of features ``(network, feature)``."""
        deviation = encoded.std(axis=0)
        varies = deviation > 1e-9 * np.maximum(1.0, np.abs(encoded).max(axis=0))
        return cls(varies, encoded.mean(axis=0)[varies], deviation[varies])

    def __call__(self, encoded: Array) -> Array:
        """Returns standardised features ``(network, feature)``."""
        standard = np.clip((encoded[:, self.varies] - self.mean) / self.deviation, -FAR, FAR)
        return standard if standard.shape[1] else np.zeros((len(encoded), 1))


class Process:
    """A Gaussian process of a quantity, whatever its unit, fitted to some networks.

    Equations are those of Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006.

    Args:
        encoded: Features ``(network, feature)``, finite.
        values: The quantity ``(network,)``.
        near: A process fitted to other networks, whose kernel the search for this one's starts from.
    """

    def __init__(self, encoded: Array, values: Array, near: Process | None = None) -> None:
        self._standard = Standard.of(encoded)
        self._features = self._standard(encoded)
        model = fit_process(self._features, values, start=None if near is None else near.kernel)
        self.kernel: Any = model.kernel_
        self._middle, self._deviation = float(values.mean()), float(values.std()) or 1.0
        between = self.kernel.k1(self._features) + self._noise * np.eye(len(values))
        self._factor = cholesky(between, lower=True)
        self._weights = self._solve(self._solve((values - self._middle) / self._deviation), transposed=True)

    @property
    def _noise(self) -> float:
        return float(self.kernel.k2.noise_level) + _JITTER

    def bound(self, encoded: Array, deviations: float) -> Array:
        """Returns expected values plus so many standard deviations ``(network,)`` (eqs. 2.25 and 2.26)."""
        mean, reach, features = self._posterior(encoded)
        variance = np.maximum(self.kernel.k1.diag(features) - (reach**2).sum(axis=0), 0.0)
        return np.asarray(self._middle + self._deviation * (mean + deviations * np.sqrt(variance)))

    def draws(self, encoded: Array, normal: Array) -> Array:
        """Returns what the quantity may be, without noise, for all networks together ``(draw, network)``.

        Args:
            encoded: Features ``(network, feature)``.
            normal: Standard normal numbers ``(draw, network)``.
        """
        mean, reach, features = self._posterior(encoded)
        covariance = self.kernel.k1(features) - reach.T @ reach
        # Networks that look alike make it singular but for rounding.
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        return np.asarray(self._middle + self._deviation * (mean + normal @ root.T))

    def likeness(self, encoded: Array, others: Array | None = None) -> Array:
        """Returns how alike networks are to others, by default those fitted to: 1 for the same features, else less.

        Args:
            encoded: Features ``(network, feature)``.
            others: Features ``(other network, feature)``.

        Returns:
            ``(network, other network)``.
        """
        beside = self._features if others is None else self._standard(others)
        return np.asarray(self.kernel.k1.k2(self._standard(encoded), beside))

    def _posterior(self, encoded: Array) -> tuple[Array, Array, Array]:
        """Standardised mean ``(network,)``, what is known of each ``(fitted, network)``, standardised features."""
        features = self._standard(encoded)
        cross = self.kernel.k1(self._features, features)
        return cross.T @ self._weights, self._solve(cross), features

    def _solve(self, right: Array, transposed: bool = False) -> Array:
        return np.asarray(solve_triangular(self._factor, right, lower=True, trans="T" if transposed else "N"))


def evidence(encoded: Array, values: Array) -> float:
    """Returns how likely a Gaussian process over these features makes the values' scores: to compare features by.

    The log marginal likelihood (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, eq. 5.8).
    """
    model = fit_process(Standard.of(encoded)(encoded), Scale.of(values).to_score(values))
    return float(model.log_marginal_likelihood_value_)


def fit_process(features: Array, target: Array, kernel: Any = None, start: Any = None) -> Any:
    """Returns scikit-learn's Gaussian process with a Matern-3/2 kernel and noise.

    Args:
        features: Standardised ``(network, feature)``.
        target: ``(network,)``.
        kernel: Taken as it is; None for the one that maximises the likelihood.
        start: Kernel that the search for it starts from.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    optimizer = "fmin_l_bfgs_b" if kernel is None else None
    kernel = kernel or start
    if kernel is None:
        kernel = ConstantKernel(1.0, (1e-2, 1e3)) * Matern(features.shape[1] ** 0.5, (1e-1, 1e3), nu=1.5)
        kernel += WhiteKernel(0.1, (1e-4, 1e1))
    model = GaussianProcessRegressor(kernel, optimizer=optimizer, normalize_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a figure at its bound is no mistake
        return model.fit(features, target)
