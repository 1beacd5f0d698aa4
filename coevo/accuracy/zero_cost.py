"""The accuracy model ``zero_cost``: networks are ranked without training, by figures that go along with accuracy.

A figure by itself says nothing (a log-determinant of 400), so each is turned into a standing among a fixed reference
sample of the space: networks drawn from the family's genes by a seed of their own, and looked at once. What is given
as the error is 1 minus the standing of all proxies together: a *position in a ranking*, 0 the best and 1 the worst,
and no error that a training would show. It orders networks, and may be compared with no other model's error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from coevo.accuracy.data import find_file, load_train, task_of
from coevo.accuracy.settings import DataSettings, LimitSettings
from coevo.accuracy.stack import memory_key
from coevo.accuracy.standing import Aggregate
from coevo.accuracy.tasks import NetworkTasks, failure, packed
from coevo.design import Accuracy, Network
from coevo.processes.pool import Tasks
from coevo.processes.worker import Outcome
from coevo.protocols import Context, NetworkFamily, Task
from coevo.space import Space

Values = NDArray[np.float64]

ProxyName = Literal[
    "expressivity",
    "progressivity",
    "trainability",
    "macs",
    "params",
    "naswot",
    "swap",
    "meco",
    "synflow",
    "grad_norm",
    "zico",
]

_SIZES = {"macs", "params"}
_REFERENCE_SEED = 20261126
_DRAWS_PER_NETWORK = 4
_LOOK_FIELDS = {"data", "folder", "train_images", "validation_images", "device", "batch_size", "repeats"}


def _different(names: tuple[ProxyName, ...]) -> tuple[ProxyName, ...]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"proxy {name} stands {names.count(name)} times; keep one")
    return names


class ZeroCostSettings(DataSettings, LimitSettings):
    """Settings of `coevo.accuracy.zero_cost`: the data, limits, and what is looked at.

    Attributes:
        train_images: Images that batches are taken from, in turn; at least two batches.
        proxies: The figures, see `coevo.accuracy.proxies`; all count alike.
        batch_size: Images, real or of noise, in a pass.
        repeats: Initialisations, each with other images, that a figure is the mean of.
        reference: Networks of the space that standings are taken among; fewer if the space has fewer.
    """

    train_images: int = Field(default=256, ge=2)
    proxies: Annotated[tuple[ProxyName, ...], Field(min_length=1, strict=False), AfterValidator(_different)] = (
        "expressivity",
        "trainability",
        "macs",
        "swap",
        "meco",
        "synflow",
    )
    batch_size: int = Field(default=32, ge=2)
    repeats: int = Field(default=1, ge=1)
    reference: int = Field(default=64, ge=2)

    @model_validator(mode="after")
    def _hold_two_batches(self) -> Self:
        if self.train_images < 2 * self.batch_size:
            raise ValueError(
                f"train_images must be at least two batches, 2 * batch_size = {2 * self.batch_size}, "
                f"got {self.train_images}"
            )
        return self


class ZeroCostAccuracy:
    """1 minus a network's standing among the reference networks, by proxies (socket `AccuracyModel`).

    A proxy that a network does not have (NaN or infinite, as where the output depends on no input) gives it a
    standing next to 0, and so one below the networks that have them all. A network that cannot be looked at (it
    raises, crashes, is out of time or memory) is an `Accuracy` with a violation; in the reference it has no proxy.

    Attributes:
        setup_seconds: Time that looking at the reference networks took, be it in an earlier process [s].
    """

    Settings: ClassVar[type[ZeroCostSettings]] = ZeroCostSettings
    independent = True

    def __init__(self, settings: ZeroCostSettings, near_file: str = "") -> None:
        self._settings = settings
        self._near_file = near_file
        self._look = {"name": "zero_cost", **settings.model_dump(mode="json", include=_LOOK_FIELDS)}
        self._aggregates: dict[tuple[int, int], tuple[NetworkFamily, Aggregate]] = {}
        self.setup_seconds = 0.0
        self._tasks = NetworkTasks("coevo.accuracy.proxies:proxy_task", self._inputs, settings.time_limit_s)

    @property
    def task(self) -> Task:
        """What the data ask of a network.

        Raises:
            DataError: The data are absent.
        """
        find_file(self._settings, self._near_file)
        return task_of(self._settings, self._near_file)

    def score(
        self,
        family: NetworkFamily,
        networks: Sequence[Network],
        seed: int,
        jobs: int = 1,
        context: Context | None = None,
    ) -> Iterator[tuple[int, Accuracy]]:
        """Yields (index, accuracy) of every network as each is done; the reference networks are looked at first.

        Args:
            family: Builds the modules, in the task's process.
            networks: What to rank.
            seed: The run's; weights and noise come from it and `Network.key`.
            jobs: Networks at a time.
            context: Its memory keeps the figures, so that none is computed anew after a resume.

        Raises:
            DataError: The data are absent or unreadable.
            BackendError: No task can run on this machine.
            SpecError: The settings ask for more images than there are, or the family cannot be sent.
        """
        if not networks:
            return
        memory = {} if context is None else context.memory
        aggregate = self._aggregate(family, networks[0].family, seed, jobs, memory)
        for places, known in self._figures(family, networks, seed, jobs, memory):
            accuracy = self._accuracy(aggregate, known)
            for place in places:
                yield place, accuracy

    def values(
        self,
        family: NetworkFamily,
        networks: Sequence[Network],
        seed: int,
        jobs: int = 1,
        context: Context | None = None,
    ) -> dict[str, Values]:
        """Returns the proxies' own figures ``(network,)`` by name, NaN where a network cannot be looked at.

        Args:
            family: As for `score`, like the others.
            networks: What to look at.
            seed: The run's.
            jobs: Networks at a time.
            context: Its memory keeps the figures.

        Raises:
            DataError: The data are absent or unreadable.
            BackendError: No task can run on this machine.
            SpecError: The settings ask for more images than there are, or the family cannot be sent.
        """
        values: dict[str, Values] = {name: np.full(len(networks), math.nan) for name in self._settings.proxies}
        memory = {} if context is None else context.memory
        for places, known in self._figures(family, networks, seed, jobs, memory):
            for name, accuracy in known.items():
                values[name][places] = _value(accuracy)
        return values

    def begin(self, family: NetworkFamily, seed: int, jobs: int = 1) -> Looks:
        """Returns looks, none yet, to which networks are added one by one (socket `Trainings`).

        Args:
            family: As for `score`, like the others.
            seed: The run's.
            jobs: Networks at a time.
        """
        return Looks(self, family, seed, jobs)

    def close(self) -> None:
        """Ends the processes, if there are any."""
        self._tasks.close()

    def _aggregate(
        self, family: NetworkFamily, name: str, seed: int, jobs: int, memory: MutableMapping[str, Accuracy]
    ) -> Aggregate:
        """The family's reference, from the first call on."""
        key = (id(family), seed)  # the family is kept beside it, so that its id is no other's
        if key not in self._aggregates:
            networks = reference_networks(family, name, self._settings.reference)
            values = self.values(family, networks, seed, jobs, Context(memory=memory))
            self._aggregates[key] = (family, Aggregate.of(values))
            for network in () if set(self._settings.proxies) <= _SIZES else networks:
                first = memory.get(next(iter(self._keys(network, seed).values())))
                self.setup_seconds += 0.0 if first is None else first.seconds
        return self._aggregates[key][1]

    def _figures(
        self,
        family: NetworkFamily,
        networks: Sequence[Network],
        seed: int,
        jobs: int,
        memory: MutableMapping[str, Accuracy],
    ) -> Iterator[tuple[list[int], dict[str, Accuracy]]]:
        """Yields (indices, figures by proxy) of every network as each is done; a figure stands where an error would."""
        unknown: list[int] = []
        for i, network in enumerate(networks):
            known = self._known(family, network, seed, memory)
            if known is None:
                unknown.append(i)
            else:
                yield [i], known
        if not unknown:  # nothing to run
            return
        for places, outcome in self._tasks.run(family, [networks[i] for i in unknown], seed, jobs):
            indices = [unknown[place] for place in places]
            yield indices, self._noted(networks[indices[0]], seed, outcome, memory)

    def _known(
        self, family: NetworkFamily, network: Network, seed: int, memory: MutableMapping[str, Accuracy]
    ) -> dict[str, Accuracy] | None:
        """A network's figures, if none has to be looked for."""
        if set(self._settings.proxies) <= _SIZES:
            sizes = _sizes(family, network)
            return {name: Accuracy(sizes[name], fidelity=name) for name in self._settings.proxies}
        keys = self._keys(network, seed)
        known = {name: found for name, key in keys.items() if (found := memory.get(key)) is not None}
        return known if len(known) == len(keys) else None

    def _noted(
        self, network: Network, seed: int, outcome: Outcome, memory: MutableMapping[str, Accuracy]
    ) -> dict[str, Accuracy]:
        """The figures that an outcome gives, remembered."""
        if isinstance(outcome.value, dict):
            known = {n: Accuracy(error=v, fidelity=n, seconds=outcome.seconds) for n, v in outcome.value.items()}
        else:
            known = dict.fromkeys(self._settings.proxies, failure(outcome, "scoring"))
        for name, key in self._keys(network, seed).items():
            memory[key] = known[name]
        return known

    def _keys(self, network: Network, seed: int) -> dict[str, str]:
        """Where each proxy's figure is remembered."""
        return {name: memory_key({**self._look, "proxy": name}, network.key, seed) for name in self._settings.proxies}

    def _accuracy(self, aggregate: Aggregate, known: dict[str, Accuracy]) -> Accuracy:
        """What the figures make of a network."""
        first = next(iter(known.values()))
        if first.violation:
            return first
        (standing,) = aggregate({name: np.array([_value(figure)]) for name, figure in known.items()})
        fidelity = f"zero-cost: {', '.join(self._settings.proxies)}"
        return Accuracy(error=1 - float(standing), fidelity=fidelity, seconds=first.seconds)

    def _inputs(self) -> object:
        """What every task sees, see `coevo.accuracy.proxies.Inputs`."""
        from coevo.accuracy.proxies import Inputs

        settings = self._settings
        images, labels = load_train(settings, self._near_file)
        return Inputs(
            task_of(settings, self._near_file),
            images,
            labels,
            settings.proxies,
            settings.batch_size,
            settings.repeats,
            settings.memory_limit_mib,
            settings.device,
        )


plugin = ZeroCostAccuracy


class Looks:
    """Looks at networks, others being added as some are done (socket `Trainings`).

    The reference networks are looked at as the first is added. A network whose figures are known is done at once, but
    with one worker, where networks are done in the order of adding, resumed or not.

    Args:
        model: Says what figures are worth.
        family: Of the networks.
        seed: The run's.
        jobs: Networks at a time.
    """

    def __init__(self, model: ZeroCostAccuracy, family: NetworkFamily, seed: int, jobs: int) -> None:
        self._model = model
        self._family = family
        self._seed = seed
        self._jobs = jobs
        self._tasks: Tasks | None = None
        self._indices: dict[int, str] = {}
        self._added: dict[str, tuple[Network, dict[str, Accuracy] | None, Context]] = {}

    def add(self, network: Network, context: Context) -> None:
        """Adds a network; see `Trainings.add`.

        Raises:
            DataError, BackendError, SpecError: As the model's `score`.
        """
        model, seed = self._model, self._seed
        model._aggregate(self._family, network.family, seed, self._jobs, context.memory)
        known = model._known(self._family, network, seed, context.memory)
        if known is None:
            self._tasks = self._tasks or model._tasks.begin(self._jobs)
            self._indices[self._tasks.add(packed(self._family, network, seed, None))] = network.key
        self._added[network.key] = network, known, context

    def next(self) -> tuple[Network, Accuracy]:
        """Waits for one; see `Trainings.next`.

        Raises:
            BackendError: No task can run on this machine.
        """
        first = next(iter(self._added))
        looked = (first,) if self._jobs == 1 else self._added
        key = next((key for key in looked if self._added[key][1] is not None), None)
        if key is None:
            assert self._tasks is not None
            index, outcome = self._tasks.next()
            network, _, context = self._added.pop(self._indices.pop(index))
            known = self._model._noted(network, self._seed, outcome, context.memory)
        else:
            network, found, context = self._added.pop(key)
            known = found or {}
        aggregate = self._model._aggregate(self._family, network.family, self._seed, self._jobs, context.memory)
        return network, self._model._accuracy(aggregate, known)

    def close(self) -> None:
        """Cancels those under way."""
        if self._tasks is not None:
            self._tasks.close()
        self._tasks = None
        self._indices.clear()
        self._added.clear()


def reference_networks(family: NetworkFamily, name: str, count: int) -> list[Network]:
    """Returns up to so many different networks of a family, always the same ones.

    Args:
        family: The family.
        name: What `Network.family` says of it.
        count: Networks; fewer come back if that many different ones are not met in four times as many draws.
    """
    space = Space(tuple(family.genes))
    drawn = space.sample(np.random.default_rng(_REFERENCE_SEED), _DRAWS_PER_NETWORK * count)
    different = {genome.tobytes(): genome for genome in drawn}
    return [Network(name, space.decode(genome)) for genome in list(different.values())[:count]]


def _sizes(family: NetworkFamily, network: Network) -> dict[str, float]:
    """The proxies that need no network to run."""
    workload = family.workload(network.choices)
    return {"params": float(workload.parameters), "macs": float(workload.macs)}


def _value(figure: Accuracy) -> float:
    return math.nan if figure.violation else figure.error
