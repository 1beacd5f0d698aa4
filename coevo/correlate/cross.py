"""Networks found for one machine, scored on another's: does a front carry over, and do machines rank networks alike?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from coevo import pareto
from coevo.accelerator.machine import Accelerator
from coevo.correlate.statistics import agreement
from coevo.design import Design, Front, Network
from coevo.errors import RunError, SpecError
from coevo.evaluate import JointSpace
from coevo.metrics import METRICS
from coevo.protocols import Array, CostModel
from coevo.report.knee import find_knee
from coevo.space import Space
from coevo.study.results import collect, read_header
from coevo.study.store import Store

FIGURES = ("latency", "energy", "edp")
"""What networks are compared by, names of metrics; rankings are compared by the first two."""

REFERENCE = 1.1
"""The hypervolume's reference point, each objective running from 0 to 1 over all networks on the machine."""


@dataclass(frozen=True, eq=False)
class Machine:
    """A machine of a run, with what scores networks on it.

    Attributes:
        label: The run's, with ``@<target>`` if that has several.
        origin: Which of the run's machines it is, for people.
        accelerator: The machine.
        joint: The run's space.
        cost: The run's cost model.
    """

    label: str
    origin: str
    accelerator: Accelerator
    joint: JointSpace
    cost: CostModel

    def score(self, networks: Sequence[Network], jobs: int = 1) -> Array:
        """Returns `FIGURES` ``(network, figure)``: NaN where the space has no such network, inf where none maps."""
        space = Space(tuple(self.joint.family.genes))
        known = [i for i, network in enumerate(networks) if _knows(space, network)]
        own = [Network(self.joint.network_space, networks[i].choices) for i in known]
        costs = self.cost.evaluate([(self.joint.workload(network), self.accelerator) for network in own], jobs)
        figures = np.full((len(networks), len(FIGURES)), np.nan)
        for i, cost in zip(known, costs, strict=True):
            given: dict[str, Any] = {"cost": cost, "accelerator": self.accelerator}
            wanted = (METRICS["latency"], ("cost", "accelerator")), (METRICS["energy"], ("cost",))
            values = [metric.compute(**{name: given[name] for name in names}) for metric, names in wanted]
            figures[i] = np.inf if cost.violation > 0 else [*values, values[0] * values[1]]
        return figures


@dataclass(frozen=True, eq=False)
class FrontNetworks:
    """The networks of a run's front, each once.

    Attributes:
        label: The run's.
        networks: The networks.
        errors: As the run measured them [%] ``(network,)``.
        machines: The run's machines: all targets, its one machine, or that of the front's knee.
        measured: All that says how errors were measured; equal for runs whose errors may be compared.
    """

    label: str
    networks: tuple[Network, ...]
    errors: Array
    machines: tuple[Machine, ...]
    measured: object


@dataclass(frozen=True)
class Transfer:
    """A front's networks on a machine, against those of the machine's own front.

    Attributes:
        front: Label of the run that the networks are from.
        machine: Label of the machine.
        networks: How many run on it.
        left_out: How many do not, or cannot be expressed in the machine's space.
        hypervolume: Of error and the logarithms of latency and energy, over that of its own front's networks.
        excess: By figure, the median of how much more a network takes than the best of equal or lower error out of the
            machine's own front, as a fraction; NaN if no network has one to be held against.
    """

    front: str
    machine: str
    networks: int
    left_out: int
    hypervolume: float
    excess: dict[str, float]


@dataclass(frozen=True)
class Ranking:
    """How two machines rank random networks.

    Attributes:
        machines: Labels of both.
        networks: How many run on both.
        spearman, kendall: Rank correlations by figure.
    """

    machines: tuple[str, str]
    networks: int
    spearman: dict[str, float]
    kendall: dict[str, float]


@dataclass(frozen=True)
class Crossing:
    """What came out.

    Attributes:
        machines: Label and origin of every machine.
        transfers: Every front on every machine.
        rankings: Every pair of machines.
        alike: Whether all runs measured errors alike.
    """

    machines: tuple[tuple[str, str], ...]
    transfers: tuple[Transfer, ...]
    rankings: tuple[Ranking, ...]
    alike: bool


def read_front(folder: Path, label: str) -> FrontNetworks:
    """Reads the front of a run folder.

    Raises:
        RunError: There is no run in it, or it is damaged.
        SpecError: The front is empty, or its designs have no error.
    """
    store = Store(folder, read_only=True)
    try:
        header, sources = read_header(store)
        joint, cost = sources.build(folder)
        front = collect(header, store, joint, cost).front
        identity = store.meta.get("identity", {})
    except ValueError as error:
        raise RunError(f"{folder}: does not fit this coevo: {error}") from None
    finally:
        store.close()
    if not front.designs:
        raise SpecError("no design of the run is feasible yet", file=str(folder))
    networks = {d.design.network.key: d for d in front.designs}
    errors = [d.evaluation.metrics.get("error_pct") for d in networks.values()]
    if None in errors:
        raise SpecError("the run knows no errors; networks are compared at equal error", file=str(folder))
    space = identity.get("network", {}).get("space")
    measured = [space, *(identity.get(part) for part in ("accuracy", "task", "seed"))]
    machines = tuple(
        Machine(label if not target else f"{label}@{target}", origin, machine, joint, cost)
        for target, origin, machine in _machines(joint, front)
    )
    found = tuple(d.design.network for d in networks.values())
    return FrontNetworks(label, found, np.array(errors, dtype=np.float64), machines, measured)


def cross(
    fronts: Sequence[FrontNetworks],
    random: int,
    seed: int = 0,
    jobs: int = 1,
    tell: Callable[[str, int, int], None] | None = None,
) -> Crossing:
    """Scores every front's networks, and random ones, on every machine.

    Args:
        fronts: Of two or more runs, or of one with several targets.
        random: Random networks to draw from the first run's space, by whose ranks machines are compared.
        seed: Of the draw.
        jobs: Processes to use.
        tell: Called with (label, machines done, machines).

    Raises:
        SpecError: There is one machine alone.
    """
    machines = [machine for front in fronts for machine in front.machines]
    if len(machines) < 2:
        raise SpecError("there is one machine alone, nothing to cross; name another run")
    space = fronts[0].machines[0].joint
    genes = Space(tuple(space.family.genes))
    drawn = np.unique(genes.sample(np.random.default_rng(seed), random), axis=0)
    samples = [Network(space.network_space, genes.decode(genome)) for genome in drawn]
    owners = [front for front in fronts for _ in front.machines]
    transfers: list[Transfer] = []
    ranked: list[Array] = []
    for done, (machine, owner) in enumerate(zip(machines, owners, strict=True)):
        figures = [machine.score(front.networks, jobs) for front in fronts]
        transfers += _transfers(fronts, figures, machine.label, fronts.index(owner))
        ranked.append(machine.score(samples, jobs))
        if tell is not None:
            tell(machine.label, done + 1, len(machines))
    pairs = combinations(range(len(machines)), 2)
    return Crossing(
        tuple((machine.label, machine.origin) for machine in machines),
        tuple(transfers),
        tuple(_ranking((machines[i].label, machines[j].label), ranked[i], ranked[j]) for i, j in pairs),
        all(front.measured == fronts[0].measured for front in fronts),
    )


def _knows(space: Space, network: Network) -> bool:
    try:
        space.encode(network.choices)
    except ValueError:
        return False
    return True


def _machines(joint: JointSpace, front: Front) -> list[tuple[str, str, Accelerator]]:
    """Target, origin and machine of each machine of a run that fronts are scored on."""
    if joint.targets is not None:
        return [(label, f"target {label} ({m.name})", m) for label, m in joint.targets.machines.items()]
    chosen: Design = front.designs[0].design
    if joint.sizes["hardware"] == 1:
        return [("", f"its one machine ({chosen.accelerator.name})", chosen.accelerator)]
    knee = find_knee(np.array([d.evaluation.values for d in front.designs]))
    chosen = front.designs[knee or 0].design
    what = f"the front's knee, {chosen.id}" if knee is not None else f"the front's first design, {chosen.id} (no knee)"
    return [("", f"{chosen.accelerator.name} of {what}", chosen.accelerator)]


def _transfers(fronts: Sequence[FrontNetworks], figures: Sequence[Array], machine: str, owner: int) -> list[Transfer]:
    """What every front is on one machine, whose own is ``fronts[owner]``."""
    runs = [np.isfinite(of).all(axis=1) for of in figures]
    errors = [front.errors[kept] for front, kept in zip(fronts, runs, strict=True)]
    costs = [of[kept] for of, kept in zip(figures, runs, strict=True)]
    volumes = _volumes(errors, costs)
    return [
        Transfer(
            front.label,
            machine,
            int(runs[i].sum()),
            int((~runs[i]).sum()),
            volumes[i] / volumes[owner] if volumes[owner] > 0 else float("nan"),
            {
                name: excess(errors[i], costs[i][:, k], errors[owner], costs[owner][:, k])
                for k, name in enumerate(FIGURES)
            },
        )
        for i, front in enumerate(fronts)
    ]


def excess(errors: Array, costs: Array, own_errors: Array, own_costs: Array) -> float:
    """Returns the median of cost over the least of equal or lower error in ``own``, less 1; NaN if none has one.

    Args:
        errors: Of the networks ``(network,)``.
        costs: Of the networks ``(network,)``.
        own_errors: Of those that they are held against ``(own,)``.
        own_costs: Of those that they are held against ``(own,)``.
    """
    best = [own_costs[own_errors <= error].min(initial=np.inf) for error in errors]
    ratios = [cost / least - 1 for cost, least in zip(costs, best, strict=True) if 0 < least < np.inf]
    return float(np.median(ratios)) if ratios else float("nan")


def _volumes(errors: Sequence[Array], costs: Sequence[Array]) -> list[float]:
    """The hypervolume of each front: error linear, latency and energy by their logarithms, scaled over all of them."""
    points = [
        np.column_stack([error, np.log10(np.maximum(cost[:, :2], 1e-300))])
        for error, cost in zip(errors, costs, strict=True)
    ]
    together = np.concatenate(points)
    if not len(together):
        return [0.0 for _ in points]
    low, span = together.min(axis=0), np.ptp(together, axis=0)
    reference = np.full(3, REFERENCE)
    scaled = [(of - low) / np.where(span > 0, span, 1.0) for of in points]
    return [float(pareto.hypervolume(of, reference)) if len(of) else 0.0 for of in scaled]


def _ranking(labels: tuple[str, str], one: Array, other: Array) -> Ranking:
    both = np.isfinite(one).all(axis=1) & np.isfinite(other).all(axis=1)
    spearman, kendall = {}, {}
    for k, name in enumerate(FIGURES[:2]):
        found = agreement(one[both, k], other[both, k]) if both.sum() >= 3 else None
        spearman[name] = float("nan") if found is None else found.spearman
        kendall[name] = float("nan") if found is None else found.kendall
    return Ranking(labels, int(both.sum()), spearman, kendall)
