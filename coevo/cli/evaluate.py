"""``coevo evaluate``: what does this network cost on this machine?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from coevo.errors import SpecError

if TYPE_CHECKING:
    from coevo.accelerator import Accelerator
    from coevo.design import LayerCost
    from coevo.workload import Workload

_PAIR = "NAME=VALUE"


_EXAMPLES = """\b
Examples:
  coevo evaluate runs/quickstart/front/0123456789.yaml
  coevo evaluate runs/quickstart/front/0123456789.yaml --accelerator nvdla
  coevo evaluate --network digits_mbconv --input 1x8x8 --accelerator eyeriss --set pe_array.rows=8
  coevo evaluate --network model.onnx --accelerator eyeriss
  coevo evaluate --network mine.py:make_net --input 3x224x224 --accelerator eyeriss
"""


@click.command(epilog=_EXAMPLES)
@click.argument("design", required=False)
@click.option("--target", help="Which target of a DESIGN that is for several; the first if not given.")
@click.option("--network", help="A network space, or your own: model.onnx, file.py:name.")
@click.option(
    "--gene", "genes", multiple=True, metavar=_PAIR, help="A gene of --network; others take their first choice."
)
@click.option("--input", "shape", default="3x32x32", show_default=True, metavar="CxHxH",
              help="Input of --network; of your own also 128x64, or 128:int64 for tokens.")  # fmt: skip
@click.option("--classes", type=click.IntRange(min=1), default=10, show_default=True, help="Classes of --network.")
@click.option("--ignore-unknown", "ignored", multiple=True, metavar="OPERATOR",
              help="An operator of your own network that counts as nothing; repeatable.")  # fmt: skip
@click.option("--accelerator", help="An accelerator template, instead of a design's machine.")
@click.option("--set", "choices", multiple=True, metavar=_PAIR, help="A `vary` field of --accelerator; repeatable.")
@click.option("--objective", type=click.Choice(["edp", "latency", "energy"]), default="edp", show_default=True,
              help="What the mapper minimises.")  # fmt: skip
@click.option("--assign", type=click.Choice(["edp", "latency", "energy", "interval"]),
              help="What a heterogeneous accelerator's parts are chosen for; --objective if not given.")  # fmt: skip
@click.option("--keep-on-chip", is_flag=True,
              help="Lets layers leave their outputs on chip for the next one, where they fit.")  # fmt: skip
@click.option("--remap", is_flag=True, help="Searches the mappings again instead of using the design's.")
@click.option("--figures", metavar="DIR", help="Draws energy by part, utilization and the roofline into this folder.")
@click.option("--json", "as_json", is_flag=True, help="Prints JSON.")
def evaluate(
    design: str | None,
    target: str | None,
    network: str | None,
    genes: tuple[str, ...],
    shape: str,
    classes: int,
    ignored: tuple[str, ...],  # noqa: ARG001 (own_workload reads it from the context)
    accelerator: str | None,
    choices: tuple[str, ...],
    objective: str,
    assign: str | None,
    keep_on_chip: bool,
    remap: bool,
    figures: str | None,
    as_json: bool,
) -> None:
    """Scores a network on an accelerator: a DESIGN file of a front, or --network and --accelerator."""
    from coevo.report.roofline import bounds_text

    known = None
    _refuse_idle_options(click.get_current_context())
    if design is None and (network is None or accelerator is None):
        raise SpecError("give a design file, or both --network and --accelerator")
    if design is not None:
        from coevo.report import read_design

        known = read_design(Path(design), target)
    workload = (
        known.workload if known is not None and network is None else read_workload(network, genes, shape, classes)
    )
    machine = _machine(accelerator, choices) if accelerator is not None or known is None else known.accelerator
    if known is not None and network is None and accelerator is None and not (remap or keep_on_chip or assign):
        layers = _given(design or "", workload, machine, known.mappings)
    else:
        layers = _mapped(workload, machine, objective, assign, keep_on_chip)
    data = summary(workload, machine, layers) | _drawn(layers, machine, figures)
    print(json.dumps(data, indent=2) if as_json else _text(data, machine) + "\n" + bounds_text(layers, machine))
    if figures is not None and not as_json:
        print("figures:", *(file for file in data["figures"] if file.endswith(".png")))


def _refuse_idle_options(context: click.Context) -> None:
    """Refuses options that would change nothing: a design's own network and machine stay as they are."""
    options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    if context.params["target"] is not None and context.params["design"] is None:
        raise SpecError("changes nothing without a design; name one", field="--target")
    needs = dict.fromkeys(("genes", "shape", "classes", "ignored"), "network") | {"choices": "accelerator"}
    for name, needed in needs.items():
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if given and context.params[needed] is None:
            raise SpecError(f"changes nothing without --{needed}; name one", field=options[name])


def read_workload(network: str | None, genes: Sequence[str], shape: str, classes: int) -> Workload:
    """Returns the layers of a network space under genes, or of a user's own network by the running command's options.

    Raises:
        SpecError: The network is not known, or an option of it is wrong.
    """
    import numpy as np

    from coevo.cli.own_network import own_workload
    from coevo.networks import build_family, load_space
    from coevo.protocols import Task
    from coevo.space import Space

    own = own_workload(network or "")
    if own is not None:
        return own
    parts = shape.split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts) or parts[1] != parts[2]:
        raise SpecError(f"must read channels x height x width with height = width, such as 3x32x32; got {shape!r}",
                        field="--input")  # fmt: skip
    family = build_family(load_space(network or ""), Task(int(parts[0]), int(parts[1]), classes))
    space = Space(family.genes)
    values = _pairs(genes, "--gene")
    names = {gene.name: gene for gene in space.genes}
    genome = np.zeros(len(space.genes), dtype=np.int64)
    for name, value in values.items():
        _check_choice("--gene", name, value, {name: gene.choices for name, gene in names.items()})
        genome[list(names).index(name)] = names[name].choices.index(value)
    return family.workload(space.decode(space.canonical(genome[None, :])[0]))


def _machine(accelerator: str | None, choices: Sequence[str]) -> Accelerator:
    from coevo.accelerator import load_template

    template = load_template(accelerator or "")
    values = _pairs(choices, "--set")
    for name, value in values.items():
        _check_choice("--set", name, value, {field.path: field.choices for field in template.fields})
    return template.build(values)


def _pairs(texts: Sequence[str], option: str) -> dict[str, Any]:
    from coevo.library import scalar

    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SpecError(f"must read NAME=VALUE, got {text!r}", field=option)
        values[name.strip()] = scalar(value.strip())
    return values


def _check_choice(option: str, name: str, value: object, known: Mapping[str, Sequence[object]]) -> None:
    from coevo.errors import near

    if name not in known:
        raise SpecError(f"no such name {near(name, known)}", field=f"{option} {name}")
    if value not in known[name]:
        raise SpecError(f"{value!r} is not one of {', '.join(map(str, known[name]))}", field=f"{option} {name}")


def _given(file: str, workload: Workload, machine: Accelerator, mappings: Mapping[str, Any]) -> tuple[LayerCost, ...]:
    from coevo.cost import evaluate_mapping

    if not mappings:
        raise SpecError("has no mappings, as its cost model gave none; --remap searches them", file=file)
    try:
        return tuple(evaluate_mapping(layer, machine, mappings[layer.name]) for layer in workload.layers)
    except ValueError as error:
        raise SpecError(f"{error}; --remap searches new mappings", file=file) from None


def _mapped(
    workload: Workload, machine: Accelerator, objective: str, assign: str | None, keep_on_chip: bool
) -> tuple[LayerCost, ...]:
    from coevo.accelerator import System
    from coevo.cost.analytical import AnalyticalCost, AnalyticalSettings

    if isinstance(machine, System) and keep_on_chip:
        raise SpecError(
            f"{machine.name} has several parts, between which activations pass DRAM", field="--keep-on-chip"
        )
    if not isinstance(machine, System) and assign is not None:
        raise SpecError(f"changes nothing: {machine.name} has no parts to choose from", field="--assign")
    settings = AnalyticalSettings(objective=objective, assign=assign, keep_on_chip=keep_on_chip)  # type: ignore[arg-type]
    (cost,) = AnalyticalCost(settings).evaluate([(workload, machine)])
    if cost.violation > 0:
        raise SpecError(cost.reason)
    return cost.layers


def _drawn(layers: Sequence[LayerCost], machine: Accelerator, folder: str | None) -> dict[str, list[str]]:
    """Draws the figures if they are wanted, and returns the files' names."""
    if folder is None:
        return {}
    from coevo.report.cost_figures import write_cost_figures

    return {"figures": [str(file) for file in write_cost_figures(layers, machine, Path(folder))]}


def summary(workload: Workload, machine: Accelerator, layers: Sequence[LayerCost]) -> dict[str, Any]:
    """Returns all figures of a workload on a machine as plain data, units in the names."""
    from coevo.accelerator import System
    from coevo.cost.parts import interval_cycles, spans

    cycles = interval = sum(layer.cycles for layer in layers)
    times = []  # of every layer on a machine of several parts
    if isinstance(machine, System):
        begins, ends = spans(layers, workload.reads, machine).tolist()
        times = [{"begins_cycles": begin, "ends_cycles": end} for begin, end in zip(begins, ends, strict=True)]
        cycles, interval = max(ends), interval_cycles(layers, machine)
    energy = sum(layer.total_energy_pj for layer in layers)
    by_memory = {
        memory.name: float(sum(layer.energy_pj[i].sum() for layer in layers)) / 1e9
        for i, memory in enumerate(machine.memories)
    }
    by_memory["multipliers"] = sum(layer.mac_energy_pj for layer in layers) / 1e9
    by_memory["leakage"] = sum(layer.leakage_pj for layer in layers) / 1e9
    return {
        "accelerator": machine.name,
        "choices": dict(machine.choices),
        "latency_ms": cycles / (machine.clock_mhz * 1e3),
        "interval_ms": interval / (machine.clock_mhz * 1e3),
        "energy_mj": energy / 1e9,
        "area_mm2": machine.area_mm2,
        "edp_mj_ms": energy / 1e9 * cycles / (machine.clock_mhz * 1e3),
        "peak_memory_kib": max(layer.bytes_used for layer in layers) / 1024,
        "macs": workload.macs,
        "parameters": workload.parameters,
        "utilization": sum(x.layer.operations for x in layers) / (machine.pes * cycles),
        "energy_by_part_mj": by_memory,
        "layers": [
            {
                "name": x.layer.name,
                **({"part": x.part} | times[i] if times else {}),
                "kind": x.layer.kind,
                "macs": x.layer.macs,
                "cycles": x.cycles,
                "bound_by": x.bound_by,
                "utilization": x.utilization,
                "energy_uj": x.total_energy_pj / 1e6,
                "kept_on_chip": list(x.layer.kept),
                "mapping": x.mapping.to_data(),
            }
            for i, x in enumerate(layers)
        ],
    }


def _text(data: Mapping[str, Any], machine: Accelerator) -> str:
    from coevo.report.energy import ratio

    lines = [f"{machine.name}: {machine.pes} multipliers, {machine.dataflow.name}, {machine.clock_mhz:g} MHz"]
    apart = data["interval_ms"] != data["latency_ms"]
    figures = (("latency", "ms"), *((("interval", "ms"),) if apart else ()), ("energy", "mJ"), ("area", "mm2"))
    for name, unit in (*figures, ("peak_memory", "KiB")):
        lines.append(f"  {name.replace('_', ' '):12} {data[f'{name}_{unit.lower()}']:.6g} {unit}")
    lines.append(f"  {'MACs':12} {data['macs']:,}, {data['parameters']:,} parameters")
    lines.append(f"  {'utilization':12} {data['utilization']:.1%}")
    kept = sum("outputs" in x["kept_on_chip"] for x in data["layers"])
    if kept:
        lines.append(f"  {'kept on chip':12} outputs of {kept} of {len(data['layers'])} layers")
    lines.append("energy by part:")
    total, by_part = data["energy_mj"], data["energy_by_part_mj"]
    lines += [
        f"  {name:{max(12, *map(len, by_part))}} {value:.6g} mJ, {ratio(value, total):.1%}"
        for name, value in by_part.items()
    ]
    return "\n".join((*lines, *_layer_lines(data["layers"])))


def _layer_lines(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per layer, with the part that runs it, and when it begins, where there are several."""
    width = max(len(x["name"]) for x in layers)
    bound = max(12, *(len(x["bound_by"]) for x in layers))
    part = max((len(x["part"]) for x in layers if "part" in x), default=0)
    head = f"  {'part':{part}} {'begins':>12}" if part else ""
    lines = [
        f"{'layer':{width}}  {'kind':11}{head} {'MACs':>12} {'cycles':>12}  {'bound by':{bound}} {'busy':>6} "
        f"{'energy uJ':>12}"
    ]
    lines += [
        f"{x['name']:{width}}  {x['kind']:11}"
        + (f"  {x['part']:{part}} {x['begins_cycles']:12,.0f}" if part else "")
        + f" {x['macs']:12,} "
        f"{x['cycles']:12,.0f}  {x['bound_by']:{bound}} {x['utilization']:6.1%} {x['energy_uj']:12.4g}"
        for x in layers
    ]
    return lines
