"""The accuracy model ``predictor``: learns from what the run has measured, and measures how well it has learnt.

    accuracy:
      name: predictor
      of: {name: train, data: cifar10, epochs: 5}
      labels: 40

The first networks are measured by the model ``of``. Once ``labels`` of them are known from committed steps, an ensemble
(`coevo.accuracy.surrogate`) is fitted at every step and tested on held-out ones. If its Kendall's tau is at least
``least_tau``, the networks of the step are predicted, but for a share that is measured all the same: those that would
add most hypervolume to what is measured if their error were a standard deviation below the predicted one
(`coevo.accuracy.promise`), so that the run goes on learning where it matters. Otherwise all are measured.

**Fidelities.** A predicted error stands for what ``of`` would have measured, with its standard deviation, and
`Accuracy.fidelity` begins with "predicted"; it is never learnt from. A front may hold both: a section ``final``
measures all of it alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from coevo.accuracy.features import features
from coevo.accuracy.promise import promising
from coevo.accuracy.stack import Section, build, close
from coevo.accuracy.surrogate import LEAST, Surrogate, fit
from coevo.design import Accuracy, Network
from coevo.errors import SpecError
from coevo.protocols import Array, Candidate, Context, NetworkFamily, Task

PREDICTED = "predicted"
"""What the fidelity of a prediction begins with."""


class PredictorSettings(BaseModel):
    """Settings of the predictor.

    Attributes:
        of: The accuracy model that is predicted.
        labels: Networks that must have been measured before anything is predicted.
        least_tau: Kendall's tau on held-out networks below which nothing is predicted.
        measure: Share of a step's networks that is measured though it could be predicted, rounded up.
        zero_cost: The model ``zero_cost`` with settings, whose proxies are learnt from too; None for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    of: Section
    labels: int = Field(default=40, ge=LEAST)
    least_tau: float = Field(default=0.5, ge=-1, le=1)
    measure: float = Field(default=0.2, ge=0, le=1)
    zero_cost: Section | None = None


class PredictedAccuracy:
    """Predicts what another model would measure (socket `AccuracyModel`)."""

    Settings: ClassVar[type[PredictorSettings]] = PredictorSettings

    def __init__(self, settings: PredictorSettings, near_file: str = "") -> None:
        self._settings = settings
        self._measured = build(settings.of, near_file)
        self._proxies: Any = None if settings.zero_cost is None else build(settings.zero_cost, near_file)
        if self._proxies is not None and not hasattr(self._proxies, "values"):
            raise SpecError(f"{settings.zero_cost} has no proxies to learn from; use zero_cost", field="zero_cost")
        self._fitted: tuple[tuple[str, ...], Surrogate] | None = None

    @property
    def task(self) -> Task:
        """What the data ask of a network; as the model's that is predicted."""
        return self._measured.task

    def check(self, family: NetworkFamily) -> None:
        """Refuses what the model that is predicted refuses."""
        for model in (self._measured, self._proxies):
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
        """Yields (index, accuracy) of every network as each is done; predicted ones first.

        Args:
            family: Builds modules and features.
            networks: What to score.
            seed: The run's.
            jobs: Processes to use.
            context: What the run has measured, and the step's company, of which a share is measured.

        Raises:
            SpecError, DataError, BackendError: As the model that is predicted.
        """
        context = context or Context()
        known = measured(context.history)
        surrogate = self._surrogate(family, known, seed, jobs, context)
        if surrogate is None or not surrogate.tau >= self._settings.least_tau:
            yield from self._measured.score(family, networks, seed, jobs, context)
            return
        company = _together(context.company, networks)
        start = time.monotonic()
        step = [candidate.network for candidate in company]
        mean, deviation = surrogate.predict(self._features(family, step, seed, jobs, context))
        share = (time.monotonic() - start) / len(company)
        place = {network.key: i for i, network in enumerate(step)}
        rivals = [(rival, rival.accuracy.error) for rival in known if rival.accuracy is not None]
        hopes = list(zip(company, (mean - deviation).tolist(), strict=True))
        count = math.ceil(self._settings.measure * len(company))
        chosen = {step[i].key for i in promising([*rivals, *hopes], len(rivals))[:count]} if count else set()
        fidelity = f"{PREDICTED} (tau {surrogate.tau:.2f} on {surrogate.samples} networks)"
        for i, network in enumerate(networks):
            if network.key not in chosen:
                at = place[network.key]
                error = float(np.clip(mean[at], 0.0, 1.0))
                yield i, Accuracy(error, uncertainty=float(deviation[at]), fidelity=fidelity, seconds=share)
        rest = [i for i, network in enumerate(networks) if network.key in chosen]
        for i, accuracy in self._measured.score(family, [networks[i] for i in rest], seed, jobs, context):
            yield rest[i], accuracy

    def close(self) -> None:
        """Ends the models' processes."""
        close(self._measured)
        if self._proxies is not None:
            close(self._proxies)

    def _surrogate(
        self, family: NetworkFamily, known: Sequence[Candidate], seed: int, jobs: int, context: Context
    ) -> Surrogate | None:
        """Returns the ensemble for what is measured; None if that is too little."""
        if len(known) < self._settings.labels:
            return None
        keys = tuple(candidate.network.key for candidate in known)
        if self._fitted is None or self._fitted[0] != keys:
            given = self._features(family, [candidate.network for candidate in known], seed, jobs, context)
            errors = np.array([candidate.accuracy.error for candidate in known if candidate.accuracy is not None])
            self._fitted = keys, fit(given, errors, seed)
        return self._fitted[1]

    def _features(
        self, family: NetworkFamily, networks: Sequence[Network], seed: int, jobs: int, context: Context
    ) -> Array:
        """Features ``(network, feature)``, with the ranks of proxies if those are asked for."""
        columns = [features(family, networks)]
        if self._proxies is not None:
            values = self._proxies.values(family, networks, seed, jobs, context)
            columns.append(np.array([np.nan_to_num(values[name]) for name in sorted(values)]).T)
        return np.concatenate(columns, axis=1)


plugin = PredictedAccuracy


def measured(history: Sequence[Candidate]) -> list[Candidate]:
    """Returns the networks that were measured and did not fail: no predictions among them."""
    return [
        known
        for known in history
        if known.accuracy is not None
        and known.accuracy.violation == 0
        and not known.accuracy.fidelity.startswith(PREDICTED)
    ]


def _together(company: Sequence[Candidate], networks: Sequence[Network]) -> list[Candidate]:
    """The step's networks, each once: its company, and those asked for that are not of it."""
    known = {candidate.network.key: candidate for candidate in company}
    width = company[0].costs.shape[1] if company else 0
    for network in networks:
        known.setdefault(network.key, Candidate(network, np.zeros((1, width))))
    return list(known.values())
