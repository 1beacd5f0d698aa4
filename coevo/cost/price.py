"""From words moved to cycles and energy, elementwise over ``(pair, candidate)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coevo.cost.batch import Batch
from coevo.cost.nest import Nest, Traffic, product

Array = NDArray[np.float64]
Moved = Mapping[tuple[int, str], Traffic]
"""Traffic by (level, operand), per instance."""


@dataclass(frozen=True)
class Price:
    """What mappings cost, each ``(pair, candidate)`` or broadcastable to it.

    Attributes:
        energy_pj: All energy [pJ].
        cycles: The slowest of compute and every memory [cycle].
        bytes_used: Bytes that the tiles occupy on chip, all instances together.
    """

    energy_pj: Array
    cycles: Array
    bytes_used: Array


def price(batch: Batch, nest: Nest, moved: Moved) -> Price:
    """Returns energy and cycles of mappings."""
    compute = product(loop.bound for loop in nest if not loop.spatial)
    cycles = compute
    energy = batch.layers.operations * batch.machines.mac_energy_pj
    bits: Array | float = 0.0
    instances = level_instances(batch, nest)
    for memory, level in memory_levels(batch):
        if batch.structure.on_chip[memory]:
            bits = bits + tile_bits(batch, memory, level, moved) * instances[level]
        cycles = np.maximum(cycles, memory_cycles(batch, memory, level, moved))
        for operand in batch.structure.holds[memory]:
            if (level, operand) in moved:
                energy = energy + access_energy(batch, memory, operand, moved[level, operand]) * instances[level]
    cycles = np.ceil(cycles)
    energy = energy + leakage(batch, instances, cycles)
    return Price(energy, cycles, np.asarray(bits) / 8)


def memory_levels(batch: Batch) -> list[tuple[int, int]]:
    """(memory, its level) of every memory."""
    return [(memory, level) for level, group in enumerate(batch.structure.levels) for memory in group]


def level_instances(batch: Batch, nest: Nest) -> list[Array]:
    """Instances in use of every level, then of the multipliers: the spatial loops outside it."""
    count = len(batch.structure.levels)
    return [product(loop.bound for loop in nest if loop.spatial and loop.level < level) for level in range(count + 1)]


def access_energy(batch: Batch, memory: int, operand: str, moved: Traffic) -> Array:
    """Energy of one instance's accesses [pJ]: whole accesses of ``words_per_access`` words each (Timeloop)."""
    reads, fills, updates = (_accesses(batch, memory, operand, x) for x in (moved.reads, moved.fills, moved.updates))
    result: Array = (
        reads * batch.machines.read_energy_pj[memory] + (fills + updates) * batch.machines.write_energy_pj[memory]
    )
    return result


def _accesses(batch: Batch, memory: int, operand: str, words: Array | float) -> Array | float:
    """Whole accesses that so many words take."""
    per_word = batch.machines.per_word[memory, operand]
    if per_word.min() == per_word.max() == 1.0:
        return words
    accesses: Array = np.ceil(words * per_word)
    return accesses


def memory_cycles(batch: Batch, memory: int, level: int, moved: Moved) -> Array:
    """Cycles that one instance needs to move its words: the slowest of read, write and shared bandwidth."""
    machines = batch.machines
    read: Array | float = 0.0
    write: Array | float = 0.0
    shared: Array | float = 0.0
    for operand in batch.structure.holds[memory]:
        words = moved.get((level, operand))
        if words is None:
            continue
        key = (memory, operand)
        if (time := machines.read_time[key]) is not None:
            read = read + words.reads * time
        if (time := machines.write_time[key]) is not None:
            write = write + words.writes * time
        if (time := machines.shared_time[key]) is not None:
            shared = shared + (words.reads + words.writes) * time
    return np.maximum(np.maximum(read, write), shared)


def leakage(batch: Batch, instances: list[Array], cycles: Array) -> Array:
    """Static energy of all instances in use over the layer's cycles [pJ]; what is unused is power-gated."""
    per_cycle: Array | float = 0.0
    for memory, level in memory_levels(batch):
        per_cycle = per_cycle + batch.machines.leakage_pj[memory] * instances[level]
    total: Array = (per_cycle + batch.machines.leakage_pj[-1] * instances[-1]) * cycles
    return total


def fits(batch: Batch, moved: Moved) -> NDArray[np.bool_]:
    """Whether every memory holds the tiles of all its operands."""
    result = np.array(True)
    for memory, level in memory_levels(batch):
        result = result & (tile_bits(batch, memory, level, moved) <= batch.machines.usable_bits[memory])
    return result


def tile_bits(batch: Batch, memory: int, level: int, moved: Moved) -> Array:
    """Bits that the tiles of one instance take."""
    bits: Array | float = 0.0
    for operand in batch.structure.holds[memory]:
        if (level, operand) in moved:
            bits = bits + moved[level, operand].tile * batch.machines.bits[operand]
    return np.asarray(bits)
