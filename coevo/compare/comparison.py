"""Several optimisers on one experiment, several seeds each, with equal budgets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from coevo.compare.exact import Yardstick, is_cost, read_front, yardstick
from coevo.compare.remembered import RememberedAccuracy
from coevo.compare.runs import Run, after, read_run
from coevo.compare.statistics import mean_ranks, rank_sum_tests
from coevo.design import Quantity
from coevo.errors import SpecError
from coevo.experiment import load_experiment
from coevo.experiment.override import override
from coevo.library import Document, FieldPath, find_data, read_yaml
from coevo.protocols import Array, CostModel
from coevo.study import Study
from coevo.study.plan import Plan as StudyPlan

SCHEMA = 1
"""Version of the files that this program reads."""


class ComparisonFile(BaseModel):
    """What a file for ``coevo compare`` says.

    Attributes:
        name: Of the folder of runs, unless another is given.
        description: One line for people.
        experiment: The problem: an experiment by name or path.
        overrides: Of the experiment's fields, by dotted path.
        optimizers: Sections ``optimizer`` of experiments, by label.
        seeds: Runs of each optimiser.
        first_seed: Seed of the first.
        at: Budgets at which they are compared: networks trained, or designs where nothing is trained. The greatest is
            every run's.
        front: The true front, by name or path (`coevo.compare.exact`); without it, the best that all runs found.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    description: str = ""
    experiment: str
    overrides: dict[str, Any] = {}
    optimizers: Annotated[dict[Annotated[str, Field(min_length=1, max_length=60)], dict[str, Any]], Field(min_length=1)]
    seeds: Annotated[int, Field(ge=1)] = 10
    first_seed: Annotated[int, Field(ge=0)] = 0
    at: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    front: str = ""


@dataclass(frozen=True, eq=False)
class Standing:
    """How one optimiser did by one budget.

    Attributes:
        shares: Share of the yardstick's hypervolume ``(seed,)``.
        distances: To its front ``(seed,)``: IGD+.
        rank: Mean over the seeds, 1 for the best.
        p: How likely so large a difference from each other optimiser is by chance, corrected, by label.
        designs: Designs that it had asked for, median.
    """

    shares: Array
    distances: Array
    rank: float
    p: Mapping[str, float]
    designs: float

    @property
    def median(self) -> float:
        """Of the shares."""
        return float(np.median(self.shares))

    @property
    def quartiles(self) -> tuple[float, float]:
        """Of the shares."""
        low, high = np.percentile(self.shares, [25, 75])
        return float(low), float(high)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What came out.

    Attributes:
        spec: The file's fields.
        objectives: The problem's.
        trains: Whether budgets count trained networks; else designs.
        measure: By what the runs were measured.
        runs: By label, in the order of seeds.
        standings: By budget and label.
    """

    spec: ComparisonFile
    objectives: tuple[Quantity, ...]
    trains: bool
    measure: Yardstick
    runs: Mapping[str, Sequence[Run]]
    standings: Mapping[int, Mapping[str, Standing]]


@dataclass(frozen=True, eq=False)
class ComparisonPlan:
    """A checked file, ready to run.

    Attributes:
        spec: Its fields.
        file: Where it was read from.
        objectives: The problem's.
        costs: Whether each is a cost.
        trains: Whether networks are trained.
    """

    spec: ComparisonFile
    file: str
    objectives: tuple[Quantity, ...]
    costs: tuple[bool, ...]
    trains: bool

    def run(
        self,
        folder: Path | str,
        jobs: int = 1,
        tell: Callable[[int, int], None] | None = None,
        backend: str | None = None,
    ) -> Comparison:
        """Makes the runs that are not made yet, and compares.

        Each is a run folder like any other, ``<folder>/<label>/<seed>``: one that was interrupted goes on, and one that
        is complete is used as it is. A network that one optimiser had trained is not trained again for another, unless
        its figures depend on what else a run has trained; it counts, with its time, wherever it is asked for.

        Args:
            folder: Where; made if it is not there.
            jobs: Runs at a time; no figure depends on it.
            tell: Called with (runs done, runs) after each.
            backend: joblib's, where the runs are made; ``dask`` for the cluster of this program's client.

        Raises:
            RunError: A folder belongs to another experiment, or is in use.
        """
        from joblib import Parallel, delayed, parallel_config

        folder = Path(folder).resolve()  # a run may be made elsewhere
        seeds = range(self.spec.first_seed, self.spec.first_seed + self.spec.seeds)
        work = [(label, seed) for seed in seeds for label in self.spec.optimizers]
        own = Path(self.spec.experiment)
        make = partial(_make, str(own.resolve()) if own.is_file() else str(own), folder / "accuracies")
        tasks = (delayed(make)(self._overrides(label, seed), _place(folder, label, seed)) for label, seed in work)
        workers = min(jobs, len(work)) if backend is None else -1
        with nullcontext() if backend is None else parallel_config(backend):
            outcomes = Parallel(n_jobs=workers, return_as="generator_unordered")(tasks)
            for done, _ in enumerate(outcomes, start=1):
                if tell is not None:
                    tell(done, len(work))
        runs = {
            label: [read_run(_place(folder, label, seed), len(self.objectives)) for seed in seeds]
            for label in self.spec.optimizers
        }
        return self._compared(runs)

    def _overrides(self, label: str, seed: int) -> list[str]:
        budget = {"trainings" if self.trains else "designs": max(self.spec.at)}
        given = {**self.spec.overrides, "optimizer": self.spec.optimizers[label], "budget": budget, "seed": seed}
        return [f"{path}={json.dumps(value)}" for path, value in given.items()]

    def _compared(self, runs: Mapping[str, Sequence[Run]]) -> Comparison:
        measure = self._measure(runs)
        histories = {label: [run.history(measure) for run in of] for label, of in runs.items()}
        standings = {}
        for budget in sorted(self.spec.at):
            shares = {
                label: np.array(
                    [
                        after(history, run.trainings if self.trains else run.designs, budget)
                        for history, run in zip(histories[label], runs[label], strict=True)
                    ]
                )
                for label in runs
            }
            found = {label: [self._found(run, budget) for run in of] for label, of in runs.items()}
            ranks, tests = mean_ranks(shares), rank_sum_tests(shares)
            standings[budget] = {
                label: Standing(
                    shares[label],
                    np.array([measure.distance(values) for values in found[label]]),
                    ranks[label],
                    {other: tests[label, other] for other in runs if other != label},
                    float(
                        np.median([after(run.designs.astype(np.float64), run.trainings, budget) for run in runs[label]])
                    ),
                )
                for label in runs
            }
        return Comparison(self.spec, self.objectives, self.trains, measure, runs, standings)

    def _found(self, run: Run, budget: int) -> Array:
        """The values ``(design, objective)`` of what a run had found within a budget."""
        return run.values[(run.trainings if self.trains else run.designs) <= budget]

    def _measure(self, runs: Mapping[str, Sequence[Run]]) -> Yardstick:
        if self.spec.front:
            front = read_front(self.spec.front)
            if len(front.low) != len(self.objectives):
                problem = f"has {len(front.low)} objectives, the experiment {len(self.objectives)}"
                raise SpecError(problem, file=self.file, field="front")
            return front
        found = [run.values for of in runs.values() for run in of if len(run.values)]
        if not found:
            raise SpecError(
                "no run found a feasible design; loosen the constraints", file=self.file, field="experiment"
            )
        return yardstick(np.concatenate(found), self.costs, known=False)


def load_comparison(path: str | Path, overrides: Sequence[str] = ()) -> ComparisonPlan:
    """Reads a file for ``coevo compare`` and checks all of it, each optimiser's section too.

    Args:
        path: A path, or the name of a file that ships with coevo.
        overrides: ``key.path=value`` each, the value as in YAML.

    Raises:
        SpecError: Something in it is wrong; the text names file, line, field, value and cure.
        DataError: The experiment's data are absent.
    """
    document = override(read_yaml(find_data("experiments/comparisons", str(path))), overrides)
    spec = document.versioned(SCHEMA).parse(ComparisonFile)
    if spec.front:
        read_front(spec.front)
    changed = [f"{name}={json.dumps(value)}" for name, value in spec.overrides.items()]
    plan = _checked(document, ("experiment",), spec.experiment, changed)
    for label, section in spec.optimizers.items():
        _checked(document, ("optimizers", label), spec.experiment, [*changed, f"optimizer={json.dumps(section)}"])
    quantities = tuple(metric.quantity for metric in plan.objectives)
    trains = plan.accuracy is not None
    return ComparisonPlan(spec, document.file, quantities, tuple(is_cost(plan)), trains)


def _checked(document: Document, field: FieldPath, experiment: str, overrides: Sequence[str]) -> StudyPlan:
    """Returns an experiment's plan; a mistake in it is one of ``field``."""
    try:
        return load_experiment(experiment, overrides).plan
    except SpecError as error:
        raise document.error(field, error.problem) from None


def _place(folder: Path, label: str, seed: int) -> Path:
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in label)
    return folder / safe / str(seed)


_COSTS: dict[str, CostModel] = {}
"""Cost models by their settings, for all runs of one process: what one run has mapped, no other maps again."""


def _make(experiment: str, shared: Path, overrides: Sequence[str], folder: Path) -> None:
    """Makes one run, in a process of its own."""
    plan = load_experiment(experiment, overrides).plan
    plan = replace(plan, cost=_COSTS.setdefault(json.dumps(plan.identity["cost"]), plan.cost))
    model = plan.accuracy
    if model is not None and getattr(model, "independent", False) and not getattr(model, "untrained", False):
        plan = replace(plan, accuracy=RememberedAccuracy(model, plan.accuracy_id, shared))
    with Study(plan, folder) as study:
        if study.progress.fraction < 1 or study.plan.final is not None:  # replaying a whole run takes its time
            study.run()
