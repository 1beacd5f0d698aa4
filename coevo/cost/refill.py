"""What an array loses between two tiles of its stationary operand, when buses fill it and nothing is double-buffered.

A processing element that has a single place for its weights cannot take in the next ones while it still works with
the last. So whenever the stationary operand's tile changes (a fold, `coevo.cost.systolic`; a *processing pass* of
Eyeriss), the array runs empty and starts again: it takes in the tile of its stationary operand, then the first
window of the streaming one, and at the end its last results leave:

    cycles = compute cycles of the nest + folds * (weights / width + inputs / width + outputs / width)

with the words that all lanes together hold of each operand (what several lanes hold crosses the bus once: multicast)
and the words a cycle that the bus of that operand carries. All that follows within the pass overlaps with computing
and is the bandwidths' business. A systolic array is the same with `coevo.cost.systolic.overhead` for the term in
brackets. Nothing here is fitted: tiles come from the mapping, widths from the chip's description.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from coevo.accelerator.machine import Accelerator
from coevo.cost.systolic import mapping_folds
from coevo.mapping import Mapping
from coevo.workload import DIMS, OPERANDS, Layer


@dataclass(frozen=True)
class Buses:
    """Width of the buses between an array and the memory above it.

    Attributes:
        weights, inputs: Into the array [word/cycle]; infinite where filling is hidden.
        outputs: Out of it [word/cycle].
    """

    weights: float
    inputs: float
    outputs: float


def refill_cycles(layer: Layer, machine: Accelerator, mapping: Mapping, array: int, buses: Buses) -> float:
    """Returns the cycles that a mapping loses to refilling the array [cycle].

    Args:
        layer: The layer.
        machine: The machine; its dataflow says what is stationary.
        mapping: One level per memory of the machine.
        array: Index of the memory whose fan-out is the array.
        buses: Their widths.

    Raises:
        ValueError: The machine's dataflow keeps no operand in the array.
    """
    kept = machine.dataflow.stationary
    if kept is None:
        raise ValueError(f"dataflow {machine.dataflow.name} of {machine.name} has no stationary operand")
    weights, inputs, outputs = held_words(layer, machine, mapping, array)
    once = weights / buses.weights + inputs / buses.inputs + outputs / buses.outputs
    return mapping_folds(mapping, kept, _home(machine, array, kept)) * once


def held_words(layer: Layer, machine: Accelerator, mapping: Mapping, array: int) -> tuple[int, ...]:
    """Returns the distinct words that all lanes of an array hold at a time ``(operand,)``."""
    words = []
    for i, operand in enumerate(OPERANDS):
        home = _home(machine, array, operand)
        extent: dict[str, Any] = {
            dim: min(bound, _extent(mapping, array, home, dim)) for dim, bound in zip(DIMS, layer.bounds, strict=True)
        }
        words.append(replace(layer, **extent).words[i])
    return tuple(words)


def _home(machine: Accelerator, array: int, operand: str) -> int:
    """The innermost memory inside the array that holds an operand; one past the last if none does."""
    inside = [i for i, memory in enumerate(machine.memories) if i > array and operand in memory.holds]
    return inside[-1] if inside else len(machine.memories)


def _extent(mapping: Mapping, array: int, home: int, dim: str) -> int:
    """Iterations over a dim that the lanes' tiles of one memory span together."""
    lanes = [loop for level in mapping.levels[array:] for loop in (*level.x, *level.y)]
    tile = [loop for level in mapping.levels[home:] for loop in level.temporal]
    return math.prod(bound for name, bound in (*lanes, *tile) if name == dim)
