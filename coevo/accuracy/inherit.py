"""The accuracy model ``inherit``: as ``train``, but a network starts from its nearest evaluated neighbour's weights.

Hot start: children differ from their parents in a gene or two, and most of their weights have the same shapes. The
parent is the network of a committed step from which the fewest choices differ (a choice that one of the two lacks
differs), the earliest of those; its weights lie in the run folder. Where a tensor of a name has the same shape it is
copied; where extents differ, the part that both have is (``overlap``).

A network's figure depends on its parent here, and so on the course of the search: `Accuracy.fidelity` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from coevo.accuracy.restored import Restored
from coevo.accuracy.settings import TrainSettings
from coevo.accuracy.tasks import ProcessTrainings
from coevo.accuracy.train import TrainedAccuracy, weights_file
from coevo.design import Accuracy, Network
from coevo.errors import RunError, SpecError
from coevo.processes.worker import Outcome
from coevo.protocols import Context, NetworkFamily, Task

if TYPE_CHECKING:
    from coevo.accuracy.loop import Plan


class InheritSettings(TrainSettings):
    """As `TrainSettings`; weights are always kept.

    Attributes:
        overlap: Whether tensors whose extents differ are copied in part.
        most_differences: Share of the choices that may differ from a parent's, 0..1; with more, training starts anew.
    """

    overlap: bool = True
    most_differences: float = 0.5


class InheritedAccuracy:
    """Validation error after a training that starts from a neighbour's weights (socket `AccuracyModel`)."""

    Settings: ClassVar[type[InheritSettings]] = InheritSettings

    def __init__(self, settings: InheritSettings, near_file: str = "") -> None:
        if settings.after is not None:
            raise SpecError("a network has either a parent or a training before; leave `after` out", field="after")
        self._settings = settings.model_copy(update={"keep_weights": True})
        self._training = _Training(self._settings, near_file)

    @property
    def task(self) -> Task:
        """What the data ask of a network; as `TrainedAccuracy.task`."""
        return self._training.task

    def check(self, family: NetworkFamily) -> None:
        """As `TrainedAccuracy.check`."""
        self._training.check(family)

    def score(
        self,
        family: NetworkFamily,
        networks: Sequence[Network],
        seed: int,
        jobs: int = 1,
        context: Context | None = None,
    ) -> Iterator[tuple[int, Accuracy]]:
        """Yields (index, accuracy) of every network as each is done.

        Args:
            family: Builds the modules.
            networks: What to train.
            seed: The run's.
            jobs: Trainings at a time.
            context: Whose history and folder hold the parents; without, all start anew.

        Raises:
            RunError: A parent's weights are gone from the run folder: without them figures would change.
            DataError, BackendError, SpecError: As `TrainedAccuracy.score`.
        """
        yield from self._training.score(family, networks, seed, jobs, context)

    def begin(self, family: NetworkFamily, seed: int, jobs: int = 1) -> ProcessTrainings:
        """As `TrainedAccuracy.begin`; a network's parent is one of those told before it was added."""
        return self._training.begin(family, seed, jobs)

    def restored(self, family: NetworkFamily, network: Network, seed: int, folder: Path) -> Restored:
        """As `TrainedAccuracy.restored`, but of kept weights alone: another training would have no parent.

        Raises:
            RunError: They are gone.
            DataError, BackendError, SpecError: As `score`.
        """
        self._training.check_there(weights_file(folder, self._settings.chain, network, seed), network)
        return self._training.restored(family, network, seed, folder)

    def close(self) -> None:
        """Ends the processes, if there are any."""
        self._training.close()


plugin = InheritedAccuracy


class _Training(TrainedAccuracy):
    """Trainings that know their parents, by network key."""

    _settings: InheritSettings

    def __init__(self, settings: InheritSettings, near_file: str) -> None:
        super().__init__(settings, near_file)
        self.parents: dict[str, str] = {}

    def _plans(self, networks: Sequence[Network], seed: int, context: Context) -> list[Plan]:
        plans = super()._plans(networks, seed, context)
        for i, network in enumerate(networks):
            parent = self._parent(network, context)
            if parent is not None and context.folder is not None:
                file = weights_file(context.folder, self._settings.chain, parent, seed)
                self.check_there(file, parent)
                self.parents[network.key] = str(file)
                plans[i] = replace(plans[i], parent=str(file), overlap=self._settings.overlap)
        return plans

    def _accuracy(self, network: Network, outcome: Outcome) -> Accuracy:
        accuracy = super()._accuracy(network, outcome)
        inherited = self.parents.get(network.key, "") and accuracy.violation == 0
        return replace(accuracy, fidelity=f"{accuracy.fidelity}, inherited") if inherited else accuracy

    def _parent(self, network: Network, context: Context) -> Network | None:
        """Returns the nearest of the trained networks, the earliest of those; None if there is none near enough."""
        trained = [
            known.network for known in context.history if known.accuracy is not None and known.accuracy.violation == 0
        ]
        nearest = min(trained, key=lambda other: distance(network.choices, other.choices), default=None)
        if nearest is None or distance(network.choices, nearest.choices) > self._settings.most_differences:
            return None
        return nearest

    @staticmethod
    def check_there(file: Path, network: Network) -> None:
        """Refuses to go on without a network's weights."""
        if not file.is_file():
            raise RunError(
                f"{file}: the weights of network {network.key} are gone, and others start from them; put them "
                "back, or start the run anew in another folder (--out)"
            )


def distance(one: Mapping[str, Any], two: Mapping[str, Any]) -> float:
    """Returns the share of choices in which two networks differ, 0..1; one that either lacks differs."""
    names = {*one, *two}
    differing = [name for name in names if name not in one or name not in two or one[name] != two[name]]
    return len(differing) / max(1, len(names))
