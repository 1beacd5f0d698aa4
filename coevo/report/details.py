"""What the page shows of one design of the front, as plain data for its script."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from coevo.accelerator.machine import Accelerator, Memory
from coevo.accelerator.system import System
from coevo.design import FrontDesign, LayerCost
from coevo.workload import PASSES, Layer


def detail(design: FrontDesign) -> dict[str, Any]:
    """Returns network, accelerator and the cost of every layer of a design; numbers to 5 significant digits."""
    machine, workload = design.design.accelerator, design.workload
    return {
        "family": design.design.network.family,
        "network": [[name, str(value)] for name, value in design.design.network.choices.items()],
        "fidelity": design.accuracy.fidelity if design.accuracy is not None else "",
        "macs": workload.macs,
        "parameters": workload.parameters,
        "machine": _machine(machine, next(iter(design.design.machines))),
        "layers": [_layer(cost) for cost in design.cost.layers],
    }


def _machine(machine: Accelerator, target: str) -> dict[str, Any]:
    memories = zip(machine.memories, machine.instances, strict=True)
    area = {m.name: m.area_mm2 * count for m, count in zip(machine.memories, machine.instances, strict=True)}
    of = f"the first target, {target}: " if target else ""
    area |= {"MACs": machine.mac.area_mm2 * machine.pes, "other": machine.other_area_mm2}
    return {
        "template": machine.name,
        "choices": [[path, str(value)] for path, value in machine.choices],
        "facts": f"{of}{_parts(machine)}{machine.technology_nm:g} nm, {machine.clock_mhz:g} MHz, "
        f"dataflow {machine.dataflow.name}, "
        f"words of {'/'.join(str(bits) for bits in machine.bits)} bit (weights/inputs/outputs)",
        "clock_mhz": machine.clock_mhz,
        "pes": machine.pes,
        "area_mm2": machine.area_mm2,
        "area": [[part, _round(mm2)] for part, mm2 in area.items() if mm2 > 0],
        "memories": [_memory(memory, count) for memory, count in memories],
        "parts": _first_memories(machine),
    }


def _parts(machine: Accelerator) -> str:
    if not isinstance(machine, System):
        return ""
    parts = (f"{label} ({part.name}, {part.pes} multipliers)" for label, part in machine.parts)
    return f"the parts {' and '.join(parts)}: "


def _first_memories(machine: Accelerator) -> dict[str, str]:
    """What stands above the first memory on chip of every part, by that memory's name."""
    if not isinstance(machine, System):
        return {}
    return {machine.memories[machine.rows[label][1]].name: f"{label}: {part.name}" for label, part in machine.parts}


def _memory(memory: Memory, instances: int) -> dict[str, Any]:
    return {
        "name": memory.name,
        "kind": memory.kind,
        "size": size_text(memory.size_bits),
        "holds": list(memory.holds),
        "instances": instances,
        "fanout": [memory.fanout_x, memory.fanout_y],
        "bandwidth": _bandwidth(memory),
        "energy": f"read {memory.read_energy_pj:.4g} pJ, write {memory.write_energy_pj:.4g} pJ per access",
        "double_buffered": memory.double_buffered,
    }


def size_text(bits: float) -> str:
    """Returns a capacity as people write it: ``108 KiB``, ``448 B``, ``unbounded``."""
    if not math.isfinite(bits):
        return "unbounded"
    for unit, size in (("MiB", 8 << 20), ("KiB", 8 << 10)):
        if bits >= size:
            return f"{bits / size:.4g} {unit}"
    return f"{bits / 8:.4g} B"


def _bandwidth(memory: Memory) -> str:
    limits = {
        "read": memory.read_words_per_cycle,
        "write": memory.write_words_per_cycle,
        "read and write together": memory.words_per_cycle,
    }
    limited = [f"{way} {words:g}" for way, words in limits.items() if math.isfinite(words)]
    return f"{', '.join(limited)} words of {memory.word_bits} bit per cycle" if limited else "unlimited bandwidth"


def _layer(cost: LayerCost) -> dict[str, Any]:
    return {
        "name": cost.layer.name,
        **({"part": cost.part} if cost.part else {}),
        "kind": _kind(cost.layer),
        "shape": shape_text(cost.layer),
        "macs": cost.layer.macs,
        "parameters": cost.layer.parameters,
        "cycles": _round(cost.cycles),
        "compute_cycles": _round(cost.compute_cycles),
        "bound_by": cost.bound_by,
        "utilization": _round(cost.utilization),
        "mac_pj": _round(cost.mac_energy_pj),
        "leakage_pj": _round(cost.leakage_pj),
        "energy_pj": _table(cost.energy_pj),
        "reads": _table(cost.reads),
        "writes": _table(cost.writes),
        "tile_words": _table(cost.tile_words),
        "mapping": [[level.memory, level.temporal, level.x, level.y] for level in cost.mapping.levels],
    }


def _kind(layer: Layer) -> str:
    if layer.kind != "conv":
        return layer.kind
    if layer.g > 1:
        return "depthwise conv" if layer.m == layer.c == 1 else "grouped conv"
    return "pointwise conv" if layer.r == layer.s == 1 else "conv"


def shape_text(layer: Layer) -> str:
    """Returns e.g. ``16→64 channels, 8×8 out, 3×3 window, stride 2``, or ``17×8 by 8×17, 2 products`` of attention."""
    if layer.kind == "matmul":
        several = f", {layer.g} products" if layer.g > 1 else ""
        return f"{layer.p}×{layer.c} by {layer.c}×{layer.m}{several}" + (f", batch {layer.n}" if layer.n > 1 else "")
    if layer.kind in PASSES:
        passes = f", {layer.c} passes" if layer.c > 1 else ""
        return f"{layer.g} channels, {layer.p}×{layer.q}{passes}"
    channels = f"{layer.g * layer.c}→{layer.g * layer.m}" if layer.kind != "pool" else f"{layer.g * layer.m}"
    parts = [f"{channels} {'features' if layer.kind == 'linear' else 'channels'}"]
    if layer.kind == "conv" and layer.g > 1 and max(layer.m, layer.c) > 1:
        parts.append(f"{layer.g} groups")
    if layer.p * layer.q > 1:
        parts.append(f"{layer.p}×{layer.q} out")
    if layer.r * layer.s > 1:
        parts.append(f"{layer.r}×{layer.s} window")
    for word, pair in (("stride", layer.stride), ("dilation", layer.dilation)):
        if pair != (1, 1):
            parts.append(f"{word} {pair[0]}" if pair[0] == pair[1] else f"{word} {pair[0]}×{pair[1]}")
    return ", ".join(parts) + (f", batch {layer.n}" if layer.n > 1 else "")


def _table(array: NDArray[Any]) -> list[list[float]]:
    return [[_round(number) for number in row] for row in array.tolist()]


def _round(number: float) -> float:
    """To 5 significant digits, whole numbers without a point: the page carries thousands of them."""
    rounded = float(f"{number:.5g}")
    return int(rounded) if rounded.is_integer() else rounded
