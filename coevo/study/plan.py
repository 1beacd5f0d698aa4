"""What a study runs: the parts of one experiment, and the plain data that stand for them in the run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from coevo.design import Quantity, digest
from coevo.evaluate import Constraint, Evaluator, JointSpace
from coevo.protocols import AccuracyModel, CostModel, Metric, Optimizer, Problem
from coevo.study.final import FinalPlan

if TYPE_CHECKING:
    from coevo.study.warm_start import WarmStart

MADE_BY = ("coevo", "numpy", "deap")
"""Packages whose versions are noted down in the run folder, for when a resumed run diverges."""

DESIGNS_PER_TRAINING = 1000
"""Where only trainings are budgeted, designs end the run at so many per training: with hardware that is never
feasible, nothing would ever be trained."""


@dataclass(frozen=True)
class Budget:
    """When a run ends; whichever comes first.

    Attributes:
        designs: Distinct designs to evaluate; None for `DESIGNS_PER_TRAINING` per training.
        trainings: Distinct networks to train; None for no limit.
        time_limit_s: Seconds after which a process pauses the run; it is no part of what the run finds.
    """

    designs: int | None = None
    trainings: int | None = None
    time_limit_s: float | None = None

    def __post_init__(self) -> None:
        if self.designs is None and self.trainings is None:
            raise ValueError("a budget needs designs or trainings")

    @property
    def most_designs(self) -> int:
        """Distinct designs at most."""
        return DESIGNS_PER_TRAINING * (self.trainings or 0) if self.designs is None else self.designs

    def spent(self, designs: int, trainings: int) -> float:
        """Returns the fraction of the budget that is spent; 1 ends the run."""
        of_trainings = 0.0 if self.trainings is None else trainings / self.trainings
        return max(designs / self.most_designs, of_trainings)

    def __str__(self) -> str:
        parts = ((self.designs, "designs"), (self.trainings, "trainings"))
        return ", ".join(f"{count:,} {what}" for count, what in parts if count is not None)


@dataclass(frozen=True)
class Header:
    """What a report says about a run as a whole; plain data, kept in the run folder.

    Attributes:
        name: Of the experiment.
        facts: What to say at the top, by label.
        settings: The experiment as YAML text, complete.
        quantities: Every metric that is computed.
        objectives: Columns of the objectives, in order.
        constraints: Human-readable.
        sources: What rebuilds the space and the cost model: see `coevo.study.sources`.
        final: How the front is trained anew at the end (`coevo.study.final.FinalPlan.record`); None if it is not.
    """

    name: str
    facts: Mapping[str, str]
    settings: str
    quantities: tuple[Quantity, ...]
    objectives: tuple[str, ...]
    constraints: tuple[str, ...]
    sources: Mapping[str, Any]
    final: Mapping[str, Any] | None = None

    def to_data(self) -> dict[str, Any]:
        """Returns the header as plain data."""
        return asdict(self)

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> Header:
        """Reads what `to_data` wrote."""
        return Header(
            data["name"],
            data["facts"],
            data["settings"],
            tuple(Quantity(**quantity) for quantity in data["quantities"]),
            tuple(data["objectives"]),
            tuple(data["constraints"]),
            data["sources"],
            data.get("final"),
        )

    @property
    def by_column(self) -> dict[str, Quantity]:
        """The quantities by column."""
        return {quantity.column: quantity for quantity in self.quantities}


@dataclass(frozen=True, eq=False)
class Plan:
    """All that a study runs.

    Attributes:
        joint: The space.
        objectives: What is optimised.
        constraints: What is allowed.
        cost: The cost model.
        accuracy: The accuracy model; None if no metric needs one.
        accuracy_id: Stands for the accuracy model's settings in the keys of accuracies.
        optimizer: Builds the optimiser from the problem and its generator.
        budget: When the run ends.
        seed: Of everything random.
        identity: Plain data of all that decides what the run finds; the budget, the number of processes and the
            folder do not.
        header: For reports.
        final: How the front is trained anew at the end; None if it is not.
        warm_start: Which designs of other runs the optimiser is told of first; None for none.
        in_flight: Trainings that are under way at a time in steady state (`coevo.study.steady`); None for batches.
        near_file: The experiment's file, for relative paths in the cost model's settings.
    """

    joint: JointSpace
    objectives: tuple[Metric, ...]
    constraints: tuple[Constraint, ...]
    cost: CostModel
    accuracy: AccuracyModel | None
    accuracy_id: str
    optimizer: Callable[[Problem, np.random.Generator], Optimizer]
    budget: Budget
    seed: int
    identity: Mapping[str, Any]
    header: Header
    final: FinalPlan | None = None
    warm_start: WarmStart | None = None
    in_flight: int | None = None
    near_file: str = ""

    def evaluator(self, jobs: int = 1) -> Evaluator:
        """Returns what scores genomes, with ``jobs`` processes to use."""
        return Evaluator(
            self.joint,
            self.objectives,
            self.constraints,
            self.cost,
            accuracy=self.accuracy,
            accuracy_id=self.accuracy_id,
            seed=self.seed,
            jobs=jobs,
        )

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits of `identity`."""
        return digest(self.identity)[:12]


def versions() -> dict[str, str]:
    """Returns the versions of the packages that a run's course may depend on."""
    return {name: _version(name) for name in MADE_BY}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


def differences(old: object, new: object, path: str = "") -> list[str]:
    """Returns what differs between two plain data, ``field: old -> new`` each."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            line
            for key in keys
            for line in differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [line for i in range(len(old)) for line in differences(old[i], new[i], f"{path}.{_name(new[i], i)}")]
    return [] if old == new else [f"{path}: {_short(old)} -> {_short(new)}"]


def _name(item: object, index: int) -> str:
    name = item.get("name", item.get("template")) if isinstance(item, Mapping) else None
    return str(index if name is None else name)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
