"""Learns values from a few dozen measured ones: Gaussian processes and boosted trees, and how far to trust them.

Values are learned on two scales, since neither is best alone: as logits of errors, or logarithms of positive
quantities, which keep distances, and as Gaussian scores (the normal quantiles of their ranks, van der Waerden 1952),
which keep the order alone. The members' predictions are put on the second scale and averaged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from coevo.learning.process import Array, Scale, Standard, fit_process

Learner = Literal["ensemble", "gaussian_process", "gradient_boosting"]

FOLDS = 5
"""Parts of a cross-validation."""

ROUNDS = 2
"""Cross-validations, each with other parts."""


@dataclass(frozen=True)
class Link:
    """The scale on which a quantity is learned so that distances mean something.

    Attributes:
        there: From values to that scale.
        back: From there to values.
    """

    there: Callable[[Array], Array]
    back: Callable[[Array], Array]


class Predictor:
    """A model of errors, or another quantity, by features; knows how well it orders networks that it was not shown.

    Args:
        learner: Which members take part.
        seed: Of the trees and of the parts of the cross-validation.
        link: `LOGIT` for errors, `LOG` for positive quantities.

    Attributes:
        held_out_tau: Kendall's tau between values and their predictions by models that were not shown them: mean of
            `ROUNDS` cross-validations of `FOLDS` parts. 0 before `fit`, and where there is nothing to order.
        held_out_error: Mean absolute error of those predictions relative to the values.
    """

    def __init__(self, learner: Learner = "ensemble", seed: int = 0, link: Link | None = None) -> None:
        self.held_out_tau = self.held_out_error = 0.0
        self._learner = learner
        self._seed = seed
        self._link = link or LOGIT
        self._stretch = 1.0  # by which the spread becomes that of held-out residuals
        self._models: _Models | None = None

    def fit(self, encoded: Array, errors: Array) -> Predictor:
        """Learns, and measures itself on parts that it holds out.

        Args:
            encoded: Features ``(network, feature)``, finite.
            errors: ``(network,)``, 0..1 or, by another link, values of its kind.

        Raises:
            ValueError: There are fewer than `FOLDS` networks, or the shapes do not agree.
        """
        if encoded.ndim != 2 or errors.shape != encoded.shape[:1] or len(errors) < FOLDS:
            raise ValueError(
                f"needs features (network, feature) and errors (network,) of at least {FOLDS} networks; "
                f"got {encoded.shape} and {errors.shape}"
            )
        self._models = _Models(encoded, errors, self._learner, self._seed, self._link)
        truth = self._models.scale.to_score(self._link.there(errors))
        rng = np.random.default_rng(self._seed)
        taus, ratios, deviations = [], [], []
        for _ in range(ROUNDS):
            mean, spread = self._held_out(encoded, errors, rng.permutation(len(errors)))
            taus.append(kendall_tau(mean, errors))
            ratios.append((truth - mean) / spread)
            predicted = self._link.back(self._models.scale.to_value(mean))
            deviations.append(np.abs(predicted - errors) / np.maximum(np.abs(errors), 1e-12))
        self.held_out_tau, self.held_out_error = float(np.mean(taus)), float(np.mean(deviations))
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
        low, middle, high = (
            self._link.back(self._models.scale.to_value(scores)) for scores in (mean - spread, mean, mean + spread)
        )
        return middle, (high - low) / 2

    def _held_out(self, encoded: Array, errors: Array, order: NDArray[np.int64]) -> tuple[Array, Array]:
        """Returns the mean score and its spread ``(network,)``, each by models that were not shown that part."""
        assert self._models is not None
        mean, spread = np.empty(len(errors)), np.empty(len(errors))
        for part in np.array_split(order, FOLDS):
            rest = np.setdiff1d(order, part)
            models = _Models(encoded[rest], errors[rest], self._learner, self._seed, self._link, self._models.kernels)
            mean[part], spread[part] = models.scores(encoded[part])
        return mean, spread


def kendall_tau(a: Array, b: Array) -> float:
    """Returns Kendall's tau-b of two ``(network,)``; 0 if one of them is constant."""
    first, second = (np.sign(x[:, None] - x[None, :]) for x in (a, b))
    pairs = float(np.sqrt(np.abs(first).sum() * np.abs(second).sum()))
    return float((first * second).sum()) / pairs if pairs > 0 else 0.0


def logit(errors: Array) -> Array:
    """Returns the logits of errors, which are held off 0 and 1."""
    inside = np.clip(errors, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(inside / (1 - inside)))


def logistic(logits: Array) -> Array:
    """Returns the errors, 0..1, of logits."""
    return np.asarray(1 / (1 + np.exp(-logits)))


LOGIT = Link(logit, logistic)
"""For errors, 0..1."""

LOG = Link(lambda values: np.asarray(np.log(values)), lambda logs: np.asarray(np.exp(logs)))
"""For positive quantities that span decades."""


class _Models:
    """The members of a learner, fitted to errors ``(network,)``; kernels are searched for unless given."""

    def __init__(
        self,
        encoded: Array,
        errors: Array,
        learner: Learner,
        seed: int,
        link: Link,
        kernels: tuple[Any, ...] = (None, None),
    ) -> None:
        logits = link.there(errors)
        self.scale = Scale.of(logits)
        self._learner = learner
        self._standard = Standard.of(encoded)
        features = self._standard(encoded)
        targets = (self.scale.to_score(logits), logits)
        self._processes = [fit_process(features, y, kernel) for y, kernel in zip(targets, kernels, strict=True)]
        self._trees = [] if learner == "gaussian_process" else [boosted_trees(features, y, seed) for y in targets]

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


def boosted_trees(features: Array, target: Array, seed: int) -> Any:
    """Returns gradient boosting (Friedman, 2002: each tree sees a part of the networks) of shallow trees, fitted."""
    from sklearn.ensemble import GradientBoostingRegressor

    return GradientBoostingRegressor(
        n_estimators=80, learning_rate=0.1, max_depth=3, subsample=0.7, max_features=0.3, random_state=seed
    ).fit(features, target)
