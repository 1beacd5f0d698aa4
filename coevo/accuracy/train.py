"""The accuracy model ``train``: every network is trained on real images for a few epochs, in a process of its own."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from coevo.accuracy.data import find_file, load_split, task_of
from coevo.accuracy.restored import Restored, restored
from coevo.accuracy.settings import TrainSettings
from coevo.accuracy.tasks import NetworkTasks, ProcessTrainings, failure, packed
from coevo.design import Accuracy, Network, digest
from coevo.errors import RunError
from coevo.networks.narrow import reduced
from coevo.processes.worker import Outcome
from coevo.protocols import Candidate, Context, NetworkFamily, Task

if TYPE_CHECKING:
    from coevo.accuracy.loop import Plan

WEIGHTS = "weights"
"""Folder of the kept weights, in the run folder."""

LEAST_CURVES = 8
"""Trainings whose curves must be known before any is stopped for its own."""


class TrainedAccuracy:
    """Validation error after proxy training; test error beside it, for reports alone (socket `AccuracyModel`).

    The random numbers of a training come from the run's seed and `Network.key`, so that its figures do not
    depend on what else is trained, in which order or by how many processes; nor on whether weights or checkpoints that
    were kept are still there (they only save time).
    """

    Settings: ClassVar[type[TrainSettings]] = TrainSettings

    def __init__(self, settings: TrainSettings, near_file: str = "") -> None:
        self._settings = settings
        self._near_file = near_file
        self._tasks = NetworkTasks(
            "coevo.accuracy.loop:train_task",
            lambda: [(load_split(each, near_file), each) for each in settings.chain],
            settings.time_limit_s,
        )

    @property
    def independent(self) -> bool:
        """Whether no figure depends on what else the run trains."""
        return not any(each.stop_dominated for each in self._settings.chain)

    @property
    def task(self) -> Task:
        """What the data ask of a network.

        Raises:
            DataError: The data are absent.
        """
        find_file(self._settings, self._near_file)
        return task_of(self._settings, self._near_file)

    def check(self, family: NetworkFamily) -> None:
        """Refuses cheaper proxies of networks that cannot be made narrower, shallower or smaller.

        Raises:
            SpecError: The family has no graph, or does not repeat cells.
        """
        for each in self._settings.chain:
            reduced(family, self.task, **each.reduction)

    def score(
        self,
        family: NetworkFamily,
        networks: Sequence[Network],
        seed: int,
        jobs: int = 1,
        context: Context | None = None,
    ) -> Iterator[tuple[int, Accuracy]]:
        """Yields (index, accuracy) of every network as each is done; equal networks are trained once.

        Args:
            family: Builds the modules, in the training's process.
            networks: What to train.
            seed: The run's.
            jobs: Trainings at a time.
            context: Says where weights may be kept, and what earlier steps found (``stop_dominated``).

        Raises:
            DataError: The data are absent or unreadable.
            BackendError: No training can run on this machine.
            SpecError: The settings ask for more images than there are, or the family cannot be sent.
        """
        self.check(family)
        context = context or Context()
        plans = self._plans(networks, seed, context)
        for places, outcome in self._tasks.run(family, networks, seed, jobs, plans):
            accuracy = self._accuracy(networks[places[0]], outcome)
            for place in places:
                yield place, accuracy

    def begin(self, family: NetworkFamily, seed: int, jobs: int = 1) -> ProcessTrainings:
        """Returns trainings, none yet, to which networks are added one by one (socket `Trainings`).

        Args:
            family: Builds the modules, in the training's process.
            seed: The run's.
            jobs: Trainings at a time.

        Raises:
            DataError, SpecError: As `score`.
        """
        self.check(family)

        def payload(network: Network, context: Context) -> bytes:
            return packed(family, network, seed, self._plans([network], seed, context)[0])

        return ProcessTrainings(self._tasks.begin(jobs), payload, self._accuracy)

    def restored(self, family: NetworkFamily, network: Network, seed: int, folder: Path) -> Restored:
        """Returns a network with the weights that `score` left it with; it is trained again if they are not kept.

        Args:
            family: Builds the module.
            network: Which one.
            seed: The run's.
            folder: Where weights are kept, and will be.

        Raises:
            RunError: Smaller networks were trained in its place, or the training fails now.
            DataError, BackendError, SpecError: As `score`.
        """
        from coevo.accuracy import checkpoint

        if self._settings.reductions:
            smaller = ", ".join(self._settings.reductions)
            raise RunError(f"the run trained smaller networks ({smaller}), whose weights do not fit the design")
        file = weights_file(folder, self._settings.chain, network, seed)
        kept = checkpoint.read(file)
        if kept is None:
            self._train_again(family, network, seed, folder)
            kept = checkpoint.read(file)
        module = family.module(network.choices)
        if kept is None or not checkpoint.load(module, kept[0]):
            raise RunError(f"{file}: these weights do not fit network {network.key}")
        return restored(module, load_split(self._settings, self._near_file), self._settings)

    def _train_again(self, family: NetworkFamily, network: Network, seed: int, folder: Path) -> None:
        """Trains a network as `score` does, and keeps its weights."""
        epochs = " + ".join(str(each.epochs) for each in self._settings.chain)
        print(
            f"network {network.key}: its weights were not kept; training it once more, {epochs} epochs", file=sys.stderr
        )
        keeping = TrainedAccuracy(self._settings.model_copy(update={"keep_weights": True}), self._near_file)
        try:
            ((_, accuracy),) = keeping.score(family, [network], seed, context=Context(folder=folder))
        finally:
            keeping.close()
        if accuracy.violation > 0:
            raise RunError(f"network {network.key} cannot be trained again: {accuracy.reason}")

    def close(self) -> None:
        """Ends the processes, if there are any."""
        self._tasks.close()

    def _accuracy(self, network: Network, outcome: Outcome) -> Accuracy:  # noqa: ARG002 - for those that inherit
        """The accuracy that a network's training returned, or why it did not."""
        if isinstance(outcome.value, Accuracy):
            return replace(outcome.value, seconds=outcome.seconds)
        return failure(outcome)

    def _plans(self, networks: Sequence[Network], seed: int, context: Context) -> list[Plan]:
        """What each network's training is told."""
        gains = self._gains(context.history) if self._settings.stop_dominated else ()
        costs = {candidate.network.key: candidate.costs for candidate in context.company}
        return [
            replace(
                self._files(network, seed, context.folder),
                gains=gains,
                target=_target(costs.get(network.key), self._alike(context.history)) if gains else math.inf,
            )
            for network in networks
        ]

    def _files(self, network: Network, seed: int, folder: Path | None) -> Plan:
        """Where a network's weights and checkpoint are kept."""
        from coevo.accuracy.loop import Plan

        if folder is None:
            return Plan()
        chain = self._settings.chain
        files = tuple(
            str(weights_file(folder, chain[: i + 1], network, seed)) if each.keep_weights else ""
            for i, each in enumerate(chain)
        )
        state = weights_file(folder, chain, network, seed).with_suffix(".epoch.safetensors")
        return Plan(files, str(state) if self._settings.checkpoints else "")

    def _gains(self, history: Sequence[Candidate]) -> tuple[float, ...]:
        """Least ratio of final error to the error after each epoch, over all trainings of the run ``(epoch,)``."""
        curves = [known.accuracy.curve for known in self._alike(history) if known.accuracy is not None]
        if len(curves) < LEAST_CURVES:
            return ()
        table = np.maximum(np.array(curves), 1e-6)
        return tuple((table[:, -1:] / table).min(axis=0).tolist())

    def _alike(self, history: Sequence[Candidate]) -> list[Candidate]:
        """Networks that had a whole training of this length: no other fidelity is compared with."""
        return [
            known
            for known in history
            if known.accuracy is not None
            and known.accuracy.violation == 0
            and len(known.accuracy.curve) == self._settings.epochs
        ]


plugin = TrainedAccuracy


def weights_file(folder: Path, chain: Sequence[TrainSettings], network: Network, seed: int) -> Path:
    """Returns where a network's weights after a chain of trainings are kept in a run folder."""
    return folder / WEIGHTS / f"{digest([[each.identity for each in chain], network.key, seed])}.safetensors"


def _target(costs: Any, history: Sequence[Candidate]) -> float:
    """Error that a network must be able to get below, 0..1: else each of its designs is dominated.

    Args:
        costs: Of the network's designs ``(design, objective)``; None if unknown.
        history: Networks with their accuracies and costs.
    """
    if costs is None:
        return math.inf
    targets = []
    for mine in costs:
        better = [
            known.accuracy.error
            for known in history
            if known.accuracy is not None
            and known.accuracy.violation == 0
            and bool((known.costs <= mine).all(axis=1).any())
        ]
        targets.append(min(better, default=math.inf))
    return max(targets)
