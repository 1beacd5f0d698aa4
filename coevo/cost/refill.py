"""What an array loses between two tiles of its stationary operand.

A processing element that has a single place for its weights cannot take in the next ones while it still works with
the last. So whenever the stationary operand's tile changes (a *fold*, `coevo.cost.systolic`; a *processing pass* of
Eyeriss), the array runs empty and starts again: it takes in the tile of its stationary operand, then the first
window of the streaming one, and at the end its last results leave:

    cycles = compute cycles of the nest + folds * (weights / width + inputs / width + outputs / width)

with the words that all lanes together hold of each operand (what several lanes hold crosses the bus once: multicast)
and the words a cycle that the bus of that operand carries. All that follows within the pass overlaps with computing
and is the bandwidths' business. A systolic array is the same with `coevo.cost.systolic.overhead` for the term in
brackets, less one cycle a layer. Nothing here is fitted: tiles come from the mapping, widths from the machine. A
dataflow that keeps no operand in place has no folds, and so has a data mover.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from coevo.accelerator.machine import Accelerator, Dataflow, Memory
from coevo.cost.nest import Array, Nest, Tile, Window, extend
from coevo.cost.systolic import folds, overhead
from coevo.workload import OPERANDS, RELEVANT


def refilled_array(machine: Accelerator, flow: Dataflow) -> int | None:
    """Returns the memory above an array that runs empty when its stationary operand changes, None if there is none."""
    if flow.stationary is None:
        return None
    return next((i for i, memory in enumerate(machine.memories) if refills(memory)), None)


def refills(memory: Memory) -> bool:
    """Whether the array below a memory runs empty when its stationary operand changes."""
    return memory.systolic or any(math.isfinite(words) for words in memory.bus_words_per_cycle)


def fold_cycles(machine: Accelerator) -> float:
    """Returns the cycles that a systolic array, all its fan-outs together, loses per fold; 0 if there is none."""
    fanouts = [memory for memory in machine.memories if memory.systolic]
    stays: Any = machine.dataflow.stationary
    if not fanouts or stays is None:
        return 0.0
    rows, columns = math.prod(x.fanout_y for x in fanouts), math.prod(x.fanout_x for x in fanouts)
    return float(overhead(stays, rows, columns))


def bus_cycles_per_bit(machine: Accelerator) -> tuple[float, ...]:
    """Returns the cycles per bit of each operand that fills or leaves the array at a fold; 0 where that is hidden."""
    array = refilled_array(machine, machine.dataflow)
    if array is None:
        return (0.0,) * len(OPERANDS)
    memory = machine.memories[array]
    return tuple(1 / (memory.word_bits * words) for words in memory.bus_words_per_cycle)


def refill_cycles(
    nest: Nest,
    array: int,
    stays: str,
    homes: Mapping[str, Sequence[int]],
    levels: int,
    window: Window,
    once: Array,
    bus_time: Mapping[str, Array | None],
) -> Array:
    """Returns the cycles that mappings lose to refilling the array [cycle], elementwise.

    Args:
        nest: The mappings' loops, innermost first.
        array: The level above the array.
        stays: The operand that stays in it.
        homes: The levels that hold each operand, outermost first.
        levels: Number of levels.
        window: The layers'.
        once: Cycles per fold of a systolic array, 0 of another.
        bus_time: Cycles per word of each operand that fills or leaves the array at a fold, None if hidden.
    """
    lanes = [loop for loop in nest if loop.spatial and loop.level >= array]
    per_fold = once
    for operand in OPERANDS:
        time = bus_time[operand]
        if time is not None:
            home = _home(homes[operand], array, levels)
            tile = Tile(extend({}, lanes + [x for x in nest if not x.spatial and x.level >= home]), window)
            per_fold = per_fold + time * tile.words[operand]
    kept = _home(homes[stays], array, levels)
    outside = ((x.bound, x.dim in RELEVANT[stays]) for x in nest if not x.spatial and x.level < kept)
    return folds(outside) * per_fold - (once > 0) * 1.0


def _home(homes: Sequence[int], array: int, levels: int) -> int:
    """The innermost level inside the array that holds an operand; one past the last if none does."""
    inside = [level for level in homes if level > array]
    return inside[-1] if inside else levels
