"""The accuracy model ``cascade``: cheap models screen, dear ones judge what is left (successive halving).

    accuracy:
      name: cascade
      rungs:
        - {model: {name: zero_cost, data: cifar10}, keep: 0.25}
        - {model: {name: train, data: cifar10, epochs: 1}, keep: 0.5}
        - {model: {name: train, data: cifar10, epochs: 5}}

All networks of a step climb together. On each rung the best go on, so many that the share ``keep`` of all that ever
reached the rung has passed it (rounded up; of a small step perhaps nobody). What is best is decided as the search
would: by the hypervolume that a network adds, with the error that this rung gives it and the costs that hardware gives
its designs, to what earlier steps have let pass this rung and what is chosen already (successive halving: K. Jamieson,
A. Talwalkar, AISTATS 2016; across generations: ASHA, L. Li et al., MLSys 2020; selection by hypervolume: M. Emmerich
et al., EMO 2005). So networks that are small, fast and not very accurate pass as well as the most accurate. A rung that
trains goes on with the weights of the last rung below that trained.

**Fidelities are not mixed.** Only what the last rung measured is a figure of the search. A network that was stopped
below has none: it is infeasible, by less the further it came, and stays so with other accelerators. Errors of one rung
are compared with errors of that rung alone, and only if they are of one kind (`coevo.design.Accuracy.fidelity`).

**Resume.** A decision depends on committed steps and on the networks of its own step, never on which of those were
scored when the run was stopped: results of the lower rungs are kept with the run. (A budget that ends within a step
leaves the networks that it cuts off out of the step; if it is raised later, they are judged beside all of it.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from coevo.accuracy.promise import promising
from coevo.accuracy.restored import Restored, restore
from coevo.accuracy.stack import Section, build, close
from coevo.design import Accuracy, Network, digest
from coevo.errors import SpecError
from coevo.protocols import Candidate, Context, NetworkFamily, Task


class RungSettings(BaseModel):
    """One rung.

    Attributes:
        model: What scores the networks that reach it.
        keep: Share of them that goes on; not read of the last rung.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    model: Section
    keep: float = Field(default=1 / 3, gt=0, le=1)


class CascadeSettings(BaseModel):
    """The rungs, and how they follow each other.

    Attributes:
        rungs: From the cheapest to the last, whose figures are the search's.
        continue_training: Whether a rung that trains (``train``) goes on with the weights of the rung before it that
            trained the same networks (of equal width and depth), instead of training them from scratch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    rungs: Annotated[tuple[RungSettings, ...], Field(min_length=1, strict=False)]
    continue_training: bool = True


class Cascade:
    """Scores networks by several models in sequence (socket `AccuracyModel`)."""

    Settings: ClassVar[type[CascadeSettings]] = CascadeSettings

    def __init__(self, settings: CascadeSettings, near_file: str = "") -> None:
        self._settings = settings
        self._sections = _continued(settings)
        self._models = tuple(build(section, near_file) for section in self._sections)

    @property
    def task(self) -> Task:
        """What the data ask of a network.

        Raises:
            SpecError: The rungs have different data.
            DataError: Data are absent.
        """
        tasks = [model.task for model in self._models]
        for i, task in enumerate(tasks):
            if task != tasks[-1]:
                raise SpecError(f"rung {i + 1} is for {task}, the last one for {tasks[-1]}; take the same data")
        return tasks[-1]

    def check(self, family: NetworkFamily) -> None:
        """Refuses networks that a rung cannot score.

        Raises:
            SpecError: As the rung's own check.
        """
        for model in self._models:
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
        """Yields (index, accuracy) of every network as its fate is decided.

        Args:
            family: Builds the modules.
            networks: Which of the step's networks to report; all of `Context.company` climb.
            seed: The run's.
            jobs: Processes to use.
            context: The step's company and what the run has found out before.

        Raises:
            SpecError, DataError, BackendError: As the models.
        """
        context = context or Context()
        places: dict[str, list[int]] = {}
        for i, network in enumerate(networks):
            places.setdefault(network.key, []).append(i)
        climbing = {candidate.network.key: candidate for candidate in context.company}
        for network in networks:
            climbing.setdefault(network.key, Candidate(network, np.empty((1, 0))))
        spent = dict.fromkeys(climbing, 0.0)
        for level in range(len(self._models)):
            results: dict[str, Accuracy] = {}
            for key, accuracy in self._results(level, family, list(climbing.values()), seed, jobs, context):
                spent[key] += accuracy.seconds
                results[key] = accuracy
                if level == len(self._models) - 1 or accuracy.violation > 0:
                    yield from ((i, replace(accuracy, seconds=spent[key])) for i in places.get(key, ()))
            left = {key: candidate for key, candidate in climbing.items() if results[key].violation == 0}
            if level == len(self._models) - 1 or not left:
                return
            order, quota = self._order(level, left, results, seed, context)
            for position, key in enumerate(order[quota:], start=quota):
                stopped = self._stopped(level, results[key], position, len(order))
                yield from ((i, replace(stopped, seconds=spent[key])) for i in places.get(key, ()))
            climbing = {key: candidate for key, candidate in left.items() if key in order[:quota]}

    def restored(self, family: NetworkFamily, network: Network, seed: int, folder: Path) -> Restored:
        """Returns a network as the last rung left it.

        Raises:
            RunError: The last rung has no weights of networks; or as its own ``restored``.
        """
        return restore(self._models[-1], family, network, seed, folder)

    def close(self) -> None:
        """Ends the models' processes."""
        for model in self._models:
            close(model)

    def _results(
        self,
        level: int,
        family: NetworkFamily,
        candidates: Sequence[Candidate],
        seed: int,
        jobs: int,
        context: Context,
    ) -> Iterator[tuple[str, Accuracy]]:
        """Yields (network key, accuracy) on one rung; what is remembered is not computed again."""
        missing = []
        for candidate in candidates:
            known = context.memory.get(self._key(level, candidate.network.key, seed))
            if known is None:
                missing.append(candidate.network)
            else:
                yield candidate.network.key, known
        if missing:
            company = replace(context, company=tuple(candidates))
            for i, accuracy in self._models[level].score(family, missing, seed, jobs, company):
                context.memory[self._key(level, missing[i].key, seed)] = accuracy
                yield missing[i].key, accuracy

    def _order(
        self,
        level: int,
        candidates: Mapping[str, Candidate],
        results: Mapping[str, Accuracy],
        seed: int,
        context: Context,
    ) -> tuple[list[str], int]:
        """Returns the keys of candidates, the most worth going on first, and how many of them go on."""
        kinds = {_kind(results[key]) for key in candidates}
        reached, passed = 0, 0
        rivals: list[tuple[Candidate, float]] = []
        for known in context.history:
            here = context.memory.get(self._key(level, known.network.key, seed))
            if here is None or here.violation > 0:
                continue
            reached += 1
            if self._key(level + 1, known.network.key, seed) in context.memory:
                passed += 1
                if _kind(here) in kinds:
                    rivals.append((known, here.error))
        keys = list(candidates)
        order = promising([*rivals, *((candidates[key], results[key].error) for key in keys)], len(rivals))
        share = math.ceil(self._settings.rungs[level].keep * (reached + len(keys)))
        return [keys[i] for i in order], min(max(0, share - passed), len(keys))

    def _key(self, level: int, network_key: str, seed: int) -> str:
        """Key of a result in the run's memory: it depends on this rung and those below."""
        return digest(["cascade", self._sections[: level + 1], network_key, seed])

    def _stopped(self, level: int, accuracy: Accuracy, position: int, count: int) -> Accuracy:
        """What stands for a network that does not go on: the further it came, the smaller the violation."""
        rungs = len(self._models)
        reached = (level + 1 - (position + 1) / (count + 1)) / rungs
        reason = f"stopped at rung {level + 1} of {rungs} ({accuracy.fidelity}): {position + 1} of {count}"
        return Accuracy(error=1.0, violation=1 - reached, reason=reason, fidelity=accuracy.fidelity)


plugin = Cascade


def _continued(settings: CascadeSettings) -> list[dict[str, Any]]:
    """Returns the rungs' sections; those that train continue from the nearest rung below that trained alike."""
    sections: list[dict[str, Any]] = []
    for rung in settings.rungs:
        section = dict(rung.model)
        below = [i for i, other in enumerate(sections) if _trains_alike(other, section)]
        if settings.continue_training and below and section.get("after") is None:
            sections[below[-1]]["keep_weights"] = True
            section["after"] = {key: value for key, value in sections[below[-1]].items() if key != "name"}
        sections.append(section)
    return sections


def _trains_alike(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    return one["name"] == two["name"] == "train" and all(one.get(x) == two.get(x) for x in ("width", "depth"))


def _kind(accuracy: Accuracy) -> str:
    """What kind of figure it is, without details in brackets."""
    return accuracy.fidelity.partition(" (")[0]
