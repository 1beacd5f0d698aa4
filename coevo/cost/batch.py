"""Pairs of (layer, accelerator) as arrays, so that one formula scores them all at once.

Accelerators of one batch share their `Structure` (which memories hold what, where the fan-outs are, the
dataflow); sizes, bandwidths and energies differ per pair and are arrays ``(pair, 1)``, to broadcast against
``(pair, candidate)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from coevo.accelerator.machine import DATA_MOVER, Accelerator, Dataflow, Memory
from coevo.accelerator.system import System
from coevo.cost.nest import Array, Window
from coevo.cost.precision import mac_energy_pj
from coevo.cost.refill import bus_cycles_per_bit, fold_cycles, refilled_array, refills
from coevo.workload import DIMS, OPERANDS, Layer


@dataclass(frozen=True)
class Structure:
    """What the machines of a batch have in common.

    Attributes:
        names: Of the memories, outermost first.
        on_chip: Whether each is on the chip.
        holds: The operands that each memory holds.
        levels: Memory indices by level.
        fans: The levels with a fan-out below them.
        dataflow: What may unroll and what stays.
        array: The memory above an array that runs empty when its stationary operand changes, None if there is none.
    """

    names: tuple[str, ...]
    on_chip: tuple[bool, ...]
    holds: tuple[tuple[str, ...], ...]
    levels: tuple[tuple[int, ...], ...]
    fans: tuple[int, ...]
    dataflow: Dataflow
    array: int | None

    @cached_property
    def homes(self) -> Mapping[str, tuple[int, ...]]:
        """The levels that hold each operand, outermost first."""
        return {
            operand: tuple(
                i for i, level in enumerate(self.levels) if any(operand in self.holds[memory] for memory in level)
            )
            for operand in OPERANDS
        }

    def memory(self, level: int, operand: str) -> int:
        """The memory of a level that holds an operand."""
        return next(memory for memory in self.levels[level] if operand in self.holds[memory])


def structure_of(machine: Accelerator, has_weights: bool) -> Structure:
    """Returns a machine's structure, every memory a level of its own."""
    flow = machine.dataflow if has_weights else DATA_MOVER
    count = len(machine.memories)
    return Structure(
        names=tuple(memory.name for memory in machine.memories),
        on_chip=tuple(memory.kind != "dram" for memory in machine.memories),
        holds=tuple(tuple(memory.holds) for memory in machine.memories),
        levels=tuple((i,) for i in range(count)),
        fans=tuple(i for i, memory in enumerate(machine.memories) if _fans_out(memory)),
        dataflow=flow,
        array=refilled_array(machine, flow),
    )


def levels_of(machine: Accelerator) -> tuple[tuple[int, ...], ...]:
    """Returns memory indices by the mapper's levels: with one set of loops in common (`coevo.cost.mapper`).

    Levels part below a fan-out, below a memory whose array runs empty (even if of one lane: loops inside do not
    refill it), and where an operand is held again.

    Raises:
        TypeError: The machine is several accelerators; a layer is mapped on one of them.
    """
    if isinstance(machine, System):
        raise TypeError(f"{machine.name} has several parts; layers are mapped on one of {', '.join(machine.rows)}")
    levels: list[list[int]] = []
    for i, memory in enumerate(machine.memories):
        before = machine.memories[levels[-1][-1]] if levels else None
        held = {operand for j in levels[-1] for operand in machine.memories[j].holds} if levels else set()
        apart = before is None or _fans_out(before) or refills(before) or held & set(memory.holds)
        if apart:
            levels.append([i])
        else:
            levels[-1].append(i)
    return tuple(tuple(level) for level in levels)


def _fans_out(memory: Memory) -> bool:
    return memory.fanout_x * memory.fanout_y > 1


@dataclass(frozen=True)
class Layers:
    """Layers of a batch, arrays ``(pair, 1)``.

    Attributes:
        bounds: Loop bounds ``(dim, pair, 1)``, by index in `DIMS`.
        window: Strides, dilations, and whether there are weights.
        operations: Points of the loop nest.
        words: Distinct words by operand.
    """

    bounds: Array
    window: Window
    operations: Array
    words: Mapping[str, Array]

    @cached_property
    def present(self) -> tuple[str, ...]:
        """Dims whose bound exceeds 1 in some pair; loops over the others are left out."""
        return tuple(dim for dim, bound in zip(DIMS, self.bounds, strict=True) if float(bound.max()) > 1)


Column = Callable[[Sequence[float]], Any]
"""Turns figures, one for each item, into the form in which formulas take them."""


def _column(values: Sequence[float]) -> Array:
    return np.array(values, dtype=np.float64)[:, None]


def _alone(values: Sequence[float]) -> float:
    """The figure of a batch's one pair, as a plain number: formulas run on it many times faster than on arrays."""
    return float(values[0])


def layers_of(layers: Sequence[Layer], column: Column = _column) -> Layers:
    """Returns the layers of a batch as arrays."""
    return Layers(
        bounds=np.array([layer.bounds for layer in layers], dtype=np.float64).T[:, :, None],
        window=Window(
            stride=(column([x.stride[0] for x in layers]), column([x.stride[1] for x in layers])),
            dilation=(column([x.dilation[0] for x in layers]), column([x.dilation[1] for x in layers])),
            has_weights=column([x.has_weights for x in layers]),
        ),
        operations=column([layer.operations for layer in layers]),
        words={operand: column([layer.words[i] for layer in layers]) for i, operand in enumerate(OPERANDS)},
    )


@dataclass(frozen=True)
class Machines:
    """Figures of a batch's machines, arrays ``(pair, 1)``, lists by memory.

    Attributes:
        fanout: (x, y) by memory.
        usable_bits: Bits a tile may occupy.
        bits: Bits of a word by operand.
        per_word: Accesses that a word of an operand takes, by (memory, operand).
        clusters: Groups of instances that share an access, by memory; None where every instance has its own.
        read_energy_pj, write_energy_pj, update_energy_pj: Per access.
        read_time, write_time, shared_time: Cycles per word of an operand, by (memory, operand); None where no
            machine limits that bandwidth.
        leakage_pj: Per cycle and instance; the last entry is the multipliers'.
        mac_energy_pj: Per operation.
        fold_cycles: That a systolic array loses when its stationary operand changes; 0 if it is not systolic.
        bus_time: Cycles per word of an operand that fills or leaves the array then; None where that is hidden.
    """

    fanout: Sequence[tuple[Array, Array]]
    usable_bits: Sequence[Array]
    bits: Mapping[str, Array]
    per_word: Mapping[tuple[int, str], Array]
    clusters: Sequence[Array | None]
    read_energy_pj: Sequence[Array]
    write_energy_pj: Sequence[Array]
    update_energy_pj: Sequence[Array]
    read_time: Mapping[tuple[int, str], Array | None]
    write_time: Mapping[tuple[int, str], Array | None]
    shared_time: Mapping[tuple[int, str], Array | None]
    leakage_pj: Sequence[Array]
    mac_energy_pj: Array
    fold_cycles: Array
    bus_time: Mapping[str, Array | None]


def machines_of(machines: Sequence[Accelerator], layers: Sequence[Layer]) -> Machines:
    """Returns the machines of a batch, one for each of ``layers``, as arrays."""
    # Many pairs share a machine: its figures are read once and then spread over the pairs.
    index: dict[str, int] = {}
    which = np.array([index.setdefault(machine.key, len(index)) for machine in machines])
    different = [machines[int(i)] for i in np.unique(which, return_index=True)[1]]
    words = [m.bits_of(x) for x, m in zip(layers, machines, strict=True)]
    bits = {operand: _column([width[i] for width in words]) for i, operand in enumerate(OPERANDS)}
    energy = _column([mac_energy_pj(x, m) for x, m in zip(layers, machines, strict=True)])
    return _figures(different, bits, energy, lambda values: np.array(values, dtype=np.float64)[which, None])


def _figures(machines: Sequence[Accelerator], bits: Mapping[str, Any], mac_energy: Any, column: Column) -> Machines:
    """Returns the machines' figures.

    Args:
        machines: Alike in structure.
        bits: Bits of a word by operand.
        mac_energy: Per operation [pJ].
        column: Turns one figure per machine into the form that ``bits`` has.
    """

    def times(memory: int, operand: str, bandwidth: str) -> Any | None:
        limits = [getattr(m.memories[memory], bandwidth) for m in machines]
        if all(math.isinf(limit) for limit in limits):
            return None
        return bits[operand] / column([m.memories[memory].word_bits for m in machines]) / column(limits)

    count = range(len(machines[0].memories))
    held = [(i, operand) for i in count for operand in machines[0].memories[i].holds]
    memories = [[m.memories[i] for m in machines] for i in count]
    # mW x cycles / MHz = nJ
    leakage = [column([1e3 * m.memories[i].leakage_mw / m.clock_mhz for m in machines]) for i in count]
    leakage.append(column([1e3 * m.mac.leakage_mw / m.clock_mhz for m in machines]))
    return Machines(
        fanout=[(column([x.fanout_x for x in level]), column([x.fanout_y for x in level])) for level in memories],
        usable_bits=[column([memory.usable_bits for memory in level]) for level in memories],
        bits=bits,
        per_word={
            (i, operand): bits[operand] / column([x.word_bits * x.words_per_access for x in memories[i]])
            for i, operand in held
        },
        clusters=[
            column([m.instances[i] // m.memories[i].cluster_size for m in machines])
            if any(x.cluster_size > 1 for x in memories[i])
            else None
            for i in count
        ],
        read_energy_pj=[column([x.read_energy_pj for x in level]) for level in memories],
        write_energy_pj=[column([x.write_energy_pj for x in level]) for level in memories],
        update_energy_pj=[column([x.energy_of_update_pj for x in level]) for level in memories],
        read_time={key: times(*key, "read_words_per_cycle") for key in held},
        write_time={key: times(*key, "write_words_per_cycle") for key in held},
        shared_time={key: times(*key, "words_per_cycle") for key in held},
        leakage_pj=leakage,
        mac_energy_pj=mac_energy,
        fold_cycles=column([fold_cycles(m) for m in machines]),
        bus_time={operand: _bus_time(machines, operand, bits, column) for operand in OPERANDS},
    )


def _bus_time(machines: Sequence[Accelerator], operand: str, bits: Mapping[str, Any], column: Column) -> Any | None:
    per_bit = [bus_cycles_per_bit(machine)[OPERANDS.index(operand)] for machine in machines]
    return bits[operand] * column(per_bit) if any(per_bit) else None


@dataclass(frozen=True)
class Batch:
    """Pairs of one structure.

    Attributes:
        structure: Shared.
        layers: ``(pair, 1)``.
        machines: ``(pair, 1)``.
    """

    structure: Structure
    layers: Layers
    machines: Machines

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return int(self.layers.operations.shape[0])


def batch_of(pairs: Sequence[tuple[Layer, Accelerator]]) -> Batch:
    """Returns pairs of one structure as arrays."""
    layers = [layer for layer, _ in pairs]
    machines = [machine for _, machine in pairs]
    structure = structure_of(machines[0], layers[0].has_weights)
    return Batch(structure, layers_of(layers), machines_of(machines, layers))


def batch_of_one(layer: Layer, machine: Accelerator) -> Batch:
    """Returns one pair as plain numbers instead of arrays, every memory a level of its own."""
    bits = {operand: float(width) for operand, width in zip(OPERANDS, machine.bits_of(layer), strict=True)}
    structure = structure_of(machine, layer.has_weights)
    return Batch(
        structure, layers_of([layer], _alone), _figures([machine], bits, mac_energy_pj(layer, machine), _alone)
    )
