"""What must hold of a built machine that did not come from a template (a design file): templates are checked closer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from coevo.accelerator.machine import Accelerator, Memory
from coevo.errors import near
from coevo.library import FieldPath
from coevo.workload import DIMS, OPERANDS

MAX_MULTIPLIERS = 1 << 20
"""Most multipliers of a machine; sixteen times TPU v1's."""

MAX_BITS = 64
"""Widest word of an operand."""

Flaw = tuple[FieldPath, str]
"""Where something is wrong, and what is wrong with it."""

_COSTS = ("_pj", "_mw", "_mm2")
"""Ends of the names of figures that may be zero."""

_UNBOUNDED = ("size_bits", "words_per_cycle")
"""Ends of the names of figures that may be infinite."""


def machine_flaw(machine: Accelerator) -> Flaw | None:
    """Returns the first thing that no machine has, None if all is well; the path is that within the machine."""
    for check in (_chip, _memories, _hierarchy):
        for flaw in check(machine):
            return flaw
    return None


def _chip(machine: Accelerator) -> Iterator[Flaw]:
    yield from _figures(machine, ())
    for i, bits in enumerate(machine.bits):
        if not 1 <= bits <= MAX_BITS:
            yield ("bits", i), f"must be from 1 to {MAX_BITS}, got {bits}"


def _memories(machine: Accelerator) -> Iterator[Flaw]:
    for i, memory in enumerate(machine.memories):
        yield from _figures(memory, ("memories", i))
        for field, problem in _words(memory):
            yield ("memories", i, field), problem


def _figures(part: object, path: FieldPath) -> Iterator[Flaw]:
    """Numbers that nothing has, in a dataclass and in those it is made of."""
    for field in fields(part):  # type: ignore[arg-type]  # callers pass dataclasses
        value, here = getattr(part, field.name), (*path, field.name)
        if is_dataclass(value):
            yield from _figures(value, here)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            free = field.name.endswith(_COSTS)
            if math.isnan(value) or value < 0 or (value == 0 and not free):
                yield here, f"must {'not be negative' if free else 'be positive'}, got {value:g}"
            if math.isinf(value) and not field.name.endswith(_UNBOUNDED):
                yield here, f"must be finite, got {value:g}"


def _words(memory: Memory) -> Iterator[tuple[str, str]]:
    for operand in memory.holds:
        if operand not in OPERANDS:
            yield "holds", f"unknown operand {operand!r} {near(operand, OPERANDS)}"
    if not memory.holds or len(set(memory.holds)) < len(memory.holds):
        yield "holds", f"must name one operand or more, each once, got {list(memory.holds)}"
    for dim in memory.loops:
        if dim not in DIMS:
            yield "loops", f"unknown dim {dim!r} (dims are {' '.join(DIMS)})"
    for operand, words in zip(OPERANDS, memory.bus_words_per_cycle, strict=True):
        if not words > 0:
            yield "bus_words_per_cycle", f"{operand} must be positive, got {words:g}"


def _hierarchy(machine: Accelerator) -> Iterator[Flaw]:
    if not machine.memories:
        yield ("memories",), "must list a memory or more, from DRAM inwards"
        return
    names = [memory.name for memory in machine.memories]
    for i, name in enumerate(names):
        if name in names[:i]:
            yield ("memories", i, "name"), f"two memories are called {name!r}; give this one another name"
    missing = [operand for operand in OPERANDS if operand not in machine.memories[0].holds]
    if missing:
        yield ("memories", 0, "holds"), f"no home for {', '.join(missing)}: the outermost memory must hold all operands"
    lanes = [memory.fanout_x * memory.fanout_y for memory in machine.memories]
    if machine.pes > MAX_MULTIPLIERS:
        widest = lanes.index(max(lanes))
        axis = "fanout_x" if machine.memories[widest].fanout_x >= machine.memories[widest].fanout_y else "fanout_y"
        yield (
            ("memories", widest, axis),
            f"{getattr(machine.memories[widest], axis)} makes {machine.pes} multipliers, more than {MAX_MULTIPLIERS}; "
            "make it smaller",
        )
