"""The files of one co-design.

``front/<id>.yaml`` holds all that must be known to build it, or to evaluate it again; its machine and its mappings are
also written alone, in the forms that other commands read.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import yaml

from coevo.accelerator.machine import Accelerator
from coevo.accelerator.system import System
from coevo.accelerator.write import template_data
from coevo.design import Cost, FrontDesign
from coevo.library import scalar
from coevo.workload import Layer, Workload, chain

SCHEMA = 1

_HEADING = """\
# A co-design found by `coevo run`; `coevo evaluate` scores this file again.
"""
_LOOPS = """\
# A mapping lists the loops of every memory, outermost memory and outermost loop first; x and y loops run in parallel
# on columns and rows. Dims: n batch, g group, m output channel, c input channel, p q output row and column, r s filter.
"""


def design_yaml(design: FrontDesign, experiment: str) -> str:
    """Returns a co-design as YAML text: network, accelerator (or targets), metrics and every layer's mapping."""
    return _HEADING + _LOOPS + _text(_data(design, experiment))


def accelerator_yaml(machine: Accelerator, description: str) -> str:
    """Returns a machine as an accelerator file without ``vary``.

    Args:
        machine: Built from a template.
        description: One line for people.
    """
    chosen = ", ".join(f"{path} {value}" for path, value in machine.choices)
    heading = (
        f"# Made from the template {machine.name}{f' with {chosen}' if chosen else ''}; its sources stand there.\n"
    )
    return _wrapped(heading) + _text(template_data(machine, description))


def mapping_yaml(cost: Cost, title: str) -> str:
    """Returns every layer's mapping on one machine, in the form that ``coevo map --mapping`` reads.

    Args:
        cost: Of the layers on the machine.
        title: One line for people.
    """
    return f"# {title}\n{_LOOPS}" + _text({"mappings": _mappings(cost)})


def _data(design: FrontDesign, experiment: str) -> dict[str, Any]:
    network, targets = design.design.network, design.design.targets
    return {
        "schema": SCHEMA,
        "kind": "design",
        "id": design.evaluation.id,
        "experiment": experiment,
        "network": {"family": network.family, "choices": dict(network.choices)},
        **({} if targets else _accelerator(design.design.accelerator)),
        "metrics": {**design.evaluation.metrics, **design.extras},
        **({"fidelity": design.evaluation.fidelity} if design.evaluation.fidelity else {}),
        **({} if targets else _mapped(design, design.cost)),
        **({"targets": _targets(design)} if targets else {}),
    }


def _targets(design: FrontDesign) -> dict[str, Any]:
    """Every target's machine, and how each layer is mapped on it."""
    pairs = zip(design.design.targets, design.costs, strict=True)
    return {label: {**_accelerator(machine), **_mapped(design, cost)} for (label, machine), cost in pairs}


def _accelerator(accelerator: Accelerator) -> dict[str, Any]:
    machine = _system(accelerator) if isinstance(accelerator, System) else _machine(accelerator)
    facts = {"template": accelerator.name, "choices": dict(accelerator.choices), "machine": machine}
    return {"accelerator": facts}


def _machine(accelerator: Accelerator) -> dict[str, Any]:
    machine = asdict(accelerator)
    del machine["choices"]  # they stand beside the machine
    if not machine["device"]:
        del machine["device"]
    return machine


def _system(system: System) -> dict[str, Any]:
    """A machine of several parts: what `system_of` makes it from."""
    return {
        "name": system.name,
        "clock_mhz": system.clock_mhz,
        "shared_area_mm2": system.shared_area_mm2,
        "parts": {label: _machine(part) for label, part in system.parts},
    }


def _mapped(design: FrontDesign, cost: Cost) -> dict[str, Any]:
    """Layers, with what each keeps on chip, and mappings; of a cost model without a breakdown the layers alone."""
    layers = [layer.layer for layer in cost.layers] or design.workload.layers
    reads = _reads(design.workload) if len(layers) == len(design.workload.layers) else {}
    return {
        "layers": [_layer(layer) for layer in layers],
        **({"reads": reads} if reads else {}),
        "mappings": _mappings(cost),
    }


def _reads(workload: Workload) -> dict[str, list[str]]:
    """What layers read, by name, where that is not simply the one before."""
    names, before = [layer.name for layer in workload.layers], chain(len(workload.layers))
    pairs = zip(names, workload.reads, before, strict=True)
    return {name: [names[i] for i in own] for name, own, one in pairs if own != one}


def _mappings(cost: Cost) -> dict[str, Any]:
    return {layer.layer.name: layer.mapping.to_data() for layer in cost.layers}


def _layer(layer: Layer) -> dict[str, Any]:
    """The layer's fields that are not at their default."""
    defaults = {field.name: field.default for field in fields(layer)}
    return {name: value for name, value in asdict(layer).items() if value != defaults[name]}


def _text(data: Any) -> str:
    return str(yaml.dump(_plain(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))


def _wrapped(comment: str) -> str:
    return "\n".join(textwrap.wrap(comment, 118, subsequent_indent="# ", break_long_words=False)) + "\n"


def _plain(data: Any) -> Any:
    """Returns data made of dict, list, str, bool, int, float and None alone: numpy's scalars and tuples are not."""
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(item) for item in data]
    if isinstance(data, float):  # numpy's float64 is one
        return float(data)
    return data.item() if hasattr(data, "item") else data


class _Dumper(yaml.SafeDumper):
    """Writes what `coevo.library` reads: no aliases, text quoted where YAML 1.2 would read a number."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (PyYAML calls it so)
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    # PyYAML follows YAML 1.1, in which the id 12e4567890 is text; in 1.2 it is a number.
    style = None if isinstance(scalar(text), str) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_list(dumper: _Dumper, items: list[Any]) -> yaml.Node:
    """Loops and operands stay on one line, lists of mappings do not."""
    short = not any(isinstance(item, dict | list) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=short)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)
