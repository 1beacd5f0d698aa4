"""The accuracy model ``train``: every network is trained on real images for a few epochs, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar

from coevo.accuracy.data import TASKS, find_file, load_split
from coevo.accuracy.pool import Pool
from coevo.accuracy.settings import TrainSettings
from coevo.accuracy.worker import Outcome, one_line, pack
from coevo.design import Accuracy, Network
from coevo.errors import SpecError
from coevo.protocols import NetworkFamily, Task

_CUDA_DETERMINISM = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


class TrainedAccuracy:
    """Validation error after proxy training; test error beside it, for reports alone (socket `AccuracyModel`).

    The random numbers of a training come from the run's seed and `Network.key`, so that its figures do not
    depend on what else is trained, in which order or by how many processes. Processes start with the first call
    of `score`, stay for the next, and end with `close`, with this object, or with the program.
    """

    Settings: ClassVar[type[TrainSettings]] = TrainSettings

    def __init__(self, settings: TrainSettings, near_file: str = "") -> None:
        self._settings = settings
        self._near_file = near_file

    @property
    def task(self) -> Task:
        """What the data ask of a network.

        Raises:
            DataError: The data are absent.
        """
        find_file(self._settings, self._near_file)
        return TASKS[self._settings.data]

    def score(
        self, family: NetworkFamily, networks: Sequence[Network], seed: int, jobs: int = 1
    ) -> Iterator[tuple[int, Accuracy]]:
        """Yields (index, accuracy) of every network as each is done; equal networks are trained once.

        Args:
            family: Builds the modules, in the training's process.
            networks: What to train.
            seed: The run's.
            jobs: Trainings at a time.

        Raises:
            DataError: The data are absent or unreadable.
            BackendError: No training can run on this machine.
            SpecError: The settings ask for more images than there are, or the family cannot be sent.
        """
        places: dict[str, list[int]] = {}
        for i, network in enumerate(networks):
            places.setdefault(network.key, []).append(i)
        payloads = [_pack(family, networks[same[0]], seed) for same in places.values()]
        everywhere = list(places.values())
        for i, outcome in self._pool.run(payloads, jobs):
            accuracy = _accuracy(outcome)
            for place in everywhere[i]:
                yield place, accuracy

    def close(self) -> None:
        """Ends the processes, if there are any."""
        if "_pool" in self.__dict__:
            self._pool.close()

    @cached_property
    def _pool(self) -> Pool:
        split = load_split(self._settings, self._near_file)
        return Pool(
            "coevo.accuracy.loop:train_task",
            (split, self._settings),
            time_limit_s=self._settings.time_limit_s,
            environment=_CUDA_DETERMINISM,
        )


plugin = TrainedAccuracy


def _pack(family: NetworkFamily, network: Network, seed: int) -> bytes:
    """A `coevo.accuracy.loop.TrainingTask` for the pipe."""
    try:
        return pack((family, dict(network.choices), (seed, int(network.key, 16))))
    except Exception as error:
        raise SpecError(
            f"network family {network.family!r} cannot be sent to a training process ({one_line(error)}); "
            "it must hold plain data only"
        ) from None


def _accuracy(outcome: Outcome) -> Accuracy:
    """The accuracy that a training returned, or why it did not."""
    if isinstance(outcome.value, Accuracy):
        return replace(outcome.value, seconds=outcome.seconds)
    reason = {
        "value": outcome.value,
        "raised": f"training failed: {outcome.text}",
        "died": f"training crashed twice: {outcome.text}",
        "late": f"time limit: {outcome.text} (time_limit_s)",
    }[outcome.kind]
    return Accuracy(error=1.0, violation=1.0, reason=reason, seconds=outcome.seconds)
