"""The sockets: what each kind of plug-in must offer, on one page.

A plug-in is a class with a pydantic model ``Settings`` (its fields in YAML, beside ``name``) and a constructor
that takes an instance of it as ``settings``. How a name in YAML finds it: `coevo.library.find_plugin`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from coevo.accelerator.machine import Accelerator
from coevo.design import Accuracy, Cost, Network, Quantity
from coevo.space import Gene, Genomes, Space
from coevo.workload import Workload

if TYPE_CHECKING:
    from pydantic import BaseModel
    from torch import nn

Array = NDArray[np.float64]

NETWORK = "net."
"""What the names of network genes begin with; all others are the accelerator's."""


def is_network(space: Space) -> NDArray[np.bool_]:
    """Says which genes of a joint space are the network's ``(gene,)``."""
    return np.array([gene.name.startswith(NETWORK) for gene in space.genes], dtype=np.bool_)


class Problem(Protocol):
    """What an optimiser may know: the space, and what hardware says. Never the accuracy.

    A problem may also have ``views``, names out of `coevo.learning.features.VIEWS`, and ``features(genomes, views)``,
    the features of those kinds of each genome's network: what errors may be learnt from. Without them, genes are.
    """

    @property
    def space(self) -> Space:
        """The joint space of network and accelerator genes."""

    @property
    def objectives(self) -> tuple[Quantity, ...]:
        """The objectives, in the order of every ``(objective,)`` axis."""

    def hardware(self, genomes: Genomes) -> tuple[Array, Array]:
        """Scores genomes ``(batch, gene)`` by the cost model alone: exact, pure, cheap.

        Returns:
            values ``(batch, objective)``, NaN where an objective needs the accuracy, and violation ``(batch,)``
            of the constraints that hardware decides.
        """


class Optimizer(Protocol):
    """Proposes genomes. Built as ``plugin(problem, settings, rng)``; all its randomness comes from ``rng``."""

    Settings: ClassVar[type[BaseModel]]

    def __init__(self, problem: Problem, settings: Any, rng: np.random.Generator) -> None: ...

    def ask(self) -> Genomes:
        """Returns the next genomes ``(batch, gene)``, canonical; fewer or none only if the space is exhausted."""

    def tell(self, genomes: Genomes, values: Array, violation: Array) -> None:
        """Takes in what is now known, also of designs that were not asked for.

        Args:
            genomes: ``(batch, gene)``, canonical.
            values: ``(batch, objective)``, minimised, finite; rows with violation > 0 are never read.
            violation: ``(batch,)``, 0 if feasible.

        Raises:
            ValueError: A shape is wrong or a feasible row has a value that is not finite.
        """


@dataclass(frozen=True, eq=False)
class CostContext:
    """What a cost model may know beside the pairs that it scores.

    Attributes:
        near_file: The experiment's file, for relative paths in the settings.
        draw: Gives at most so many different pairs of the joint space at random, by a seed.
        memory: Plain data by key that are kept with the run: what a model puts in is there after a resume, and when a
            report is written later.
        may_run: Whether networks and commands may be run. Not where someone looks into a run folder, which may be
            another's: then a model raises RunError for what is not in ``memory``.
    """

    near_file: str = ""
    draw: Callable[[int, int], Sequence[tuple[Workload, Accelerator]]] = field(default=lambda count, seed: ())  # noqa: ARG005
    memory: MutableMapping[str, Any] = field(default_factory=dict)
    may_run: bool = True


class CostModel(Protocol):
    """Scores workloads on accelerators. Built as ``plugin(settings)``.

    What a model needs beyond layers and machine hangs on the pair: `Workload.source` is the network itself. A model may
    also have

    - ``attach(context)``, called with a `CostContext` before anything is scored; it raises SpecError or DataError for
      what cannot work. A model whose figures cannot be computed again (measured, learnt, read from a file that may go)
      keeps them in ``context.memory``: the front is scored again when a run ends and whenever its report is written;
    - ``additive``: True if a workload costs the sum of its layers on a single accelerator, whatever their order;
    - ``refuse(machine)``, called with every machine of an experiment before a run begins; it raises SpecError for one
      that it cannot score, naming the setting that is to blame;
    - ``of_network``: True if networks of the same layers may cost differently;
    - ``unknown``: names of attributes of `Cost` that it cannot tell. They are NaN in its costs; metrics that need them
      are left out, and cannot be objectives or constraints;
    - ``truth``: the model that it stands for, or None; the front is scored by that too (`Cost.std` says how surely);
    - ``files``: paths of the files that its figures come from: another content is another experiment;
    - ``facts``: what a report says of it, text by label.

    The last five are asked for after ``attach``.
    """

    Settings: ClassVar[type[BaseModel]]

    def __init__(self, settings: Any) -> None: ...

    def evaluate(self, pairs: Sequence[tuple[Workload, Accelerator]], jobs: int = 1) -> list[Cost]:
        """Scores every pair, one `Cost` each in the same order; pure, and the same for any ``jobs``."""


@dataclass(frozen=True)
class Task:
    """What a network is built for.

    Attributes:
        channels: Of the input.
        resolution: Height and width of the input [pixel].
        classes: Of the output.
    """

    channels: int
    resolution: int
    classes: int


class NetworkFamily(Protocol):
    """Genes to networks. Built as ``plugin(settings, task)``; one description gives both forms.

    A family may also have ``graph(choices, task=None)``, the `coevo.networks.graph.Graph` of a network: then networks
    can be made smaller for cheap training, share weights, and are learnt from by their paths; and ``shallower(share)``,
    a family of the same genes that repeats less.
    """

    Settings: ClassVar[type[BaseModel]]

    def __init__(self, settings: Any, task: Task) -> None: ...

    @property
    def genes(self) -> tuple[Gene, ...]:
        """The genes of the space."""

    def workload(self, choices: Mapping[str, Any], task: Task | None = None) -> Workload:
        """Returns the loop nests of a network by gene values, for another task (deployment) if given."""

    def module(self, choices: Mapping[str, Any]) -> nn.Module:
        """Returns the untrained ``nn.Module``: input ``(batch, channels, height, width)``, output logits."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network and what hardware says of the designs that it comes with.

    Attributes:
        network: The network.
        costs: ``(design, objective)``: of each of its designs the objectives that need no accuracy, minimised.
        accuracy: What is known of it; None if nothing is yet.
    """

    network: Network
    costs: Array
    accuracy: Accuracy | None = None


@dataclass(frozen=True, eq=False)
class Context:
    """What an accuracy model may know beside the networks. Plain data: the same after a kill and a resume.

    Attributes:
        history: Networks of committed steps with their accuracies, in the order of asking, each once.
        company: The present step's networks that no earlier step had, in the order of asking; those of them that are
            scored already are among them.
        memory: Results that are kept with the run, by a key that says all they depend on: what a model puts in is
            there after a resume.
        folder: Where weights may be kept; None if nowhere.
    """

    history: Sequence[Candidate] = ()
    company: Sequence[Candidate] = ()
    memory: MutableMapping[str, Accuracy] = field(default_factory=dict)
    folder: Path | None = None


class Trainings(Protocol):
    """Networks being scored, to which others are added as some are done.

    They are begun in the order of adding, as many at a time as there are jobs; with one, they are done in that order.
    """

    def add(self, network: Network, context: Context) -> None:
        """Adds a network, another than those under way.

        Args:
            network: What to score.
            context: What is known when it is added; its company are its own designs alone.
        """

    def next(self) -> tuple[Network, Accuracy]:
        """Waits until one of those under way, at least one, is done; a failure is an `Accuracy` too."""

    def close(self) -> None:
        """Cancels those under way."""


class AccuracyModel(Protocol):
    """Scores networks. Built as ``plugin(settings, near_file)``, ``near_file`` the experiment's for relative paths.

    A model may also have ``check(family)``, which raises SpecError if it cannot score such networks, before a run
    begins; ``close()``, which ends its processes; ``untrained``, True if it trains nothing and takes no time;
    ``independent``, True if no figure depends on ``context``, so that what one run measured holds in another;
    ``begin(family, seed, jobs)``, which returns `Trainings`, none yet: a model that judges each network alone has it,
    or is ``untrained``, to be used in steady state (`coevo.study.steady`); and
    ``restored(family, network, seed, folder)``, a network as `score` left it (`coevo.accuracy.restored.Restored`),
    trained once more in the same way if its weights are not kept in the folder: then designs can be exported.
    """

    Settings: ClassVar[type[BaseModel]]

    def __init__(self, settings: Any, near_file: str = "") -> None: ...

    @property
    def task(self) -> Task:
        """What the data ask of a network; raises DataError if they are absent."""

    def score(
        self,
        family: NetworkFamily,
        networks: Sequence[Network],
        seed: int,
        jobs: int = 1,
        context: Context | None = None,
    ) -> Iterator[tuple[int, Accuracy]]:
        """Yields (index, accuracy) of every network as each is done, in any order.

        The figures depend on the network, the settings, ``seed`` and (for models that learn from a run) ``context``
        alone, not on order or ``jobs``. A training that fails, for whatever reason, yields an `Accuracy` with a
        violation and reason; it never raises.
        """


@dataclass(frozen=True)
class Metric:
    """A quantity and the function that computes it; made by `coevo.metrics.metric`.

    Attributes:
        quantity: Name, unit, direction.
        compute: Its parameter names, out of ``cost``, ``accuracy``, ``workload``, ``accelerator``, say what must
            be computed first.
    """

    quantity: Quantity
    compute: Callable[..., float]
