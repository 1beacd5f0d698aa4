"""A layer's loop nest as text, in the style of Timeloop's ``timeloop-mapper.map.txt``, with what it costs and why.

Plain ASCII in 80 columns, so that it reads the same on any terminal, in a pipe and in a file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coevo.accelerator.machine import Accelerator, Memory
from coevo.design import LayerCost
from coevo.mapping import LevelMapping
from coevo.report.energy import energy_parts, energy_unit, ratio
from coevo.report.tables import aligned
from coevo.workload import DIMS, OPERANDS, Layer

WIDTH = 80
"""Columns that the text keeps to, names of memories and layers permitting."""

_BAR = 20


def layer_text(cost: LayerCost, machine: Accelerator, note: str = "") -> str:
    """Returns all of one layer: figures, loop nest, accesses, and cycles and energy by level.

    Args:
        cost: The layer under a mapping.
        machine: The machine.
        note: A remark for the line of the mapping, e.g. that it was given; empty for none.
    """
    parts = (_head(cost, machine, note), loop_nest(cost), accesses_table(cost, machine), levels_table(cost, machine))
    return "\n\n".join(parts)


def shape(layer: Layer) -> str:
    """Returns a layer as ``coevo map --layer`` reads it, e.g. ``m=64 c=64 p=56 q=56 r=3 s=3 stride=2``."""
    bounds = [f"{dim}={bound}" for dim, bound in zip(DIMS, layer.bounds, strict=True) if bound > 1] or ["m=1"]
    for name, pair in (("stride", layer.stride), ("dilation", layer.dilation)):
        if pair != (1, 1):
            bounds.append(f"{name}={pair[0]}" if pair[0] == pair[1] else f"{name}={pair[0]}x{pair[1]}")
    kind = [] if layer.kind == "conv" else [f"kind={layer.kind}"]
    bits = [] if layer.bits is None else ["bits=" + "/".join(str(width or "-") for width in layer.bits)]
    return " ".join([*bounds, *kind, *bits])


def _head(cost: LayerCost, machine: Accelerator, note: str) -> str:
    layer, energy = cost.layer, cost.total_energy_pj
    size, unit = energy_unit(energy)
    work = "MACs" if layer.has_weights else "operations"
    lines = [
        f"{layer.name} on {machine.name}" + (f" ({note})" if note else ""),
        f"  layer        {shape(layer)}",
        f"  work         {layer.operations:,} {work}",
        f"  cycles       {cost.cycles:,.0f} ({cost.cycles / (machine.clock_mhz * 1e3):.4g} ms at "
        f"{machine.clock_mhz:g} MHz)",
        f"  bound by     {_bound(cost, machine)}",
        f"  utilization  {cost.utilization:.1%} of {machine.pes:,} multipliers",
        f"  energy       {energy / size:.4g} {unit}, {energy / layer.operations:.4g} pJ per operation",
        f"  EDP          {edp(cost):.4g} J x cycles",
    ]
    if idle := _idle(cost):
        lines.append(f"  idle         {idle}")
    return "\n".join(lines)


def edp(cost: LayerCost) -> float:
    """Returns energy x delay [J x cycle], as Timeloop has it."""
    return cost.total_energy_pj / 1e12 * cost.cycles


def _bound(cost: LayerCost, machine: Accelerator) -> str:
    """What sets the cycles, and what comes next: how much there is to gain by widening the first alone."""
    needs = _needs(cost, machine)
    others = {name: cycles for name, cycles in needs.items() if name != cost.bound_by}
    following = max(others, key=lambda name: others[name])
    share = others[following] / cost.cycles
    return f"{cost.bound_by}; next {following}, busy {share:.1%} of the cycles"


def _needs(cost: LayerCost, machine: Accelerator) -> dict[str, float]:
    """Cycles that compute and every memory would need alone."""
    names = (memory.name for memory in machine.memories)
    return {"compute": cost.compute_cycles} | dict(zip(names, cost.memory_cycles.tolist(), strict=True))


def _idle(cost: LayerCost) -> str:
    """Dims whose loops run over more than the layer has."""
    pairs = zip(DIMS, cost.mapping.extents(), cost.layer.bounds, strict=True)
    over = [f"{dim} runs to {extent} for {bound}" for dim, extent, bound in pairs if extent > bound]
    return ", ".join(over)


# -- the nest --------------------------------------------------------------------------------------------------


def loop_nest(cost: LayerCost) -> str:
    """Returns the loop nest, outermost memory and loop first.

    Beside each memory stand the words of the tiles that one instance of it holds; its temporal loops follow, then
    the spatial ones below it (rows, Spatial-Y, then columns, Spatial-X; the fastest-varying last).
    """
    levels = [_loops(level) for level in cost.mapping.levels]
    # Loops of all levels indent one after the other; deep nests by less, to stay in the width.
    widest = max((len(loop) for loops in levels for loop in loops), default=0)
    step = 2 if 2 + 2 * sum(map(len, levels)) + widest <= WIDTH else 1
    depth, blocks = 0, []
    for level, loops, tiles in zip(cost.mapping.levels, levels, cost.tile_words, strict=True):
        words = [f"{operand}:{tile:.0f}" for operand, tile in zip(OPERANDS, tiles, strict=True) if tile > 0]
        head = f"{level.memory} [ {' '.join(words)} ]" if words else f"{level.memory} [ ]"
        lines = [head, "-" * len(head)]
        for loop in loops:
            lines.append("| " + " " * (step * depth) + loop)
            depth += 1
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n| " + " " * (step * depth) + "<< Compute >>"


def _loops(level: LevelMapping) -> list[str]:
    temporal = [f"for {dim} in [0:{bound})" for dim, bound in level.temporal]
    rows = [f"for {dim} in [0:{bound}) (Spatial-Y)" for dim, bound in reversed(level.y)]
    columns = [f"for {dim} in [0:{bound}) (Spatial-X)" for dim, bound in reversed(level.x)]
    return temporal + rows + columns


# -- tables ----------------------------------------------------------------------------------------------------


def accesses_table(cost: LayerCost, machine: Accelerator) -> str:
    """Returns tile, reads, writes and energy of every memory and operand; words over all instances in use."""
    texts = [_accesses(cost, machine, form) for form in (",.0f", ".0f", ".6g")]
    fitting = (text for text in texts if max(map(len, text.splitlines())) <= WIDTH)
    return "words of a tile of one instance, and words moved by all instances in use\n" + next(fitting, texts[-1])


def _accesses(cost: LayerCost, machine: Accelerator, form: str) -> str:
    size, unit = energy_unit(cost.total_energy_pj)
    rows: list[Sequence[str]] = [("memory", "operand", "in use", "tile", "reads", "writes", unit)]
    counts = instances(cost)
    for i, memory in enumerate(machine.memories):
        for j, operand in enumerate(OPERANDS):
            figures = [float(array[i, j]) for array in (cost.tile_words, cost.reads, cost.writes)]
            if any(figures):
                energy = f"{cost.energy_pj[i, j] / size:.4g}"
                rows.append((memory.name, operand, f"{counts[i]:,}", *(f"{x:{form}}" for x in figures), energy))
    return aligned(rows, left=2)


def levels_table(cost: LayerCost, machine: Accelerator) -> str:
    """Returns cycles and energy by level, with their shares; ``-`` where the bandwidth is unlimited."""
    size, unit = energy_unit(cost.total_energy_pj)
    needs, energy = _needs(cost, machine), energy_parts([cost], machine)
    unlimited = {memory.name for memory in machine.memories if not _limited(memory)}
    energy = {"compute" if name == "multipliers" else name: value for name, value in energy.items()}
    rows: list[Sequence[str]] = [("level", "cycles", "busy", unit, "share", "of energy")]
    for name in dict.fromkeys([*(memory.name for memory in machine.memories), *needs, *energy]):
        if name not in needs:
            cycles = ["", ""]
        elif name in unlimited:
            cycles = ["-", "-"]
        else:
            cycles = [f"{needs[name]:,.0f}", f"{needs[name] / cost.cycles:.1%}"]
        share = ratio(energy[name], cost.total_energy_pj)
        rows.append(
            (name, cycles[0], cycles[1], f"{energy[name] / size:.4g}", f"{share:.1%}", "#" * round(share * _BAR))
        )
    total = (f"{cost.cycles:,.0f}", "", f"{cost.total_energy_pj / size:.4g}", "100.0%", "")
    rows.append(("total", *total))
    return "cycles that each level needs (the slowest sets the layer's), and energy\n" + aligned(rows, bar=True)


def _limited(memory: Memory) -> bool:
    return math.isfinite(min(memory.read_words_per_cycle, memory.write_words_per_cycle, memory.words_per_cycle))


def network_table(costs: Sequence[LayerCost], machine: Accelerator) -> str:
    """Returns a line per layer and the total of a network."""
    size, unit = energy_unit(max(x.total_energy_pj for x in costs))
    rows: list[Sequence[str]] = [("layer", "cycles", "bound by", "busy", unit, "EDP J x cycles")]
    for x in costs:
        figures = (f"{x.utilization:.1%}", f"{x.total_energy_pj / size:.4g}", f"{edp(x):.4g}")
        rows.append((_cut(x.layer.name, 28), f"{x.cycles:,.0f}", x.bound_by, *figures))
    cycles, energy = sum(x.cycles for x in costs), sum(x.total_energy_pj for x in costs)
    busy = sum(x.layer.operations for x in costs) / (machine.pes * cycles)
    product = energy / 1e12 * cycles
    rows.append(("total", f"{cycles:,.0f}", "", f"{busy:.1%}", f"{energy / size:.4g}", f"{product:.4g}"))
    return aligned(rows)


def _cut(name: str, width: int) -> str:
    """A long name without its middle: layers of one network differ at their ends."""
    half = (width - 2) // 2
    return name if len(name) <= width else f"{name[:half]}..{name[-half:]}"


# -- data ------------------------------------------------------------------------------------------------------


def instances(cost: LayerCost) -> tuple[int, ...]:
    """Returns how many instances of each memory the mapping uses ``(memory,)``."""
    counts = [1]
    for level in cost.mapping.levels[:-1]:
        counts.append(counts[-1] * math.prod(bound for _, bound in (*level.x, *level.y)))
    return tuple(counts)


def layer_data(cost: LayerCost, machine: Accelerator) -> dict[str, Any]:
    """Returns all of one layer as plain data for JSON, units in the names; mapping as `Mapping.to_data` has it."""
    layer = cost.layer
    names = [memory.name for memory in machine.memories]
    return {
        "name": layer.name,
        **({"part": cost.part} if cost.part else {}),
        "kind": layer.kind,
        "bounds": dict(zip(DIMS, layer.bounds, strict=True)),
        "stride": list(layer.stride),
        "dilation": list(layer.dilation),
        "bits": list(machine.bits_of(layer)),
        "operations": layer.operations,
        "macs": layer.macs,
        "mapping": cost.mapping.to_data(),
        "instances": dict(zip(names, instances(cost), strict=True)),
        "tile_words": _by_operand(cost.tile_words, machine),
        "reads": _by_operand(cost.reads, machine),
        "writes": _by_operand(cost.writes, machine),
        "energy_pj": _by_operand(cost.energy_pj, machine),
        "energy_by_part_pj": energy_parts([cost], machine),
        "total_energy_pj": cost.total_energy_pj,
        "mac_energy_pj": cost.mac_energy_pj,
        "leakage_pj": cost.leakage_pj,
        "compute_cycles": cost.compute_cycles,
        "memory_cycles": dict(zip(names, cost.memory_cycles.tolist(), strict=True)),
        "cycles": cost.cycles,
        "bound_by": cost.bound_by,
        "utilization": cost.utilization,
        "edp_j_cycles": edp(cost),
        "bytes_used": cost.bytes_used,
    }


def _by_operand(array: NDArray[np.float64], machine: Accelerator) -> dict[str, dict[str, float]]:
    """An array ``(memory, operand)`` by name, of the operands that each memory holds."""
    return {
        memory.name: {operand: float(array[i, OPERANDS.index(operand)]) for operand in memory.holds}
        for i, memory in enumerate(machine.memories)
    }
