"""``coevo map``: the best loop nest of every layer on a machine, what it moves, and what bounds it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from coevo.errors import SpecError, near

if TYPE_CHECKING:
    from coevo.accelerator import Accelerator
    from coevo.design import LayerCost
    from coevo.mapping import Mapping as LoopMapping
    from coevo.workload import Layer, Workload

_PAIR = "NAME=VALUE"

_EXAMPLES = """\b
Examples:
  coevo map --accelerator eyeriss --layer "m=64 c=64 p=56 q=56 r=3 s=3 stride=1"
  coevo map --accelerator nvdla --layer "g=32 p=112 q=112 r=3 s=3" --set memories.conv_buffer.size_kib=256
  coevo map --accelerator eyeriss --layer "m=96 c=24 p=28 q=28" --mapping mine.yaml
  coevo map --accelerator eyeriss --layer "m=96 c=24 p=28 q=28" --front
  coevo map --accelerator eyeriss --network digits_mbconv --input 1x8x8 --only head.conv --json
  coevo map --accelerator tpu --network mine.py:make_net --input 3x224x224 --only conv1
  coevo map runs/quickstart/front/0123456789.yaml
\b
Dims of --layer are Timeloop's: n batch, g groups, m and c output and input
channels of a group (depthwise: g channels, m = c = 1), p q output rows and
columns, r s filter rows and columns. Also stride, dilation (2 or 2x1), kind,
bits (8 or weights/inputs/outputs 8/8/32) and name.
\b
A file of --mapping lists every memory, outermost first, with its loops over
time (outermost first) and over columns (x) and rows (y):
  - {memory: dram, temporal: [q=7, m=4]}
  - {memory: glb, temporal: [c=16, p=4], x: [p=14], y: [r=3, c=4]}
  - {memory: filter_spad}
  ...
The same under `mapping:`; by layer under `mappings:`; what `coevo map --json`
printed; a design file. Layers that it does not name are searched.
"""


@click.command("map", epilog=_EXAMPLES)
@click.argument("design", required=False)
@click.option("--layer", "texts", multiple=True, metavar="DIMS", help='A layer such as "m=64 c=64 p=56 q=56 r=3 s=3".')
@click.option("--network", help="A network space, your own model.onnx or file.py:name, or a design file.")
@click.option(
    "--gene", "genes", multiple=True, metavar=_PAIR, help="A gene of --network; others take their first choice."
)
@click.option("--input", "shape", default="3x32x32", show_default=True, metavar="CxHxH",
              help="Input of --network; of your own also 128x64, or 128:int64 for tokens.")  # fmt: skip
@click.option("--classes", type=click.IntRange(min=1), default=10, show_default=True, help="Classes of --network.")
@click.option("--ignore-unknown", "ignored", multiple=True, metavar="OPERATOR",
              help="An operator of your own network that counts as nothing; repeatable.")  # fmt: skip
@click.option("--only", multiple=True, metavar="NAME", help="Only the layer of this name; repeatable.")
@click.option("--accelerator", help="An accelerator template, instead of a design's machine.")
@click.option("--set", "choices", multiple=True, metavar="PATH=VALUE",
              help="A field of --accelerator, e.g. memories.glb.size_kib=54; repeatable.")  # fmt: skip
@click.option("--part", help="Which part of a heterogeneous accelerator, which is then the machine.")
@click.option("--objective", type=click.Choice(["edp", "latency", "energy"]), default="edp", show_default=True,
              help="What the mapper minimises.")  # fmt: skip
@click.option("--mapping", "file", metavar="FILE", help="Your own mapping: scored, and held against the best.")
@click.option("--front", is_flag=True,
              help="Also each layer's front by energy and latency; --json has its mappings.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Prints JSON: everything, of every layer.")
def map_layers(
    design: str | None,
    texts: tuple[str, ...],
    network: str | None,
    genes: tuple[str, ...],
    shape: str,
    classes: int,
    ignored: tuple[str, ...],  # noqa: ARG001 (what reads the network takes it from the context)
    only: tuple[str, ...],
    accelerator: str | None,
    choices: tuple[str, ...],
    part: str | None,
    objective: str,
    file: str | None,
    front: bool,
    as_json: bool,
) -> None:
    """Prints the best loop nest of a --layer, of a --network's layers or of a DESIGN's, on a machine."""
    _refuse_idle_options(click.get_current_context())
    if sum((design is not None, network is not None, bool(texts))) != 1:
        raise SpecError("give one of a design file, --layer and --network")
    workload, machine = _scene(design, texts, network, genes, shape, classes, accelerator, choices)
    machine = _part(machine, part)
    layers = _chosen(workload.layers, only)
    mapped = _mapped(layers, [x.name for x in workload.layers], machine, objective, file)
    if front:
        mapped = _with_fronts(mapped, machine)
    print(json.dumps(_data(mapped, machine, objective), indent=2) if as_json else _text(mapped, machine, objective))


def _refuse_idle_options(context: click.Context) -> None:
    options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    needs = dict.fromkeys(("genes", "shape", "classes", "ignored"), "network") | {"choices": "accelerator"}
    for name, needed in needs.items():
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if given and context.params[needed] is None:
            raise SpecError(f"changes nothing without --{needed}; name one", field=options[name])


# -- what is mapped on what ------------------------------------------------------------------------------------


def _scene(
    design: str | None,
    texts: Sequence[str],
    network: str | None,
    genes: Sequence[str],
    shape: str,
    classes: int,
    accelerator: str | None,
    choices: Sequence[str],
) -> tuple[Workload, Accelerator]:
    """The layers and the machine that the options name."""
    if design is None and network is not None and _is_design(network):
        design = network
    if design is not None:
        from coevo.report import read_design

        known = read_design(Path(design))
        return known.workload, known.accelerator if accelerator is None else _machine(accelerator, choices)
    if accelerator is None:
        from coevo.library import list_data

        raise SpecError(f"name a machine {near('', list_data('accelerators'))}", field="--accelerator")
    machine = _machine(accelerator, choices)
    if texts:
        from coevo.cli.layer import read_layers
        from coevo.workload import Workload

        return Workload("layers", read_layers(texts)), machine
    from coevo.cli.evaluate import read_workload

    return read_workload(network, genes, shape, classes), machine


def _is_design(name: str) -> bool:
    """Whether a name is the path of a design file; whatever else is wrong with it, its reader says."""
    from coevo.library import read_yaml

    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    try:
        return read_yaml(path).data.get("kind") == "design"
    except SpecError:
        return False


def _machine(name: str, choices: Sequence[str]) -> Accelerator:
    """The template's machine with any field set, whether or not the template lets it vary."""
    from coevo.accelerator import load_template
    from coevo.library import scalar

    template = load_template(name)
    values: dict[str, object] = {}
    for text in choices:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise SpecError(f"must read PATH=VALUE, got {text!r}", field="--set")
        values[path.strip()] = scalar(value.strip())
    try:
        return template.build(values)
    except SpecError as error:
        blamed = [text for text in choices if text.partition("=")[0].strip() == error.field]
        about = "" if blamed else f"{error.field}: "
        raise SpecError(about + error.problem, field="--set " + " ".join(blamed or choices)) from None


def _part(machine: Accelerator, label: str | None) -> Accelerator:
    """The machine, or the wanted one of its parts."""
    from coevo.accelerator import System

    parts = dict(machine.parts) if isinstance(machine, System) else {}
    if label in parts:
        return parts[label]
    if label is not None:
        problem = f"there is no part {label!r} {near(label, parts)}" if parts else f"{machine.name} has no parts"
        raise SpecError(problem, field="--part")
    if parts:
        raise SpecError(f"{machine.name} has several parts; choose one of {', '.join(parts)}", field="--part")
    return machine


def _chosen(layers: Sequence[Layer], only: Sequence[str]) -> tuple[Layer, ...]:
    names = [layer.name for layer in layers]
    for name in only:
        if name not in names:
            raise SpecError(f"there is no layer {name!r} {near(name, names)}", field="--only")
    return tuple(layer for layer in layers if not only or layer.name in only)


# -- mapping ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mapped:
    """A layer as it is shown.

    Attributes:
        cost: Under the mapping that is shown.
        best: Under the best mapping found, if the shown one was given; None if it was not, or none was found.
        given: Whether the user gave the mapping.
        front: The layer under every mapping of its front by (energy, latency), the least energy first; None if it
            was not asked for.
    """

    cost: LayerCost
    best: LayerCost | None = None
    given: bool = False
    front: tuple[LayerCost, ...] | None = None


def _mapped(
    layers: Sequence[Layer], names: Sequence[str], machine: Accelerator, objective: str, file: str | None
) -> list[_Mapped]:
    from coevo.cost import evaluate_mapping

    own: dict[str, LoopMapping] = {}
    if file is not None:
        from coevo.cli.mapping_file import read_mappings

        own = read_mappings(Path(file), names, [layer.name for layer in layers])
        if not own:
            raise SpecError(f"has no mapping of {', '.join(layer.name for layer in layers[:5])}", file=file)
    given: dict[str, LayerCost] = {}
    for layer in layers:
        if layer.name in own:
            try:
                given[layer.name] = evaluate_mapping(layer, machine, own[layer.name])
            except ValueError as error:
                about = "" if f"layer {layer.name}" in str(error) else f"layer {layer.name}: "
                raise SpecError(f"{about}{error}", file=file or "") from None
    found = _search(layers, machine, objective, own)
    return [
        _Mapped(given[layer.name], found.get(layer.name), given=True)
        if layer.name in given
        else _Mapped(found[layer.name])
        for layer in layers
    ]


def _search(
    layers: Sequence[Layer], machine: Accelerator, objective: str, own: Mapping[str, LoopMapping]
) -> dict[str, LayerCost]:
    """The best mapping of every layer; a layer without any is a mistake only where the user gave none."""
    from coevo.cost.analytical import AnalyticalCost, AnalyticalSettings
    from coevo.workload import Workload

    model = AnalyticalCost(AnalyticalSettings.model_validate({"objective": objective}))
    found: dict[str, LayerCost] = {}
    for layer, cost in zip(layers, model.evaluate([(Workload(x.name, (x,)), machine) for x in layers]), strict=True):
        if cost.violation > 0 and layer.name not in own:
            raise SpecError(cost.reason)
        if cost.violation == 0:
            found[layer.name] = cost.layers[0]
    return found


def _with_fronts(mapped: Sequence[_Mapped], machine: Accelerator) -> list[_Mapped]:
    """Searches the front of every layer's mappings, once for layers that are alike."""
    from coevo.cost import evaluate_mapping
    from coevo.cost.mapper import find_front, mapping_of

    known: dict[object, list[LoopMapping]] = {}
    for layer in (x.cost.layer for x in mapped):
        if layer.shape_key not in known:
            found = find_front(layer, machine)
            known[layer.shape_key] = [mapping_of(machine, layer.has_weights, one) for one in found]
    return [
        replace(x, front=tuple(evaluate_mapping(x.cost.layer, machine, one) for one in known[x.cost.layer.shape_key]))
        for x in mapped
    ]


# -- printing --------------------------------------------------------------------------------------------------


def _data(mapped: Sequence[_Mapped], machine: Accelerator, objective: str) -> dict[str, Any]:
    from coevo.report.loop_nest import layer_data

    costs = [x.cost for x in mapped]
    cycles, energy = sum(x.cycles for x in costs), sum(x.total_energy_pj for x in costs)
    layers = []
    for x in mapped:
        data = layer_data(x.cost, machine) | {"mapping_given": x.given}
        data |= {"best": layer_data(x.best, machine)} if x.best is not None else {}
        layers.append(data | ({} if x.front is None else {"front": [layer_data(one, machine) for one in x.front]}))
    return {
        "accelerator": machine.name,
        "choices": dict(machine.choices),
        "objective": objective,
        "clock_mhz": machine.clock_mhz,
        "multipliers": machine.pes,
        "cycles": cycles,
        "latency_ms": cycles / (machine.clock_mhz * 1e3),
        "energy_pj": energy,
        "edp_j_cycles": energy / 1e12 * cycles,
        "utilization": sum(x.layer.operations for x in costs) / (machine.pes * cycles),
        "layers": layers,
    }


def _text(mapped: Sequence[_Mapped], machine: Accelerator, objective: str) -> str:
    from coevo.report.loop_nest import layer_text, network_table

    blocks = []
    alike: dict[object, list[_Mapped]] = {}
    for x in mapped:
        alike.setdefault((x.cost.layer.shape_key, x.cost.mapping), []).append(x)
    for first, *others in alike.values():
        note = "your mapping" if first.given else f"best mapping by {objective}"
        text = layer_text(first.cost, machine, note)
        if first.given:
            text += "\n\n" + _compared(first, objective)
        if first.front:
            text += "\n\n" + _front_text(first.front)
        if others:
            same = f"the same: {', '.join(x.cost.layer.name for x in others)}"
            text += "\n\n" + textwrap.fill(same, 80, break_long_words=False)
        blocks.append(text)
    if len(mapped) > 1:
        blocks.append("all layers\n" + network_table([x.cost for x in mapped], machine))
    return ("\n\n" + "=" * 80 + "\n\n").join(blocks)


def _compared(one: _Mapped, objective: str) -> str:
    """The user's mapping against the mapper's."""
    from coevo.report.energy import energy_unit, ratio
    from coevo.report.loop_nest import edp
    from coevo.report.tables import aligned

    if one.best is None:
        return "the mapper finds no valid mapping of its own on this machine"
    size, unit = energy_unit(one.cost.total_energy_pj)
    rows: list[Sequence[str]] = [("", "cycles", unit, "EDP J x cycles", "utilization")]
    for name, cost in (("yours", one.cost), (f"best by {objective}", one.best)):
        figures = (f"{cost.cycles:,.0f}", f"{cost.total_energy_pj / size:.4g}", f"{edp(cost):.4g}")
        rows.append((name, *figures, f"{cost.utilization:.1%}"))
    pairs = (
        (one.cost.cycles, one.best.cycles),
        (one.cost.total_energy_pj, one.best.total_energy_pj),
        (edp(one.cost), edp(one.best)),
    )
    rows.append(("yours / best", *(f"{ratio(yours, best):.4g}" for yours, best in pairs), ""))
    return "against the mapper\n" + aligned(rows)


def _front_text(front: Sequence[LayerCost]) -> str:
    """A line per mapping of the front; their nests are in the JSON."""
    from coevo.report.energy import energy_unit
    from coevo.report.loop_nest import edp
    from coevo.report.tables import aligned

    size, unit = energy_unit(front[0].total_energy_pj)
    rows: list[Sequence[str]] = [(unit, "cycles", "EDP J x cycles", "utilization", "bound by")]
    for cost in front:
        figures = (f"{cost.total_energy_pj / size:.6g}", f"{cost.cycles:,.0f}", f"{edp(cost):.4g}")
        rows.append((*figures, f"{cost.utilization:.1%}", cost.bound_by))
    return "front by energy and latency\n" + aligned(rows, left=0)
