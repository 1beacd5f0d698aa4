"""Small stand-ins for the rooms below: a family, a cost model, an accuracy model and an optimiser, all deterministic.

Named in experiments as ``<this file>:<class>``; also used as objects.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from coevo.design import Accuracy, Cost
from coevo.metrics import metric
from coevo.protocols import Task
from coevo.space import Gene, Genomes
from coevo.workload import Layer, Workload


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FamilySettings(_Settings):
    widths: list[int] = [4, 8, 16, 32]


class Family:
    """One or two convolutions; the second's kernel is a gene only if it is there."""

    Settings = FamilySettings

    def __init__(self, settings: FamilySettings, task: Task) -> None:
        self.task = task
        self.genes = (
            Gene("depth", (1, 2)),
            Gene("width", tuple(settings.widths)),
            Gene("kernel1", (1, 3, 5)),
            Gene("kernel2", (1, 3, 5), parent="depth", when=(2,)),
        )

    def workload(self, choices: Mapping[str, Any], task: Task | None = None) -> Workload:
        task = task or self.task
        width, size = choices["width"], task.resolution
        kernels = [choices[f"kernel{i + 1}"] for i in range(choices["depth"])]
        inputs = [task.channels, width]
        return Workload(
            "tiny",
            tuple(
                Layer(f"conv{i}", "conv", m=width, c=inputs[i], p=size, q=size, r=kernel, s=kernel)
                for i, kernel in enumerate(kernels)
            ),
        )

    def module(self, choices: Mapping[str, Any]) -> Any:
        raise AssertionError("the fake accuracy trains nothing")


class CostSettings(_Settings):
    broken: bool = False
    factor: float = 1.0


class CostModel:
    """Roofline of multipliers and one buffer, which must hold the weights of the largest layer."""

    Settings = CostSettings
    scored: list[tuple[str, str]] = []  # noqa: RUF012 -- tests read what all instances were asked

    def __init__(self, settings: CostSettings) -> None:
        self.settings = settings

    def evaluate(self, pairs: Sequence[tuple[Workload, Any]], jobs: int = 1) -> list[Cost]:
        self.scored.extend((workload.name, accelerator.key) for workload, accelerator in pairs)
        return [self._cost(*pair) for pair in pairs]

    def _cost(self, workload: Workload, accelerator: Any) -> Cost:
        names = tuple(memory.name for memory in accelerator.memories)
        buffer = accelerator.memories[1]
        needed = 16 * max(layer.words[0] for layer in workload.layers)
        if needed > buffer.size_bits:
            reason = f"buffer: {needed} bits needed, {buffer.size_bits:.0f} there"
            return Cost(names, math.inf, math.nan, accelerator.area_mm2, math.nan, 1.0, reason)
        energy = math.nan if self.settings.broken else workload.macs * (1 + buffer.size_bits / 1e6)
        cycles = self.settings.factor * workload.macs / accelerator.pes
        return Cost(names, cycles, energy, accelerator.area_mm2, needed / 8)


class AccuracySettings(_Settings):
    delay_s: float = 0.0
    journal: str = ""
    fails: int = 0
    nan: bool = False
    fidelity: str = ""
    noise: float = 0.02


class AccuracyModel:
    """Larger networks err less, with noise by network and seed; yields backwards if it has several jobs.

    Every ``fails``-th network (by key) fails. Every training appends its network's key to ``journal``.
    """

    Settings = AccuracySettings
    untrained = True
    independent = True

    def __init__(self, settings: AccuracySettings, near_file: str = "") -> None:
        self.settings = settings
        self.task = Task(1, 8, 10)

    def score(
        self, family: Any, networks: Sequence[Any], seed: int, jobs: int = 1, context: Any = None
    ) -> Iterator[tuple[int, Accuracy]]:
        indices = range(len(networks))
        for i in reversed(indices) if jobs > 1 else indices:
            time.sleep(self.settings.delay_s)
            if self.settings.journal:
                with Path(self.settings.journal).open("a") as journal:
                    journal.write(f"{networks[i].key}\n")
            yield i, self._accuracy(family, networks[i], seed)

    def _accuracy(self, family: Any, network: Any, seed: int) -> Accuracy:
        number = int(network.key, 16)
        if self.settings.fails and number % self.settings.fails == 0:
            return Accuracy(math.nan, violation=1.0, reason="diverged", seconds=time.monotonic())
        noise = self.settings.noise * np.random.default_rng([seed, number]).random()
        error = 1 / (1 + math.log(family.workload(network.choices).macs)) + noise
        error = math.nan if self.settings.nan else error
        return Accuracy(error, error + 0.01, fidelity=self.settings.fidelity, seconds=time.monotonic())


class SharedAccuracyModel(AccuracyModel):
    """The same, as if it took its time: worth sharing."""

    untrained = False


class TimedAccuracyModel(AccuracyModel):
    """Trainings of 1 to 20 ticks, by the network's key, on as many workers as there are jobs, by a clock of its own.

    Attributes:
        sessions: What was under way, one after the other.
        histories: How many networks a training knew when it was added, by network key.
    """

    untrained = False

    def __init__(self, settings: AccuracySettings, near_file: str = "") -> None:
        super().__init__(settings, near_file)
        self.sessions: list[Timed] = []
        self.histories: dict[str, tuple[int, int]] = {}

    def begin(self, family: Any, seed: int, jobs: int = 1) -> Timed:
        self.sessions.append(Timed(self, family, seed, jobs))
        return self.sessions[-1]

    def score(
        self, family: Any, networks: Sequence[Any], seed: int, jobs: int = 1, context: Any = None
    ) -> Iterator[tuple[int, Accuracy]]:
        trainings, places = self.begin(family, seed, jobs), {network.key: i for i, network in enumerate(networks)}
        for network in networks:
            trainings.add(network, context)
        for _ in networks:
            network, accuracy = trainings.next()
            yield places[network.key], accuracy


class Timed:
    """Trainings under way; counts how long workers worked and how long they had nothing to do."""

    def __init__(self, model: TimedAccuracyModel, family: Any, seed: int, jobs: int) -> None:
        self.model, self.family, self.seed, self.jobs = model, family, seed, jobs
        self.clock = self.worked = self.idle = 0
        self.running: list[tuple[int, int, Any]] = []
        self.waiting: list[Any] = []
        self.flying: list[int] = []
        self.added = 0

    def add(self, network: Any, context: Any) -> None:
        assert network.key not in [other.key for other in (*self.waiting, *(entry[2] for entry in self.running))]
        self.model.histories[network.key] = len(context.history), len(context.company)
        self.waiting.append(network)
        self.fill()

    def fill(self) -> None:
        while self.waiting and len(self.running) < self.jobs:
            network = self.waiting.pop(0)
            self.running.append((self.clock + 1 + int(network.key, 16) % 20, self.added, network))
            self.added += 1

    def next(self) -> tuple[Any, Accuracy]:
        self.flying.append(len(self.running) + len(self.waiting))
        first = min(self.running)
        self.running.remove(first)
        elapsed, self.clock = first[0] - self.clock, first[0]
        self.worked += elapsed * (1 + len(self.running))
        self.idle += elapsed * (self.jobs - 1 - len(self.running))
        self.fill()
        if self.model.settings.journal:
            with Path(self.model.settings.journal).open("a") as journal:
                journal.write(f"{first[2].key}\n")
        time.sleep(self.model.settings.delay_s)
        return first[2], self.model._accuracy(self.family, first[2], self.seed)

    def close(self) -> None:
        self.running, self.waiting = [], []


class OptimizerSettings(_Settings):
    batch: int = 6
    mutate: float = 0.3


class Optimizer:
    """Mutates the best design told so far, so that what it asks depends on all that it was told."""

    Settings = OptimizerSettings

    def __init__(self, problem: Any, settings: OptimizerSettings, rng: np.random.Generator) -> None:
        self.space, self.settings, self.rng = problem.space, settings, rng
        self.best: tuple[float, Genomes] | None = None

    def ask(self) -> Genomes:
        drawn = self.space.sample(self.rng, self.settings.batch)
        if self.best is not None:
            keep = self.rng.random(drawn.shape) > self.settings.mutate
            drawn = np.where(keep, self.best[1], drawn)
        return self.space.canonical(drawn)

    def tell(self, genomes: Genomes, values: Any, violation: Any) -> None:
        assert np.isfinite(values).all()
        assert genomes.shape[0] == values.shape[0] == violation.shape[0]
        for genome, row, excess in zip(genomes, values, violation, strict=True):
            merit = float(np.log1p(np.abs(row)).sum() + 100 * excess)
            if self.best is None or merit < self.best[0]:
                self.best = (merit, genome)


@metric("W", title="Power")
def power(cost: Any, accelerator: Any) -> float:
    return cost.energy_pj * accelerator.clock_mhz * 1e-6 / cost.latency_cycles


def not_a_metric(cost: Any) -> float:
    return 0.0
