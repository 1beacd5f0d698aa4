"""Learns errors from a few dozen measured ones: Gaussian processes and boosted trees, and how far to trust them.

Errors are learned on two scales, since neither is best alone: as logits, which keep distances, and as Gaussian scores
(the normal quantiles of their ranks, van der Waerden 1952), which keep the order alone. The members' predictions are
put on the second scale and averaged.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Learner = Literal["ensemble", "gaussian_process", "gradient_boosting"]

FOLDS = 5
"""Parts of a cross-validation."""

ROUNDS = 2
"""Cross-validations, each with other parts."""

FAR = 5.0
"""Features are cut off so many standard deviations from the mean of what was learned from."""


@dataclass(frozen=True, eq=False)
class Scale:
    """A monotone map between logits of errors and Gaussian scores: piecewise linear, beyond its ends in the mean slope.

    Attributes:
        logits: Of the errors learned from ``(error,)``, ascending, each once.
        scores: Their Gaussian scores ``(error,)``.
    """

    logits: Array
    scores: Array

    @classmethod
    def of(cls, errors: Array) -> Scale:
        """Returns the scale of errors ``(network,)``; equal ones share their mean rank."""
        logits, counts = np.unique(logit(errors), return_counts=True)
        ranks = np.cumsum(counts) - counts / 2
        return cls(logits, np.array([NormalDist().inv_cdf(rank / len(errors)) for rank in ranks]))

    @property
    def slope(self) -> float:
        """Logits per score over the whole range."""
        span = float(self.scores[-1] - self.scores[0])
        return float(self.logits[-1] - self.logits[0]) / span if span > 0 else 1.0

    def to_score(self, logits: Array) -> Array:
        """Returns the Gaussian scores of logits ``(network,)``."""
        beyond = logits - np.clip(logits, self.logits[0], self.logits[-1])
        return np.asarray(np.interp(logits, self.logits, self.scores) + beyond / self.slope)

    def to_error(self, scores: Array) -> Array:
        """Returns the errors, 0..1, of Gaussian scores ``(network,)``."""
        beyond = scores - np.clip(scores, self.scores[0], self.scores[-1])
        return np.asarray(1 / (1 + np.exp(-np.interp(scores, self.scores, self.logits) - beyond * self.slope)))


class Predictor:
    """A model of errors by features, fitted to some; knows how well it orders networks that it was not shown.

    Args:
        learner: Which members take part.
        seed: Of the trees and of the parts of the cross-validation.

    Attributes:
        held_out_tau: Kendall's tau between errors and their predictions by models that were not shown them: mean of
            `ROUNDS` cross-validations of `FOLDS` parts. 0 before `fit`, and where there is nothing to order.
    """

    def __init__(self, learner: Learner = "ensemble", seed: int = 0) -> None:
        self.held_out_tau = 0.0
        self._learner = learner
        self._seed = seed
        self._stretch = 1.0  # by which the spread becomes that of held-out residuals
        self._models: _Models | None = None

    def fit(self, encoded: Array, errors: Array) -> Predictor:
        """Learns, and measures itself on parts that it holds out.

        Args:
            encoded: Features ``(network, feature)``, finite.
            errors: ``(network,)``, 0..1.

        Raises:
            ValueError: There are fewer than `FOLDS` networks, or the shapes do not agree.
        """
        if encoded.ndim != 2 or errors.shape != encoded.shape[:1] or len(errors) < FOLDS:
            raise ValueError(
                f"needs features (network, feature) and errors (network,) of at least {FOLDS} networks; "
                f"got {encoded.shape} and {errors.shape}"
            )
        self._models = _Models(encoded, errors, self._learner, self._seed)
        truth = self._models.scale.to_score(logit(errors))
        rng = np.random.default_rng(self._seed)
        taus, ratios = [], []
        for _ in range(ROUNDS):
            mean, spread = self._held_out(encoded, errors, rng.permutation(len(errors)))
            taus.append(kendall_tau(mean, errors))
            ratios.append((truth - mean) / spread)
        self.held_out_tau = float(np.mean(taus))
        self._stretch = float(np.sqrt(np.mean(np.square(ratios))))
        return self

    def predict(self, encoded: Array) -> tuple[Array, Array]:
        """Returns expected errors and standard deviations, both ``(network,)``, of features ``(network, feature)``.

        Raises:
            ValueError: Nothing was learned yet.
        """
        if self._models is None:
            raise ValueError("nothing was learned yet: call fit first")
        mean, spread = self._models.scores(encoded)
        spread = self._stretch * spread
        to_error = self._models.scale.to_error
        return to_error(mean), (to_error(mean + spread) - to_error(mean - spread)) / 2

    def _held_out(self, encoded: Array, errors: Array, order: NDArray[np.int64]) -> tuple[Array, Array]:
        """Returns the mean score and its spread ``(network,)``, each by models that were not shown that part."""
        assert self._models is not None
        mean, spread = np.empty(len(errors)), np.empty(len(errors))
        for part in np.array_split(order, FOLDS):
            rest = np.setdiff1d(order, part)
            models = _Models(encoded[rest], errors[rest], self._learner, self._seed, self._models.kernels)
            mean[part], spread[part] = models.scores(encoded[part])
        return mean, spread


def evidence(encoded: Array, errors: Array) -> float:
    """Returns how likely a Gaussian process over these features makes the errors' scores: to compare features by.

    The log marginal likelihood (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, eq. 5.8).
    """
    scale = Scale.of(errors)
    model = _process(_Standard.of(encoded)(encoded), scale.to_score(logit(errors)), None)
    return float(model.log_marginal_likelihood_value_)


def kendall_tau(a: Array, b: Array) -> float:
    """Returns Kendall's tau-b of two ``(network,)``; 0 if one of them is constant."""
    first, second = (np.sign(x[:, None] - x[None, :]) for x in (a, b))
    pairs = float(np.sqrt(np.abs(first).sum() * np.abs(second).sum()))
    return float((first * second).sum()) / pairs if pairs > 0 else 0.0


def logit(errors: Array) -> Array:
    """Returns the logits of errors, which are held off 0 and 1."""
    inside = np.clip(errors, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(inside / (1 - inside)))


@dataclass(frozen=True, eq=False)
class _Standard:
    """Features to mean 0 and deviation 1 over what was learned from; what does not vary there is left out."""

    varies: NDArray[np.bool_]
    mean: Array
    deviation: Array

    @classmethod
    def of(cls, encoded: Array) -> _Standard:
        deviation = encoded.std(axis=0)
        varies = deviation > 1e-9 * np.maximum(1.0, np.abs(encoded).max(axis=0))
        return cls(varies, encoded.mean(axis=0)[varies], deviation[varies])

    def __call__(self, encoded: Array) -> Array:
        standard = np.clip((encoded[:, self.varies] - self.mean) / self.deviation, -FAR, FAR)
        return standard if standard.shape[1] else np.zeros((len(encoded), 1))


class _Models:
    """The members of a learner, fitted to errors ``(network,)``; kernels are searched for unless given."""

    def __init__(
        self, encoded: Array, errors: Array, learner: Learner, seed: int, kernels: tuple[Any, ...] = (None, None)
    ) -> None:
        self.scale = Scale.of(errors)
        self._learner = learner
        self._standard = _Standard.of(encoded)
        features, logits = self._standard(encoded), logit(errors)
        targets = (self.scale.to_score(logits), logits)
        self._processes = [_process(features, y, kernel) for y, kernel in zip(targets, kernels, strict=True)]
        self._trees = [] if learner == "gaussian_process" else [_trees(features, y, seed) for y in targets]

    @property
    def kernels(self) -> tuple[Any, ...]:
        """Those of the two processes."""
        return tuple(model.kernel_ for model in self._processes)

    def scores(self, encoded: Array) -> tuple[Array, Array]:
        """Returns mean score and spread ``(network,)``: the first process's deviation, and how members disagree."""
        features = self._standard(encoded)
        (by_score, deviation), (by_logit, _) = (_posterior(model, features) for model in self._processes)
        members = [] if self._learner == "gradient_boosting" else [by_score, self.scale.to_score(by_logit)]
        if self._trees:
            members += [self._trees[0].predict(features), self.scale.to_score(self._trees[1].predict(features))]
        return np.mean(members, axis=0), np.sqrt(deviation**2 + np.var(members, axis=0))


def _posterior(process: Any, features: Array) -> tuple[Array, Array]:
    """Returns a process's mean and deviation ``(network,)``.

    Row by row: the last bits of a product of matrices depend on how many rows it has, and a network's figures must not
    depend on its company.
    """
    rows = [process.predict(row[None, :], return_std=True) for row in features]
    return np.array([mean[0] for mean, _ in rows]), np.array([deviation[0] for _, deviation in rows])


def _process(features: Array, target: Array, kernel: Any) -> Any:
    """A Gaussian process with a Matern-3/2 kernel and noise; its figures maximise the likelihood unless given."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    optimizer = "fmin_l_bfgs_b" if kernel is None else None
    if kernel is None:
        kernel = ConstantKernel(1.0, (1e-2, 1e3)) * Matern(features.shape[1] ** 0.5, (1e-1, 1e3), nu=1.5)
        kernel += WhiteKernel(0.1, (1e-4, 1e1))
    model = GaussianProcessRegressor(kernel, optimizer=optimizer, normalize_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a figure at its bound is no mistake
        return model.fit(features, target)


def _trees(features: Array, target: Array, seed: int) -> Any:
    """Gradient boosting (Friedman, 2002: each tree sees a part of the networks) of shallow trees."""
    from sklearn.ensemble import GradientBoostingRegressor

    return GradientBoostingRegressor(
        n_estimators=80, learning_rate=0.1, max_depth=3, subsample=0.7, max_features=0.3, random_state=seed
    ).fit(features, target)
