"""A design as Timeloop sees it: its layers under Timeloop's conventions, with our figures for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from coevo.accelerator.machine import Accelerator
from coevo.accelerator.system import System, mapped_on
from coevo.cost import evaluate_mapping
from coevo.cost.analytical import AnalyticalCost
from coevo.cost.parts import part_of
from coevo.design import Cost, FrontDesign, LayerCost
from coevo.errors import SpecError
from coevo.report.verified import row_label
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
    """A design on one of its machines, or what one part of a machine of several runs of it.

    Attributes:
        id: Of the design.
        target: Label of the machine; empty where there is but one.
        part: Label of the part; empty where the machine is one accelerator.
        machine: The machine or the part as Timeloop sees it; cycles are of its clock.
        layers: Those that multiply, each kind once.
        movers: Those that do not: left out.
        run: What the run says of the whole; of a part, of its layers one after the other.
    """

    id: str
    target: str
    part: str
    machine: Accelerator
    layers: tuple[SeenLayer, ...]
    movers: tuple[LayerCost, ...]
    run: Cost

    @property
    def label(self) -> str:
        """Design, target and part."""
        return row_label(self.id, self.target, self.part)


def seen_designs(found: FrontDesign) -> Iterator[SeenDesign]:
    """Returns a design on each of its machines, or on each of the parts that run some of its layers.

    Raises:
        SpecError: A layer cannot be told to Timeloop.
    """
    for (target, machine), cost in zip(found.design.machines.items(), found.costs, strict=True):
        layers = cost.layers or _searched(found.workload, machine, found.evaluation.id)
        for part, own in mapped_on(machine).items():
            if isinstance(machine, System):
                mine = [_on_part(x, machine) for x in layers if x.part == part]
                total = replace(cost, latency_cycles=sum(x.cycles for x in mine),
                                energy_pj=sum(x.total_energy_pj for x in mine))  # fmt: skip
            else:
                mine, total = list(layers), cost
            if mine:
                yield _seen_on(own, mine, SeenDesign(found.evaluation.id, target, part, own, (), (), total))


def _seen_on(machine: Accelerator, costs: Sequence[LayerCost], whole: SeenDesign) -> SeenDesign:
    """Returns a design with its layers as Timeloop sees them on one accelerator."""
    alike: dict[object, list[LayerCost]] = {}
    movers = []
    for one in costs:
        if one.layer.has_weights:
            alike.setdefault(one.layer.shape_key, []).append(one)
        else:
            movers.append(one)
    seen = machine_seen(machine)
    layers = tuple(_layer(own, machine, seen, whole.id) for own in alike.values())
    if not whole.run.layers:  # a table or a measurement gives no more than totals
        layers = tuple(replace(x, remarks=(_NO_LAYERS, *x.remarks)) for x in layers)
    return replace(whole, machine=seen, layers=layers, movers=tuple(movers))


def _on_part(cost: LayerCost, system: System) -> LayerCost:
    """Returns what a layer costs on the part that runs it, in the part's own cycles and with its own memories."""
    label, mapping = part_of(cost.mapping, system)
    return evaluate_mapping(cost.layer, dict(system.parts)[label], mapping)


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
