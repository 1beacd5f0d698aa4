"""A design as Timeloop sees it: its layers under Timeloop's conventions, with our figures for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from coevo.accelerator.machine import Accelerator
from coevo.cost import evaluate_mapping
from coevo.cost.analytical import AnalyticalCost
from coevo.design import Cost, FrontDesign, LayerCost
from coevo.errors import SpecError
from coevo.timeloop.conventions import machine_seen
from coevo.timeloop.form import Form
from coevo.workload import Workload

_NO_LAYERS = "the run's cost model says nothing of layers: mapping and figures are the analytical model's"


@dataclass(frozen=True)
class SeenLayer:
    """A layer, with all that are like it, under Timeloop's conventions.

    Attributes:
        names: Of the layers that are alike.
        form: The layer, its machine and mapping as Timeloop is told of them.
        ours: Our figures under the same conventions.
        run: The run's own figures.
        remarks: Why the two differ; empty if they do not.
    """

    names: tuple[str, ...]
    form: Form
    ours: LayerCost
    run: LayerCost
    remarks: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the first of them."""
        return self.names[0]

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.names)


@dataclass(frozen=True)
class SeenDesign:
    """A design on one of its machines.

    Attributes:
        id: Of the design.
        target: Label of the machine; empty where there is but one.
        machine: As Timeloop sees it.
        layers: Those that multiply, each kind once.
        movers: Those that do not: left out.
        run: What the run says of the whole.
    """

    id: str
    target: str
    machine: Accelerator
    layers: tuple[SeenLayer, ...]
    movers: tuple[LayerCost, ...]
    run: Cost

    @property
    def label(self) -> str:
        """Design and target."""
        return f"{self.id}@{self.target}" if self.target else self.id


def seen_designs(found: FrontDesign) -> Iterator[SeenDesign]:
    """Returns a design on each of its machines.

    Raises:
        SpecError: A layer cannot be told to Timeloop.
    """
    for (target, machine), cost in zip(found.design.machines.items(), found.costs, strict=True):
        alike: dict[object, list[LayerCost]] = {}
        movers = []
        for one in cost.layers or _searched(found.workload, machine, found.evaluation.id):
            if one.layer.has_weights:
                alike.setdefault(one.layer.shape_key, []).append(one)
            else:
                movers.append(one)
        seen = machine_seen(machine)
        layers = tuple(_layer(costs, machine, seen, found.evaluation.id) for costs in alike.values())
        if not cost.layers:  # a table or a measurement gives no more than totals
            layers = tuple(replace(x, remarks=(_NO_LAYERS, *x.remarks)) for x in layers)
        yield SeenDesign(found.evaluation.id, target, seen, layers, tuple(movers), cost)


def form_of(ours: LayerCost, machine: Accelerator) -> Form:
    """Returns a layer's form from our figures for it."""
    return Form(ours.layer, machine, ours.mac_energy_pj / ours.layer.operations, ours.mapping)


def _layer(costs: list[LayerCost], machine: Accelerator, seen: Accelerator, design: str) -> SeenLayer:
    run = costs[0]
    layer = replace(run.layer, kept=(), follows=False)
    remarks = []
    if run.layer.kept:
        remarks.append(f"the run keeps its {' and '.join(run.layer.kept)} on chip")
    if seen != machine:
        remarks.append("the run counts cycles for filling and draining the array")
    try:
        ours = evaluate_mapping(layer, seen, run.mapping)
        form = form_of(ours, seen)
        form.check()
    except ValueError as error:
        (ours,) = _searched(Workload(layer.name, (layer,)), seen, design)
        form = form_of(ours, seen)
        remarks.append(f"the mapping is searched anew, since the run's does not serve ({error})")
    names = tuple(cost.layer.name for cost in costs)
    same = ours.cycles == run.cycles and ours.total_energy_pj == run.total_energy_pj
    return SeenLayer(names, form, ours, run, () if same else tuple(remarks))


def _searched(workload: Workload, machine: Accelerator, design: str) -> tuple[LayerCost, ...]:
    """The best mappings by our own model."""
    (cost,) = AnalyticalCost().evaluate([(workload, machine)])
    if cost.violation > 0:
        raise SpecError(f"design {design}: {cost.reason}")
    return cost.layers
