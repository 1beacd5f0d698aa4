"""From a mapping to a `LayerCost`: the same formulas as the search, with every memory a level of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coevo.accelerator.machine import DATA_MOVER, Accelerator
from coevo.accelerator.system import System
from coevo.cost.batch import Batch, batch_of_one, levels_of
from coevo.cost.interconnect import Carried, Transport
from coevo.cost.kept import buffer_of, folded, keeping_machine, kept_bits, with_place
from coevo.cost.nest import Loop, tiles_of, traffic
from coevo.cost.parts import on_system, part_of
from coevo.cost.precision import mac_energy_pj, too_wide
from coevo.cost.price import (
    Moved,
    access_energy,
    accessed,
    compute_cycles,
    leakage,
    level_instances,
    memory_cycles,
    memory_levels,
    price,
    tile_bits,
)
from coevo.design import LayerCost
from coevo.mapping import Mapping
from coevo.workload import DIMS, OPERANDS, Layer


def evaluate_mapping(layer: Layer, machine: Accelerator, mapping: Mapping) -> LayerCost:
    """Scores one layer on one machine under a given mapping.

    Args:
        layer: The layer.
        machine: The machine.
        mapping: One level per memory of the machine, in its order; of one part's, if it has several.

    Raises:
        ValueError: The mapping does not fit layer or machine, or what the layer is to keep does not; the text says
            which loop or memory, how much is needed and how much there is.
    """
    if isinstance(machine, System):
        label, own = part_of(mapping, machine)
        return on_system(evaluate_mapping(layer, dict(machine.parts)[label], own), machine, label)
    wide = too_wide(layer, machine)
    if wide is not None:
        raise ValueError(f"layer {layer.name}: {wide[1]}")
    if not layer.kept:
        return cost_of(analyse(layer, machine, mapping))
    keeping = keeping_machine(layer, machine)
    if keeping is None:
        at = buffer_of(machine)
        needed = f"it takes {kept_bits(layer, machine) / 8:.0f} bytes"
        room = "no memory on chip holds both" if at is None else f"{machine.memories[at].name} has too little room"
        raise ValueError(f"layer {layer.name} cannot keep its {' and '.join(layer.kept)} on chip: {needed}, and {room}")
    cost = cost_of(analyse(replace(layer, kept=()), keeping, with_place(mapping, keeping)))
    return folded(cost, layer, machine)


@dataclass(frozen=True)
class Analysis:
    """What a mapping moves and takes, per instance; all figures are plain numbers.

    Attributes:
        layer, machine, mapping: As given.
        batch: The pair.
        nest: The mapping's loops, innermost first.
        moved: Words moved by (memory, operand).
        transport: What the fan-outs carry.
    """

    layer: Layer
    machine: Accelerator
    mapping: Mapping
    batch: Batch
    nest: list[Loop]
    moved: Moved
    transport: Transport

    @cached_property
    def carried(self) -> dict[tuple[int, str], Carried]:
        """What every network carries of every operand, by (memory above it, operand)."""
        bits = self.batch.machines.bits
        memories = enumerate(self.machine.memories)
        return self.transport.carried({(i, x): bits[x] / memory.word_bits for i, memory in memories for x in OPERANDS})


def analyse(layer: Layer, machine: Accelerator, mapping: Mapping) -> Analysis:
    """Returns what a mapping moves; the arguments and errors are those of `evaluate_mapping`."""
    _check_loops(layer, machine, mapping)
    batch, nest, count = batch_of_one(layer, machine), _nest(mapping), len(machine.memories)
    homes, window = batch.structure.homes, batch.layers.window
    transport = Transport(nest, machine, window, tiles_of(nest, count, window), homes)
    moved = traffic(nest, homes, count, window, transport.relays())
    _check_capacity(batch, machine, moved)
    return Analysis(layer, machine, mapping, batch, nest, moved, transport)


def _nest(mapping: Mapping) -> list[Loop]:
    nest = []
    for level in reversed(range(len(mapping.levels))):
        loops = mapping.levels[level]
        nest += [Loop(dim, float(bound), level, spatial=True) for dim, bound in (*loops.x, *loops.y)]
        nest += [Loop(dim, float(bound), level) for dim, bound in reversed(loops.temporal)]
    return nest


def _check_loops(layer: Layer, machine: Accelerator, mapping: Mapping) -> None:
    names = [memory.name for memory in machine.memories]
    if [level.memory for level in mapping.levels] != names:
        raise ValueError(f"a mapping for {machine.name} has the levels {', '.join(names)}, in this order")
    for dim, extent, bound in zip(DIMS, mapping.extents(), layer.bounds, strict=True):
        if extent < bound:
            raise ValueError(f"layer {layer.name}: the mapping's {dim} loops cover {extent} of {bound}")
    for memory, level in zip(machine.memories, mapping.levels, strict=True):
        for axis, size in (("x", memory.fanout_x), ("y", memory.fanout_y)):
            used = int(np.prod([bound for _, bound in getattr(level, axis)]))
            if used > size:
                raise ValueError(f"layer {layer.name}: {used} lanes along {axis} below {memory.name}, which has {size}")
    _check_runs(layer, machine, mapping)


def _check_runs(layer: Layer, machine: Accelerator, mapping: Mapping) -> None:
    """Checks that memories can run their loops; those of one level of the mapper have them in common."""
    for group in levels_of(machine):
        runs = {dim for i in group for dim in machine.memories[i].loops}
        for level in (mapping.levels[i] for i in group):
            for dim, _ in level.temporal:
                if dim not in runs:
                    raise ValueError(
                        f"layer {layer.name}: a loop over {dim} at {level.memory}, which runs "
                        f"{', '.join(sorted(runs)) or 'none'}"
                    )


def _check_capacity(batch: Batch, machine: Accelerator, moved: Moved) -> None:
    for memory, level in memory_levels(batch):
        needed = tile_bits(batch, memory, level, moved)
        usable = machine.memories[memory].usable_bits
        if needed > usable:
            raise ValueError(
                f"{machine.memories[memory].name} needs {needed / 8:.0f} bytes for its tiles and has {usable / 8:.0f}"
            )


def access_energies(analysis: Analysis) -> NDArray[np.float64]:
    """Returns the energy of the accesses of all instances ``(memory, operand)`` [pJ], networks not included."""
    batch = analysis.batch
    instances = level_instances(batch, analysis.nest)
    energy = np.zeros((len(analysis.machine.memories), len(OPERANDS)))
    for (memory, operand), words in analysis.moved.items():
        paying = accessed(batch, memory, instances[memory])
        energy[memory, OPERANDS.index(operand)] = access_energy(batch, memory, operand, words) * paying
    return energy


def cost_of(analysis: Analysis) -> LayerCost:
    """Returns what an analysed mapping costs."""
    layer, machine, batch, nest = analysis.layer, analysis.machine, analysis.batch, analysis.nest
    instances = level_instances(batch, nest)
    shape = (len(machine.memories), len(OPERANDS))
    energy = access_energies(analysis)
    reads, writes, tiles = (np.zeros(shape) for _ in range(3))
    for (memory, operand), words in analysis.moved.items():
        at = memory, OPERANDS.index(operand)
        reads[at] = words.reads * instances[memory]
        writes[at] = words.writes * instances[memory]
        tiles[at] = words.tile
    if not all(memory.interconnect.free for memory in machine.memories):
        for (memory, operand), carried in analysis.carried.items():
            energy[memory, OPERANDS.index(operand)] += carried.energy_pj
    compute = compute_cycles(batch, nest)
    by_memory = np.array([memory_cycles(batch, i, i, analysis.moved) for i in range(shape[0])])
    cost = price(batch, nest, analysis.moved)
    return LayerCost(
        layer=layer,
        mapping=analysis.mapping,
        compute_cycles=float(compute),
        cycles=cost.cycles,
        bound_by="compute" if compute >= by_memory.max() else machine.memories[int(by_memory.argmax())].name,
        utilization=layer.operations / (machine.pes * cost.cycles),
        mac_energy_pj=layer.operations * mac_energy_pj(layer, machine),
        leakage_pj=leakage(batch, instances, cost.cycles),
        energy_pj=energy,
        reads=reads,
        writes=writes,
        tile_words=tiles,
        memory_cycles=by_memory,
        bytes_used=cost.bytes_used,
    )


def smallest_need(layer: Layer, machine: Accelerator) -> tuple[float, str]:
    """Returns why a layer has no valid mapping on a machine: relative excess (> 0), and memory, need and capacity.

    The smallest tile of a memory is one word of each operand that it holds, times what no loop outside it can run.
    Of a machine of several parts it is the need of each, and the least excess.
    """
    if isinstance(machine, System):
        needs = {label: smallest_need(layer, part) for label, part in machine.parts}
        reasons = "; ".join(f"{label}: {reason}" for label, (_, reason) in needs.items())
        return min(excess for excess, _ in needs.values()), f"layer {layer.name} fits on no part: {reasons}"
    bits = dict(zip(OPERANDS, machine.bits_of(layer), strict=True))
    excess, text = 1.0, f"layer {layer.name} has no valid mapping on {machine.name}"
    wide = too_wide(layer, machine)
    if wide is not None:
        return wide[0], f"{text}: {wide[1]}"
    flow = machine.dataflow if layer.has_weights else DATA_MOVER
    left: dict[str, Any] = dict(zip(DIMS, layer.bounds, strict=True))
    # A level's loops belong to all of its memories, so the last of them decides.
    for level in levels_of(machine):
        for memory in (machine.memories[i] for i in level):
            words = dict(zip(OPERANDS, replace(layer, **left).words, strict=True))
            needed = sum(words[operand] * bits[operand] for operand in memory.holds)
            if needed > memory.usable_bits:
                excess = max(1.0, needed / max(memory.usable_bits, 1.0) - 1)
                what = "one word each" if max(left.values()) == 1 else "the smallest tile"
                text += f": {memory.name} needs {needed / 8:g} bytes for {what} and has {memory.usable_bits / 8:g}"
                return excess, text
        last = machine.memories[level[-1]]
        for dim in DIMS:
            lanes = (last.fanout_x if dim in flow.x else 1) * (last.fanout_y if dim in flow.y else 1)
            outside = any(dim in machine.memories[i].loops for i in level)
            left[dim] = 1 if outside else -(-left[dim] // lanes)
    return excess, text
