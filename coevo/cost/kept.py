"""Activations that stay on chip from one layer to the next: a switch (``keep_on_chip``), since Timeloop has none.

A layer that `follows` the one before it may find its inputs on chip, and leave its outputs there. What is kept lies
whole in the outermost memory on chip that holds inputs and outputs, of which there must be one instance, for as long
as either layer runs: there it is read and written (partial sums too) at that memory's energy and bandwidth, DRAM
sees nothing of it, and the tiles have that much less room.

To the model this is a machine with one memory more, beside DRAM: it holds the operands that are kept, is as large as
they are, and costs what the buffer costs. The two share one port, so their times add up (`port_cycles`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from coevo.accelerator.machine import Accelerator
from coevo.design import LayerCost
from coevo.mapping import LevelMapping, Mapping
from coevo.workload import OPERANDS, Kept, Layer

PLACE = 1
"""Where the kept operands' memory stands: right inside DRAM."""


def buffer_of(machine: Accelerator) -> int | None:
    """Returns the memory that activations can stay in, None if there is none."""
    for i, memory in enumerate(machine.memories):
        if memory.kind != "dram" and {"inputs", "outputs"} <= set(memory.holds):
            return i if machine.instances[i] == 1 and machine.memories[0].kind == "dram" else None
    return None


def kept_bits(layer: Layer, machine: Accelerator) -> float:
    """Returns the room that a layer's kept operands take [bit]."""
    bits = machine.bits_of(layer)
    return float(sum(layer.words[OPERANDS.index(x)] * bits[OPERANDS.index(x)] for x in layer.kept))


def keeping_machine(layer: Layer, machine: Accelerator) -> Accelerator | None:
    """Returns the machine as a layer sees it that keeps operands on chip, None if they do not fit."""
    if not layer.kept:
        return machine
    at, taken = buffer_of(machine), kept_bits(layer, machine)
    if at is None or taken >= machine.memories[at].size_bits:
        return None
    buffer, dram = machine.memories[at], machine.memories[0]
    memories = [
        replace(memory, holds=tuple(x for x in memory.holds if x not in layer.kept)) if i <= at else memory
        for i, memory in enumerate(machine.memories)
    ]
    memories[at] = replace(memories[at], size_bits=buffer.size_bits - taken)
    place = replace(
        buffer,
        name=f"{buffer.name}: kept",
        holds=layer.kept,
        size_bits=taken,
        double_buffered=False,
        leakage_mw=0.0,
        area_mm2=0.0,
        fanout_x=1,
        fanout_y=1,
        loops=dram.loops,
        systolic=False,
        bus_words_per_cycle=(math.inf, math.inf, math.inf),
    )
    return replace(machine, memories=(*memories[:PLACE], place, *memories[PLACE:]))


def with_place(mapping: Mapping, machine: Accelerator) -> Mapping:
    """Returns a mapping for the machine that `keeping_machine` returns."""
    levels = mapping.levels
    return Mapping((*levels[:PLACE], LevelMapping(machine.memories[PLACE].name), *levels[PLACE:]))


def without_place(mapping: Mapping) -> Mapping:
    """Returns a mapping of that machine as one of the machine itself: loops beside DRAM are DRAM's."""
    dram, place = mapping.levels[:2]
    dram = replace(dram, temporal=(*dram.temporal, *place.temporal))
    return Mapping((dram, *mapping.levels[PLACE + 1 :]))


def port_cycles(cost: LayerCost, machine: Accelerator) -> float:
    """Returns the cycles in which a buffer moves what it keeps and what its tiles need, through one port [cycle].

    Args:
        cost: On the machine that `keeping_machine` returns.
        machine: The machine itself.
    """
    at = buffer_of(machine)
    if at is None:
        return 0.0
    memory, bits = machine.memories[at], np.array(machine.bits_of(cost.layer))
    reads, writes = (
        float((words[[PLACE, at + 1]] * bits).sum()) / memory.word_bits for words in (cost.reads, cost.writes)
    )
    return max(
        reads / memory.read_words_per_cycle,
        writes / memory.write_words_per_cycle,
        (reads + writes) / memory.words_per_cycle,
    )


def folded(cost: LayerCost, layer: Layer, machine: Accelerator) -> LayerCost:
    """Returns the cost on the machine itself: what is kept counts as the buffer's; cycles by the port they share.

    Args:
        cost: On the machine that `keeping_machine` returns.
        layer: The layer.
        machine: The machine itself.
    """
    at = buffer_of(machine) or 0
    port = port_cycles(cost, machine)
    by_memory = np.delete(cost.memory_cycles, PLACE)
    by_memory[at] = max(by_memory[at], cost.memory_cycles[PLACE], port)
    cycles = max(cost.cycles, float(math.ceil(port * (1 - 1e-12))))
    slowest = int(by_memory.argmax())
    return replace(
        cost,
        layer=layer,
        mapping=without_place(cost.mapping),
        cycles=cycles,
        bound_by="compute" if cost.compute_cycles >= by_memory[slowest] else machine.memories[slowest].name,
        utilization=cost.utilization * cost.cycles / cycles,
        leakage_pj=cost.leakage_pj * cycles / cost.cycles,
        energy_pj=_added(cost.energy_pj, at),
        reads=_added(cost.reads, at),
        writes=_added(cost.writes, at),
        tile_words=_added(cost.tile_words, at),
        memory_cycles=by_memory,
    )


def _added(figures: NDArray[np.float64], at: int) -> NDArray[np.float64]:
    """Returns figures ``(memory, operand)`` with those of the kept operands' memory added to the buffer's."""
    result = np.delete(figures, PLACE, axis=0)
    result[at] += figures[PLACE]
    return result


def choices(layer: Layer, followed: bool) -> list[Layer]:
    """Returns a layer with every set of operands that it may keep: inputs if it follows, outputs if followed."""
    inputs: list[Kept] = [(), ("inputs",)] if layer.follows else [()]
    outputs: list[Kept] = [(), ("outputs",)] if followed else [()]
    return [replace(layer, kept=(*first, *last)) for first in inputs for last in outputs]


def best_chain(values: Sequence[dict[Kept, float]]) -> list[Kept]:
    """Returns what each layer keeps so that the sum of the layers' values is least (dynamic programming).

    Args:
        values: By layer, the value under each set of kept operands; infinite where they do not fit. Outputs that one
            layer keeps are inputs that the next one keeps.
    """
    best: dict[bool, tuple[float, list[Kept]]] = {False: (0.0, [])}
    for at in values:
        after: dict[bool, tuple[float, list[Kept]]] = {}
        for kept, value in at.items():
            before = best.get("inputs" in kept)
            if before is None:
                continue
            total = before[0] + value
            stays = "outputs" in kept
            if stays not in after or total < after[stays][0]:
                after[stays] = total, [*before[1], kept]
        best = after
    return best[False][1]
