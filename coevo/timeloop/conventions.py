"""What a layer is to Timeloop: its conventions, and a machine as it sees it."""

from __future__ import annotations

from dataclasses import replace

from coevo.accelerator.machine import Accelerator
from coevo.accelerator.system import System
from coevo.errors import SpecError
from coevo.workload import Layer, Workload

CONVENTIONS = (
    "no cycles for filling and draining the array: transfers overlap with work",
    "nothing stays on chip from one layer to the next: every layer's inputs and outputs pass DRAM",
    "no data movers: layers that do not multiply (pooling, addition, norms) are left out",
)
"""Where Timeloop's figures differ from ours by definition."""


def machine_seen(machine: Accelerator) -> Accelerator:
    """Returns a machine whose arrays fill and drain at no cost.

    Raises:
        SpecError: It has several parts.
    """
    if isinstance(machine, System):
        raise SpecError(f"{machine.name} is several accelerators on one chip, which Timeloop is not told of")
    never = (float("inf"),) * 3
    memories = tuple(replace(memory, systolic=False, bus_words_per_cycle=never) for memory in machine.memories)
    return replace(machine, memories=memories)


def layers_seen(workload: Workload) -> list[Layer]:
    """Returns the layers that multiply, in order, as if nothing stayed on chip between them."""
    return [replace(layer, kept=(), follows=False) for layer in workload.layers if layer.has_weights]
