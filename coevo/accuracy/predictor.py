"""The accuracy model ``predictor``: once enough networks were measured, the errors of others are predicted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from coevo.accuracy.stack import Section, build, close
from coevo.design import Accuracy, Network
from coevo.errors import SpecError
from coevo.learning.features import VIEWS, Array, Encoding, FeatureChoice, Features, NetworkFeatures
from coevo.learning.process import evidence
from coevo.learning.regression import Learner, Predictor
from coevo.pareto import ranks
from coevo.protocols import Candidate, Context, NetworkFamily, Task

PREDICTED = "predicted"
"""What the fidelity of a predicted figure begins with."""

Encode = Callable[[Sequence[Network], str], list[Features]]
"""Gives the features of networks, by the name of a view."""


class PredictorSettings(BaseModel):
    """Who measures, and when a prediction is good enough.

    Attributes:
        of: The model that measures, e.g. ``{name: train, epochs: 8}``.
        labels: Networks that are measured before any is predicted.
        least_tau: Below this Kendall tau on held-out networks, all are measured.
        measure: Share of a step's new networks that are measured all the same, so that the model goes on learning.
        features: What is learned from: the graph's paths, the genes, figures of the layers; ``auto`` takes those
            that explain the measured errors best.
        zero_cost: A model of zero-cost proxies, whose figures are learned from too; None for none.
        learner: Gaussian processes, boosted trees, or both.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    of: Section
    labels: int = Field(default=50, ge=10)
    least_tau: float = Field(default=0.5, ge=-1, le=1)
    measure: float = Field(default=0.2, ge=0, le=1)
    features: FeatureChoice = "auto"
    zero_cost: Section | None = None
    learner: Learner = "ensemble"


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A predictor, and what gives it the features of networks."""

    features: Callable[[Sequence[Network]], list[Features]]
    encoding: Encoding
    predictor: Predictor
    labels: int

    @property
    def fidelity(self) -> str:
        return f"{PREDICTED} (tau {self.predictor.held_out_tau:.2f} on {self.labels} networks)"

    def predict(self, networks: Sequence[Network]) -> tuple[Array, Array]:
        """Expected errors and their standard deviations, both ``(network,)``."""
        if not networks:
            return np.empty(0), np.empty(0)
        return self.predictor.predict(self.encoding(self.features(networks)))


class PredictedAccuracy:
    """Errors predicted by a model of those that the run has measured so far (socket `AccuracyModel`).

    What is learned from are the committed steps of the run alone, and of them what was measured; what is measured of a
    step depends on that step's networks alone. So a run that was killed and resumed goes on as it would have.
    """

    Settings: ClassVar[type[PredictorSettings]] = PredictorSettings

    def __init__(self, settings: PredictorSettings, near_file: str = "") -> None:
        self._settings = settings
        self._of = build(settings.of, near_file)
        self._known: NetworkFeatures | None = None
        self._proxies: Any = None if settings.zero_cost is None else build(settings.zero_cost, near_file)
        if settings.zero_cost is not None and not hasattr(self._proxies, "values"):
            problem = f"zero_cost: {settings.zero_cost['name']} has no proxies to learn from; use zero_cost"
            raise SpecError(problem, file=near_file, field="accuracy.zero_cost")

    @property
    def task(self) -> Task:
        """What the data ask of a network, by the model that measures.

        Raises:
            DataError: The data are absent.
        """
        return self._of.task

    def check(self, family: NetworkFamily) -> None:
        """Refuses networks that the model that measures, or that of the proxies, refuses.

        Raises:
            SpecError: As theirs.
        """
        for model in (self._of, self._proxies):
            if (check := getattr(model, "check", None)) is not None:
                check(family)

    def score(
        self,
        family: NetworkFamily,
        networks: Sequence[Network],
        seed: int,
        jobs: int = 1,
        context: Context | None = None,
    ) -> Iterator[tuple[int, Accuracy]]:
        """Yields (index, accuracy) of every network: predicted ones first, then measured ones as each is done.

        Args:
            family: Of the networks.
            networks: What to score.
            seed: The run's.
            jobs: Measurements at a time.
            context: The run; without it, all networks are measured.

        Raises:
            SpecError: Features of the graph are asked for and the family has none.
        """
        context = context or Context()
        began = time.perf_counter()
        encode = self._encoder(family, seed, jobs, context)
        fitted = self._fitted(family, encode, context.history, seed)
        if fitted is None:
            yield from self._of.score(family, networks, seed, jobs, context)
            return
        measured = self._chosen(fitted, context)
        places = [i for i, network in enumerate(networks) if network.key not in measured]
        mean, spread = fitted.predict([networks[i] for i in places])
        seconds = (time.perf_counter() - began) / max(1, len(places))
        for i, error, uncertainty in zip(places, mean.tolist(), spread.tolist(), strict=True):
            yield i, Accuracy(error, uncertainty=uncertainty, fidelity=fitted.fidelity, seconds=seconds)
        rest = [i for i, network in enumerate(networks) if network.key in measured]
        if rest:
            for k, accuracy in self._of.score(family, [networks[i] for i in rest], seed, jobs, context):
                yield rest[k], accuracy

    def close(self) -> None:
        """Ends the processes of the models that it is made of."""
        close(self._of)
        if self._proxies is not None:
            close(self._proxies)

    def _encoder(self, family: NetworkFamily, seed: int, jobs: int, context: Context) -> Encode:
        """Returns what gives features of networks by view; what earlier steps computed is kept."""
        if self._known is None or self._known.family is not family or self._known.seed != seed:
            self._known = NetworkFeatures(family, seed)
        known = self._known

        def proxies(networks: Sequence[Network]) -> Mapping[str, Array]:
            values: Mapping[str, Array] = self._proxies.values(family, networks, seed, jobs, context)
            return values

        given = None if self._proxies is None else proxies
        return lambda networks, view: known.of(networks, VIEWS[view], given)

    def _fitted(self, family: NetworkFamily, encode: Encode, history: Sequence[Candidate], seed: int) -> _Fitted | None:
        """Learns from a run; None if too little was measured, or if it orders held-out networks too badly."""
        measured = [(candidate.network, error) for candidate in history if (error := _measured(candidate)) is not None]
        if len(measured) < self._settings.labels:
            return None
        networks, errors = [network for network, _ in measured], np.array([error for _, error in measured])
        likelihood: dict[str, float] = {}
        for view in self._views(family):
            features = encode(networks, view)
            likelihood[view] = evidence(Encoding.of(features)(features), errors)
        view = max(likelihood, key=lambda name: likelihood[name])
        features = encode(networks, view)
        encoding = Encoding.of(features)
        predictor = Predictor(self._settings.learner, seed % 2**32).fit(encoding(features), errors)
        if predictor.held_out_tau < self._settings.least_tau:
            return None
        return _Fitted(lambda those: encode(those, view), encoding, predictor, len(networks))

    def _views(self, family: NetworkFamily) -> list[str]:
        """The kinds of features that are tried."""
        graph = hasattr(family, "graph")
        if self._settings.features == "auto":
            return [name for name, views in VIEWS.items() if graph or "graph" not in views]
        if "graph" in VIEWS[self._settings.features] and not graph:
            raise SpecError(
                f"{self._settings.features!r} needs a family with a graph; use auto, genes or genes+workload",
                field="accuracy.features",
            )
        return [self._settings.features]

    def _chosen(self, fitted: _Fitted, context: Context) -> frozenset[str]:
        """The keys of those of a step's new networks that are measured."""
        before = {candidate.network.key for candidate in context.history}
        new = [candidate for candidate in context.company if candidate.network.key not in before]
        count = math.ceil(self._settings.measure * len(new))
        if not count:
            return frozenset()
        mean, spread = fitted.predict([candidate.network for candidate in new])
        return frozenset(new[i].network.key for i in most_telling(new, mean, spread)[:count])


plugin = PredictedAccuracy


def most_telling(candidates: Sequence[Candidate], mean: Array, spread: Array) -> list[int]:
    """Returns candidates' indices, those first whose measurement says most about the front.

    First come those that may be on it: by the rank of (expected error less one deviation, known objectives), of a
    network's designs the best; within a rank the most uncertain; then by `Network.key`.

    Args:
        candidates: Networks with their known objectives.
        mean: Their expected errors ``(network,)``.
        spread: The standard deviations ``(network,)``.
    """
    owner = np.repeat(np.arange(len(candidates)), [len(candidate.costs) for candidate in candidates])
    costs = np.concatenate([candidate.costs for candidate in candidates])
    values = np.column_stack([(mean - spread)[owner], costs])
    rank = np.full(len(candidates), len(values))
    np.minimum.at(rank, owner, ranks(values, np.zeros(len(values))))
    return sorted(range(len(candidates)), key=lambda i: (rank[i], -spread[i], candidates[i].network.key))


def _measured(candidate: Candidate) -> float | None:
    """A network's error; None if it is not known, was predicted, or could not be measured."""
    known = candidate.accuracy
    return None if known is None or known.violation > 0 or known.fidelity.startswith(PREDICTED) else known.error
