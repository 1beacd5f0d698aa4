"""Workloads on machines as numbers: what a predictor of costs learns from."""

from __future__ import annotations

import math
from collections.abc import Mapping

from coevo.accelerator.machine import DATA_MOVER, Accelerator
from coevo.learning.features import Features, workload_features
from coevo.workload import DIMS, OPERANDS, Layer, Workload


def pair_features(workload: Workload, machine: Accelerator) -> Features:
    """Returns figures of a network's layers, of a machine, and of the two together; sizes by their logarithms."""
    source = workload.source
    own = {} if source is None else _choices("gene", source.choices)
    return {**workload_features(workload), **own, **machine_features(machine), **_together(workload, machine)}


def machine_features(machine: Accelerator) -> Features:
    """Returns a machine's template, dataflow, array and memories, and what was chosen in it."""
    figures: dict[str, float] = {
        f"template {machine.name}": 1.0,
        f"dataflow {machine.dataflow.name}": 1.0,
        "pes": machine.pes,
        "clock": machine.clock_mhz,
        "mac energy": machine.mac.energy_pj,
    }
    features = {
        name: value if name.startswith(("template", "dataflow")) else _log(value) for name, value in figures.items()
    }
    for memory, instances in zip(machine.memories, machine.instances, strict=True):
        numbers = {
            "bits": memory.usable_bits,
            "instances": instances,
            "words a cycle": memory.words_per_cycle,
            "read energy": memory.read_energy_pj / memory.words_per_access,
            "columns": memory.fanout_x,
            "rows": memory.fanout_y,
        }
        features |= {f"{memory.name} {name}": _log(value) for name, value in numbers.items() if math.isfinite(value)}
    return {**features, **_choices("choice", dict(machine.choices))}


def _choices(kind: str, choices: Mapping[str, object]) -> dict[str, float]:
    """A number by its logarithm, whatever else by a column of its own."""
    return {
        **{
            f"{kind} {n}": _log(v) for n, v in choices.items() if isinstance(v, int | float) and not isinstance(v, bool)
        },
        **{f"{kind} {n} {v}": 1.0 for n, v in choices.items() if isinstance(v, bool) or not isinstance(v, int | float)},
    }


def _together(workload: Workload, machine: Accelerator) -> dict[str, float]:
    """What no mapping can beat: operations over the lanes that a layer can use, words over the port to the outside."""
    port = machine.memories[0].words_per_cycle
    compute = memory = slower = 0.0
    words = [0] * len(OPERANDS)
    for layer, count in workload.repeats:
        cycles = count * layer.operations / _lanes(layer, machine)
        moved = count * sum(layer.words) / (port if math.isfinite(port) else 1.0)
        compute, memory, slower = compute + cycles, memory + moved, slower + max(cycles, moved)
        words = [total + count * own for total, own in zip(words, layer.words, strict=True)]
    return {
        "least compute cycles": _log(compute),
        "least memory cycles": _log(memory),
        "least cycles": _log(slower),
        **{f"words of {operand}": _log(total) for operand, total in zip(OPERANDS, words, strict=True)},
    }


def _lanes(layer: Layer, machine: Accelerator) -> int:
    """Multipliers that a layer can use at most, by the dims that the dataflow unrolls over columns and rows."""
    flow = machine.dataflow if layer.has_weights else DATA_MOVER
    bounds = dict(zip(DIMS, layer.bounds, strict=True))
    columns, rows = (math.prod(getattr(m, axis) for m in machine.memories) for axis in ("fanout_x", "fanout_y"))
    across, down = (math.prod(bounds[dim] for dim in dims) for dims in (flow.x, flow.y))
    lanes: int = min(columns, across) * min(rows, down)
    return lanes


def _log(value: float) -> float:
    return math.log(value) if value > 0 else 0.0
