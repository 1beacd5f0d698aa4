"""From words moved to cycles and energy, elementwise over ``(pair, candidate)``, numpy or torch, or on plain numbers.

Accesses are words over words per access, and fills are what the formulas give. Timeloop rounds an instance's accesses
up to whole blocks and its fills down to whole words first; coevo does not, so that energy stays differentiable and
its optimum provable. On Timeloop's own records the difference is at most 2e-6 of the energy. Cycles are rounded up,
as the last step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coevo.arrays import namespace
from coevo.cost.batch import Batch
from coevo.cost.nest import Array, Nest, Traffic, lanes, product
from coevo.cost.refill import refill_cycles

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


def price(batch: Batch, nest: Nest, moved: Moved, *, whole_cycles: bool = True) -> Price:
    """Returns energy and cycles of mappings; without ``whole_cycles`` cycles are not rounded up, nor in the leakage."""
    cycles = compute_cycles(batch, nest)
    energy = batch.layers.operations * batch.machines.mac_energy_pj
    bits: Array = 0.0
    instances = level_instances(batch, nest)
    for memory, level in memory_levels(batch):
        if batch.structure.on_chip[memory]:
            bits = bits + tile_bits(batch, memory, level, moved) * instances[level]
        cycles = larger(cycles, memory_cycles(batch, memory, level, moved))
        paying = accessed(batch, memory, instances[level])
        for operand in batch.structure.holds[memory]:
            if (level, operand) in moved:
                energy = energy + access_energy(batch, memory, operand, moved[level, operand]) * paying
    if whole_cycles:
        cycles = round_up(cycles)
    energy = energy + leakage(batch, instances, cycles)
    return Price(energy, cycles, bits / 8)


def compute_cycles(batch: Batch, nest: Nest) -> Array:
    """Cycles of the array: one for each temporal iteration, and what refilling it costs (`coevo.cost.refill`)."""
    structure, machines = batch.structure, batch.machines
    cycles = product(loop.bound for loop in nest if not loop.spatial)
    stays = structure.dataflow.stationary
    if structure.array is None or stays is None:
        return cycles
    count, window = len(structure.levels), batch.layers.window
    return cycles + refill_cycles(
        nest, structure.array, stays, structure.homes, count, window, machines.fold_cycles, machines.bus_time
    )


def larger(a: Array, b: Array) -> Array:
    """Returns the larger of each two; either may be a plain number."""
    if isinstance(a, int | float) and isinstance(b, int | float):
        return max(a, b)
    return namespace(b if isinstance(a, int | float) else a).where(a > b, a, b)


def round_up(x: Array) -> Array:
    """Returns the least whole number that is no less, but for the rounding of sums (1e-12)."""
    x = x * (1 - 1e-12)
    return float(math.ceil(x)) if isinstance(x, int | float) else namespace(x).ceil(x)


def memory_levels(batch: Batch) -> list[tuple[int, int]]:
    """(memory, its level) of every memory."""
    return [(memory, level) for level, group in enumerate(batch.structure.levels) for memory in group]


def level_instances(batch: Batch, nest: Nest) -> list[Array]:
    """Instances in use of every level, then of the multipliers: the spatial loops outside it."""
    return [lanes(nest, level) for level in range(len(batch.structure.levels) + 1)]


def accessed(batch: Batch, memory: int, instances: Array) -> Array:
    """Instances that pay for an access: of those that share accesses, one for all."""
    clusters = batch.machines.clusters[memory]
    return instances if clusters is None else instances - (instances - clusters) * (instances > clusters)


def access_energy(batch: Batch, memory: int, operand: str, moved: Traffic) -> Array:
    """Energy of one instance's accesses [pJ]."""
    machines = batch.machines
    spent = moved.reads * machines.read_energy_pj[memory] + moved.fills * machines.write_energy_pj[memory]
    if operand == "outputs":
        spent = spent + moved.updates * machines.update_energy_pj[memory]
    return spent * machines.per_word[memory, operand]


def memory_cycles(batch: Batch, memory: int, level: int, moved: Moved) -> Array:
    """Cycles that one instance needs to move its words: the slowest of read, write and shared bandwidth."""
    machines = batch.machines
    read: Array = 0.0
    write: Array = 0.0
    shared: Array = 0.0
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
    return larger(larger(read, write), shared)


def leakage(batch: Batch, instances: Sequence[Array], cycles: Array) -> Array:
    """Static energy of all instances in use over the layer's cycles [pJ]; what is unused is power-gated."""
    per_cycle: Array = 0.0
    for memory, level in memory_levels(batch):
        per_cycle = per_cycle + batch.machines.leakage_pj[memory] * instances[level]
    return (per_cycle + batch.machines.leakage_pj[-1] * instances[-1]) * cycles


def fits(batch: Batch, moved: Moved) -> Array:
    """Whether every memory holds the tiles of all its operands."""
    result: Array = True
    for memory, level in memory_levels(batch):
        result = result & (tile_bits(batch, memory, level, moved) <= batch.machines.usable_bits[memory])
    return result


def tile_bits(batch: Batch, memory: int, level: int, moved: Moved) -> Array:
    """Bits that the tiles of one instance take."""
    bits: Array = 0.0
    for operand in batch.structure.holds[memory]:
        if (level, operand) in moved:
            bits = bits + moved[level, operand].tile * batch.machines.bits[operand]
    return bits
