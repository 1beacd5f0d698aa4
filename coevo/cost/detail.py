"""From a mapping to a `LayerCost`: the same formulas as the search, with every memory a level of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coevo.accelerator.machine import Accelerator
from coevo.cost.batch import Batch, Structure, batch_of
from coevo.cost.candidates import inner_first, x_slot, y_slot
from coevo.cost.mapper import Found
from coevo.cost.nest import Loop, traffic
from coevo.cost.price import (
    Moved,
    access_energy,
    leakage,
    level_instances,
    memory_cycles,
    memory_levels,
    price,
    tile_bits,
)
from coevo.design import LayerCost
from coevo.mapping import LevelMapping, Mapping
from coevo.workload import DIMS, OPERANDS, Layer

Array = NDArray[np.float64]


def mapping_of(structure: Structure, found: Found, pair: int) -> Mapping:
    """Returns a pair's mapping as a noun: a level's temporal loops go to the innermost of its memories."""
    count = len(structure.levels)
    factors = found.factors[:, :, pair, 0].astype(int)
    mapped = []
    for level, memories in enumerate(structure.levels):
        order = inner_first(int(found.orders[pair, level]))[::-1]
        mapped += [LevelMapping(structure.names[memory]) for memory in memories[:-1]]
        mapped.append(
            LevelMapping(
                structure.names[memories[-1]],
                _bounds(factors[level], order),
                _bounds(factors[x_slot(count, level)], structure.dataflow.x),
                _bounds(factors[y_slot(count, level)], structure.dataflow.y),
            )
        )
    return Mapping(tuple(mapped))


def _bounds(factors: NDArray[np.int64], dims: Sequence[str]) -> tuple[tuple[str, int], ...]:
    bounds = ((dim, int(factors[DIMS.index(dim)])) for dim in dims)
    return tuple((dim, bound) for dim, bound in bounds if bound > 1)


def evaluate_mapping(layer: Layer, machine: Accelerator, mapping: Mapping) -> LayerCost:
    """Scores one layer on one machine under a given mapping.

    Args:
        layer: The layer.
        machine: The machine.
        mapping: One level per memory of the machine, in its order.

    Raises:
        ValueError: The mapping does not fit layer or machine; the text says which loop or memory, how much is
            needed and how much there is.
    """
    _check_loops(layer, machine, mapping)
    batch = batch_of([(layer, machine)], merge=False)
    nest = _nest(mapping)
    moved = traffic(nest, batch.structure.homes, len(batch.structure.levels), batch.layers.window)
    _check_capacity(batch, machine, moved)
    return _layer_cost(layer, machine, mapping, batch, nest, moved)


def _nest(mapping: Mapping) -> list[Loop]:
    nest = []
    for level in reversed(range(len(mapping.levels))):
        loops = mapping.levels[level]
        for dim, bound in (*loops.x, *loops.y):
            nest.append(Loop(dim, np.full((1, 1), float(bound)), level, spatial=True))
        for dim, bound in reversed(loops.temporal):
            nest.append(Loop(dim, np.full((1, 1), float(bound)), level))
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


def _check_capacity(batch: Batch, machine: Accelerator, moved: Moved) -> None:
    for memory, level in memory_levels(batch):
        needed = float(tile_bits(batch, memory, level, moved).max())
        usable = machine.memories[memory].usable_bits
        if needed > usable:
            raise ValueError(
                f"{machine.memories[memory].name} needs {needed / 8:.0f} bytes for its tiles and has {usable / 8:.0f}"
            )


def _layer_cost(
    layer: Layer, machine: Accelerator, mapping: Mapping, batch: Batch, nest: list[Loop], moved: Moved
) -> LayerCost:
    instances = [float(np.max(count)) for count in level_instances(batch, nest)]
    shape = (len(machine.memories), len(OPERANDS))
    energy, reads, writes, tiles = (np.zeros(shape) for _ in range(4))
    for (memory, operand), words in moved.items():
        at = memory, OPERANDS.index(operand)
        energy[at] = float(np.max(access_energy(batch, memory, operand, words))) * instances[memory]
        reads[at] = float(np.max(words.reads)) * instances[memory]
        writes[at] = float(np.max(words.writes)) * instances[memory]
        tiles[at] = float(np.max(words.tile))
    compute = float(np.prod([float(np.max(loop.bound)) for loop in nest if not loop.spatial]))
    by_memory = np.array([float(np.max(memory_cycles(batch, i, i, moved))) for i in range(shape[0])])
    cost = price(batch, nest, moved)
    cycles = float(cost.cycles.max())
    return LayerCost(
        layer=layer,
        mapping=mapping,
        compute_cycles=compute,
        cycles=cycles,
        bound_by="compute" if compute >= by_memory.max() else machine.memories[int(by_memory.argmax())].name,
        utilization=layer.operations / (machine.pes * cycles),
        mac_energy_pj=layer.operations * machine.mac.energy_pj,
        leakage_pj=float(np.max(leakage(batch, level_instances(batch, nest), np.array(cycles)))),
        energy_pj=energy,
        reads=reads,
        writes=writes,
        tile_words=tiles,
        memory_cycles=by_memory,
        bytes_used=float(cost.bytes_used.max()),
    )


def smallest_need(layer: Layer, machine: Accelerator) -> tuple[float, str]:
    """Returns why a layer has no valid mapping on a machine: relative excess (> 0), and memory, need and capacity.

    The smallest tile of a memory is one word of each operand that it holds.
    """
    bits = dict(zip(OPERANDS, layer.bits or machine.bits, strict=True))
    excess, text = 1.0, f"layer {layer.name} has no valid mapping on {machine.name}"
    for memory in machine.memories:
        needed = sum(bits[operand] for operand in memory.holds if operand != "weights" or layer.has_weights)
        if needed > memory.usable_bits:
            excess = max(1.0, needed / max(memory.usable_bits, 1.0) - 1)
            text += f": {memory.name} needs {needed / 8:g} bytes for one word each and has {memory.usable_bits / 8:g}"
            break
    return excess, text
