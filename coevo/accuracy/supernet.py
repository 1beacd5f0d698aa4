"""The accuracy model ``supernet``: one network that shares its weights with all of the space, trained once.

Its training comes before the first score and takes as long as a few ordinary ones; a candidate then takes its slices
of the shared weights, measures its batch norms' statistics anew on some training images, and is scored. Good for
telling networks apart, not for the error that they would reach alone.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from coevo.accuracy.data import Split, find_file, load_split, task_of
from coevo.accuracy.restored import Restored, restored
from coevo.accuracy.settings import DataSettings, LimitSettings, ReducedSettings
from coevo.accuracy.shared_weights import GraphFamily, has_graph, space_digest
from coevo.accuracy.tasks import NetworkTasks, ProcessTrainings, failure, packed
from coevo.design import Accuracy, Network, digest
from coevo.errors import BackendError, RunError, SpecError
from coevo.networks.narrow import reduced
from coevo.processes.worker import Outcome
from coevo.protocols import Context, NetworkFamily, Task

Rule = Literal["auto", "sandwich", "single_path"]

_FORMAT = 1
_DIGESTED = 1024


class SupernetSettings(DataSettings, LimitSettings, ReducedSettings):
    """Settings of `coevo.accuracy.supernet`; ``time_limit_s`` is of one network's scoring.

    Attributes:
        epochs: Passes of the shared weights over the training images.
        batch_size: Images per step.
        learning_rate: Its peak; it rises and falls as in `coevo.accuracy.train`.
        weight_decay: Of stochastic gradient descent.
        augment: Whether training images are shifted and mirrored, as in `coevo.accuracy.train`.
        rule: Which networks a step trains: ``sandwich``, the largest, the smallest and some at random, where the
            largest teaches the others; ``single_path``, one at random; ``auto``, sandwich if any gene is ordered.
        random_networks: Networks at random in a step of sandwich.
        calibration_images: Training images on which a network's batch norm statistics are measured.
        training_limit_s: The shared weights' training is stopped when it takes longer; it goes on from its last epoch
            when it is asked for again [s].
        weights_folder: Where the shared weights are kept, from the experiment file's folder if it is there, else
            from the working directory; runs that name the same one train them once. Empty: the run's folder.
        weights_seed: Of the shared weights' training; None takes the run's.
    """

    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=0.1, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    augment: bool = False
    rule: Rule = "auto"
    random_networks: int = Field(default=2, ge=0)
    calibration_images: int = Field(default=1024, ge=2)
    training_limit_s: float = Field(default=7200.0, gt=0)
    weights_folder: str = ""
    weights_seed: int | None = Field(default=None, ge=0)


_NOT_TRAINING = {
    *LimitSettings.model_fields,
    *("folder", "train_images", "validation_images", "test_images"),  # the images themselves are digested
    *("calibration_images", "training_limit_s", "weights_folder", "weights_seed"),
}


class SupernetAccuracy:
    """Error with inherited weights, on validation and test images (socket `AccuracyModel`).

    The shared weights depend on the space, the training images, the settings and a seed, and so does the name of the
    file that holds them. A network's figures depend on that file and its choices alone.
    """

    Settings: ClassVar[type[SupernetSettings]] = SupernetSettings
    independent = True

    def __init__(self, settings: SupernetSettings, near_file: str = "") -> None:
        self._settings = settings
        self._near_file = near_file
        self._seconds: dict[Path, float] = {}
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._tasks = self._processes("score_task", settings.time_limit_s)

    @property
    def task(self) -> Task:
        """What the data ask of a network.

        Raises:
            DataError: The data are absent.
        """
        find_file(self._settings, self._near_file)
        return task_of(self._settings, self._near_file)

    @property
    def setup_seconds(self) -> float:
        """Seconds that the training of the shared weights in use took, be it in an earlier run."""
        return sum(self._seconds.values())

    def score(
        self,
        family: NetworkFamily,
        networks: Sequence[Network],
        seed: int,
        jobs: int = 1,
        context: Context | None = None,
    ) -> Iterator[tuple[int, Accuracy]]:
        """Yields (index, accuracy) of every network as each is done; trains the shared weights first, if need be.

        Args:
            family: Describes its networks by ``graph(choices)``.
            networks: What to score.
            seed: The run's.
            jobs: Scorings at a time.
            context: Its folder is where the shared weights are kept if ``weights_folder`` is empty.

        Raises:
            DataError: The data are absent or unreadable.
            BackendError: No training can run on this machine, or that of the shared weights failed.
            SpecError: The family has no graphs or cannot be sent, or the settings ask for more images than there are.
        """
        if not networks:
            return
        shared = self._shared(family, networks[0])
        weights = self._trained(shared, networks[0], seed, context)
        for places, outcome in self._tasks.run(shared, networks, seed, jobs, [str(weights)] * len(networks)):
            accuracy = _accuracy(networks[places[0]], outcome)
            for place in places:
                yield place, accuracy

    def begin(self, family: NetworkFamily, seed: int, jobs: int = 1) -> ProcessTrainings:
        """Returns scorings, none yet, to which networks are added one by one (socket `Trainings`).

        The shared weights are trained, if need be, as the first is added.

        Args:
            family: As for `score`, like the others.
            seed: The run's.
            jobs: Scorings at a time.

        Raises:
            DataError, SpecError: As `score`.
        """
        there: list[tuple[GraphFamily, str]] = []

        def payload(network: Network, context: Context) -> bytes:
            if not there:
                shared = self._shared(family, network)
                there.append((shared, str(self._trained(shared, network, seed, context))))
            shared, weights = there[0]
            return packed(shared, network, seed, weights)

        return ProcessTrainings(self._tasks.begin(jobs), payload, _accuracy)

    def restored(self, family: NetworkFamily, network: Network, seed: int, folder: Path) -> Restored:
        """Returns a network with its slices of the shared weights, as `score` looks at it.

        Raises:
            RunError: Smaller networks were scored in its place.
            DataError, BackendError, SpecError: As `score`.
        """
        from coevo.accuracy.supernet_loop import recalibrated

        if self._settings.reductions:
            smaller = ", ".join(self._settings.reductions)
            raise RunError(f"the run scored smaller networks ({smaller}), whose weights do not fit the design")
        shared = self._shared(family, network)
        file = self._trained(shared, network, seed, Context(folder=folder))
        module, data = recalibrated(shared.graph(network.choices), self._split, self._settings, file, "cpu")
        return restored(module, self._split, data.settings)

    def close(self) -> None:
        """Ends the processes, if there are any, and forgets weights that no folder keeps."""
        self._tasks.close()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def weights_file(self, family: GraphFamily, seed: int, context: Context | None = None) -> Path:
        """Returns the file that holds, or will hold, the shared weights of a family's space."""
        return self._folder(context) / f"supernet-{self._digest(family, seed)}.safetensors"

    def _shared(self, family: NetworkFamily, network: Network) -> GraphFamily:
        """The family at the size that is scored; ``network`` names it."""
        smaller = reduced(family, self.task, **self._settings.reduction)
        if not has_graph(smaller):
            raise SpecError(
                f"supernet shares weights by a family's graph(choices), which {network.family!r} does not have; "
                "give it one (coevo.networks.graph) or take the accuracy model train",
                file=self._near_file,
                field="accuracy.name",
            )
        return smaller

    def _trained(self, family: GraphFamily, network: Network, seed: int, context: Context | None) -> Path:
        """The file of the shared weights, which are trained if there is none; ``network`` names the family."""
        file = self.weights_file(family, seed, context)
        if file not in self._seconds:
            if not file.is_file():
                self._train(family, network, self._seed(seed), file)
            self._seconds[file] = seconds_of(file)
        return file

    def _train(self, family: GraphFamily, network: Network, seed: int, file: Path) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpecError(
                f"{file.parent}: cannot be made: {error.strerror or error}",
                file=self._near_file,
                field="accuracy.weights_folder",
            ) from None
        print(f"supernet: training {file} for {self._settings.epochs} epochs", file=sys.stderr)
        tasks = self._processes("train_task", self._settings.training_limit_s)
        try:
            ((_, outcome),) = tasks.run(family, [network], seed, extras=[(str(file), seed)])
        finally:
            tasks.close()
        if not isinstance(outcome.value, float):
            reason = failure(outcome, "training").reason.replace("time_limit_s", "training_limit_s")
            raise BackendError(f"supernet: {reason}; another try goes on from the last whole epoch")
        print(f"supernet: trained in {outcome.seconds:.0f} s, last loss {outcome.value:.3f}", file=sys.stderr)

    def _processes(self, function: str, time_limit_s: float) -> NetworkTasks:
        shared = f"coevo.accuracy.supernet_loop:{function}"
        return NetworkTasks(shared, lambda: (self._split, self._settings), time_limit_s)

    @cached_property
    def _split(self) -> Split:
        return load_split(self._settings, self._near_file)

    @cached_property
    def _images_digest(self) -> str:
        """Digest of the training images and labels."""
        train = self._split.train
        content = blake2b(digest_size=12)
        for start in range(0, len(train), _DIGESTED):
            content.update(train.images[start : start + _DIGESTED].tobytes())
        content.update(train.labels.tobytes())
        return content.hexdigest()

    def _digest(self, family: GraphFamily, seed: int) -> str:
        training = self._settings.model_dump(mode="json", exclude=_NOT_TRAINING)
        return digest([_FORMAT, space_digest(family), self._images_digest, training, self._seed(seed)])

    def _seed(self, seed: int) -> int:
        return seed if self._settings.weights_seed is None else self._settings.weights_seed

    def _folder(self, context: Context | None) -> Path:
        if self._settings.weights_folder:
            near = Path(self._near_file).parent / self._settings.weights_folder
            return near if near.is_dir() else Path(self._settings.weights_folder)
        if context is not None and context.folder is not None:
            return context.folder
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="coevo-supernet-")
        return Path(self._scratch.name)


plugin = SupernetAccuracy


def _accuracy(network: Network, outcome: Outcome) -> Accuracy:  # noqa: ARG001 - as ProcessTrainings asks
    """What comes of a network's scoring."""
    if isinstance(outcome.value, Accuracy):
        return replace(outcome.value, seconds=outcome.seconds)
    return failure(outcome, "scoring")


def seconds_of(file: Path) -> float:
    """Returns the seconds that training took, as a file of shared weights says.

    Raises:
        BackendError: The file is none of ours, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as weights:
            return float(weights.metadata()["seconds"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BackendError(f"{file}: not a file of shared weights ({error}); delete it to train them anew") from None
