"""True fronts: every network of a small space with every accelerator, scored once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coevo import pareto
from coevo.accelerator.system import System
from coevo.accelerator.system_template import SystemTemplate
from coevo.errors import SpecError, near
from coevo.evaluate import Evaluator, JointSpace
from coevo.library import data_folders
from coevo.metrics import inputs_of
from coevo.optim.unseen import successor
from coevo.protocols import Array, is_network
from coevo.space import Genomes, Space
from coevo.study.plan import Plan
from coevo.workload import Workload

MOST = 50_000
"""Networks, or accelerators, that are walked through at most."""

_CHUNK = 4096
"""Designs that hardware is asked for at a time."""


@dataclass(frozen=True)
class Yardstick:
    """What hypervolumes are measured by: objectives scaled from 0 to 1, reference point (1, ..., 1).

    Attributes:
        low: Least of each objective over the feasible designs ``(objective,)``, as minimised.
        high: The greatest.
        logarithmic: Whether an objective counts by its logarithm.
        front: The values of a front ``(design, objective)``; nothing is better.
        known: Whether it is the true front, or only the best that some runs found together.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    logarithmic: tuple[bool, ...]
    front: tuple[tuple[float, ...], ...]
    known: bool = True

    def scaled(self, values: Array) -> Array:
        """Returns values ``(design, objective)`` scaled."""
        low, high = self._logged(np.array(self.low)), self._logged(np.array(self.high))
        return np.asarray((self._logged(values) - low) / np.where(high > low, high - low, 1.0))

    @property
    def volume(self) -> float:
        """The front's hypervolume."""
        return pareto.hypervolume(self.scaled(np.array(self.front)), np.ones(len(self.low)))

    def distance(self, values: Array) -> float:
        """Returns how far feasible values ``(design, objective)`` are from the front: IGD+ of the scaled objectives.

        The mean, over the front's designs, of how much the nearest value is worse (H. Ishibuchi et al., "Modified
        distance calculation in generational distance and inverted generational distance", EMO 2015, eq. 18);
        infinite if there is no value.
        """
        import moocore

        if not len(values):
            return float("inf")
        return float(moocore.igd_plus(self.scaled(values), ref=self.scaled(np.array(self.front))))

    def _logged(self, values: Array) -> Array:
        chosen = np.array(self.logarithmic)
        return np.where(chosen, np.log10(np.where(chosen, np.maximum(values, np.finfo(np.float64).tiny), 1.0)), values)


def yardstick(values: Array, costs: Sequence[bool], known: bool, ends: Array | None = None) -> Yardstick:
    """Returns the yardstick of feasible designs.

    Args:
        values: Their values ``(design, objective)``, as minimised; all that may be on the front.
        costs: Whether each objective is a cost, which counts by its logarithm if it is positive everywhere.
        known: As `Yardstick.known`.
        ends: Values ``(value, objective)`` that reach as far as all feasible designs' do; those of ``values`` if None.
    """
    ends = values if ends is None else ends
    front = values[pareto.nondominated(values, np.zeros(len(values)))]
    logarithmic = np.array(costs) & (ends > 0).all(axis=0)
    return Yardstick(
        tuple(ends.min(axis=0).tolist()),
        tuple(ends.max(axis=0).tolist()),
        tuple(logarithmic.tolist()),
        tuple(tuple(row) for row in np.unique(front, axis=0).tolist()),
        known,
    )


def is_cost(plan: Plan) -> list[bool]:
    """Says of each of a plan's objectives whether hardware alone decides it."""
    return ["accuracy" not in inputs_of(metric) for metric in plan.objectives]


def exact_front(plan: Plan, jobs: int = 1, tell: Callable[[int, int], None] | None = None) -> Yardstick:
    """Scores every pair of a network and an accelerator.

    Networks of the same layers cost the same on every machine, so that each machine scores each kind of workload once.

    Args:
        plan: Its error must depend on the network alone.
        jobs: Processes to use.
        tell: Called with (workloads done, workloads).

    Raises:
        SpecError: A space is too large, nothing is feasible, the error is not one objective, or it must be trained.
    """
    evaluator = plan.evaluator(jobs)
    costs = is_cost(plan)
    if costs.count(False) != 1:
        raise SpecError("a true front needs exactly one objective that a training decides, such as error")
    if not getattr(plan.accuracy, "untrained", False):
        problem = "would train every network; a true front needs errors that are known, as those of `table` are"
        raise SpecError(problem, field="accuracy")
    unknown = costs.index(False)
    networks, machines = _enumerated(evaluator.space, True), _enumerated(evaluator.space, False)
    several = _several_parts(evaluator.joint)
    in_order = several or not getattr(plan.cost, "additive", False)
    of_network = getattr(plan.cost, "of_network", False)
    kinds: dict[object, list[int]] = {}
    for i, genome in enumerate(networks):
        network = evaluator.joint.network(genome)
        kind = network.key if of_network else _kind(evaluator.joint.workload(network), in_order, several)
        kinds.setdefault(kind, []).append(i)
    best: list[Array] = []
    ends: list[Array] = []
    for done, members in enumerate(kinds.values()):
        designs = np.where(is_network(evaluator.space), networks[members[0]], machines)
        values, violation = _hardware(evaluator, designs)
        feasible = np.flatnonzero(violation == 0)
        if len(feasible):
            errors = _errors(evaluator, networks[members], designs[feasible[0]], unknown)
            if not len(errors):
                continue
            values = values[feasible]
            values[:, unknown] = errors.min()
            ends += [values.min(axis=0), np.where(np.arange(len(costs)) == unknown, errors.max(), values.max(axis=0))]
            best.append(values[pareto.nondominated(values, np.zeros(len(values)))])
        if tell is not None:
            tell(done + 1, len(kinds))
    if not best:
        raise SpecError("no design of the space is feasible; loosen the constraints", field="constraints")
    return yardstick(np.concatenate(best), costs, known=True, ends=np.array(ends))


def write_front(front: Yardstick, experiment: str, file: Path) -> None:
    """Writes a front as JSON."""
    facts = {"schema": 1, "experiment": experiment, **asdict(front)}
    file.write_text(json.dumps(facts, indent=None, separators=(", ", ": ")).replace("], [", "],\n  [") + "\n")


def read_front(name: str) -> Yardstick:
    """Reads a front by the path of its file, or by its name among those that ship with coevo.

    Raises:
        SpecError: There is none, or it is damaged.
    """
    file = _find(name)
    try:
        facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        rows = tuple(tuple(float(value) for value in row) for row in facts["front"])
        ends = (tuple(map(float, facts["low"])), tuple(map(float, facts["high"])))
        front = Yardstick(*ends, tuple(map(bool, facts["logarithmic"])), rows, bool(facts["known"]))
        if not rows or {len(row) for row in rows} != {len(front.low)} or len(front.high) != len(front.low):
            raise ValueError("its parts do not fit together")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecError(f"is no front that `coevo exact` wrote ({error}); make it anew", file=str(file)) from None
    return front


def _find(name: str) -> Path:
    tried = (
        [Path(name)] if name.endswith(".json") else [at / f"{name}.json" for at in data_folders("experiments/fronts")]
    )
    for file in tried:
        if file.is_file():
            return file
    known = {file.stem for folder in data_folders("experiments/fronts") for file in folder.glob("*.json")}
    raise SpecError(f"no front named {name!r} {near(name, sorted(known))}; `coevo exact` makes one", field="front")


def _several_parts(joint: JointSpace) -> bool:
    """Whether branches may run side by side on some machine."""
    targets = joint.targets.machines.values() if joint.targets is not None else ()
    templates = any(isinstance(template, SystemTemplate) for template in joint.templates.values())
    return templates or any(isinstance(machine, System) for machine in targets)


def _kind(workload: Workload, in_order: bool, branching: bool) -> object:
    """What networks that cost the same share: the layers, and their order and branches where the cost depends on it."""
    if in_order:
        layers = tuple((layer.shape_key, layer.follows) for layer in workload.layers)
        return (layers, workload.reads) if branching else layers
    return frozenset((layer.shape_key, count) for layer, count in workload.repeats), workload.parameters


def _enumerated(space: Space, networks: bool) -> Genomes:
    """Every choice of one side's genes, the other side's at their first ``(choice, gene)``."""
    chosen = is_network(space) == networks
    part = space.part(chosen)
    if part.size > MOST:
        side = "networks" if networks else "accelerators"
        raise SpecError(f"there are {part.size:,} {side}; a true front is searched among {MOST:,} at most")
    genome = np.zeros((1, len(part.genes)), dtype=np.int64)
    rows = [genome]
    for _ in range(part.size - 1):
        genome = successor(part, genome)
        rows.append(genome)
    whole = np.zeros((part.size, len(space.genes)), dtype=np.int64)
    whole[:, chosen] = np.concatenate(rows)
    return whole


def _hardware(evaluator: Evaluator, designs: Genomes) -> tuple[Array, Array]:
    """What hardware says of designs ``(design, gene)``, some at a time."""
    parts = [evaluator.hardware(designs[at : at + _CHUNK]) for at in range(0, len(designs), _CHUNK)]
    return np.concatenate([values for values, _ in parts]), np.concatenate([violation for _, violation in parts])


def _errors(evaluator: Evaluator, networks: Genomes, machine: Genomes, unknown: int) -> Array:
    """The errors ``(network,)`` of networks of one workload, on a machine that they all fit."""
    designs = np.where(is_network(evaluator.space), networks, machine)
    errors = np.full(len(designs), np.inf)
    for i, evaluation in evaluator.evaluate(designs):
        if evaluation.violation == 0:
            errors[i] = evaluation.values[unknown]
    return np.asarray(errors[np.isfinite(errors)])
