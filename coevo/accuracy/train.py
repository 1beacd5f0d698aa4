"""The accuracy model ``train``: every network is trained on real images for a few epochs, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

from coevo.accuracy.data import find_file, load_split, task_of
from coevo.accuracy.settings import TrainSettings
from coevo.accuracy.tasks import NetworkTasks, failure
from coevo.accuracy.worker import Outcome
from coevo.design import Accuracy, Network
from coevo.protocols import Context, NetworkFamily, Task


class TrainedAccuracy:
    """Validation error after proxy training; test error beside it, for reports alone (socket `AccuracyModel`).

    The random numbers of a training come from the run's seed and `Network.key`, so that its figures do not
    depend on what else is trained, in which order or by how many processes.
    """

    Settings: ClassVar[type[TrainSettings]] = TrainSettings

    def __init__(self, settings: TrainSettings, near_file: str = "") -> None:
        self._settings = settings
        self._near_file = near_file
        self._tasks = NetworkTasks(
            "coevo.accuracy.loop:train_task",
            lambda: (load_split(settings, near_file), settings),
            settings.time_limit_s,
        )

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
        context: Context | None = None,  # noqa: ARG002 - a training learns nothing from others
    ) -> Iterator[tuple[int, Accuracy]]:
        """Yields (index, accuracy) of every network as each is done; equal networks are trained once.

        Args:
            family: Builds the modules, in the training's process.
            networks: What to train.
            seed: The run's.
            jobs: Trainings at a time.
            context: Not used.

        Raises:
            DataError: The data are absent or unreadable.
            BackendError: No training can run on this machine.
            SpecError: The settings ask for more images than there are, or the family cannot be sent.
        """
        for places, outcome in self._tasks.run(family, networks, seed, jobs):
            accuracy = _accuracy(outcome)
            for place in places:
                yield place, accuracy

    def close(self) -> None:
        """Ends the processes, if there are any."""
        self._tasks.close()


plugin = TrainedAccuracy


def _accuracy(outcome: Outcome) -> Accuracy:
    """The accuracy that a training returned, or why it did not."""
    if isinstance(outcome.value, Accuracy):
        return replace(outcome.value, seconds=outcome.seconds)
    return failure(outcome)
