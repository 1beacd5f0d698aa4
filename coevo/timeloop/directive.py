"""What is said of each memory: what it keeps, and its loops over time and over the lanes below it.

A mapping says it all; a mapspace, which Timeloop's mapper searches, says some of it. Both formats write it alike but
for the spelling: `coevo.timeloop.flat`, `coevo.timeloop.v4`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from coevo.accelerator.machine import DATA_MOVER, Memory
from coevo.mapping import Loop
from coevo.timeloop.form import LETTERS, PIECES, TENSORS, Form
from coevo.workload import DIMS


@dataclass(frozen=True)
class Directive:
    """One thing said of a memory.

    Attributes:
        memory: The memory.
        kind: What it keeps, or its temporal or spatial loops.
        keep, bypass: Tensors that it holds, and that pass it by.
        factors: Bounds of its loops by letter; what is left out of a mapspace is free.
        order: Letters of the loops from the inside out; the same.
        split: How many of these, of a spatial directive, run along columns.
        unlinked: Tensors that lanes do not pass to each other.
    """

    memory: Memory
    kind: Literal["keep", "temporal", "spatial"]
    keep: Sequence[str] = ()
    bypass: Sequence[str] = ()
    factors: Mapping[str, int] = field(default_factory=dict)
    order: Sequence[str] = ()
    split: int = 0
    unlinked: Sequence[str] = ()

    @property
    def lanes(self) -> dict[str, Any]:
        """What both formats say of lanes in the same words."""
        split = {"split": self.split} if self.kind == "spatial" else {}
        return split | ({"no_link_transfer": list(self.unlinked)} if self.unlinked else {})


def mapping(form: Form) -> Iterator[Directive]:
    """Yields a form's mapping, outermost memory first; loops of one iteration stand outside the others."""
    for memory, nest, (columns, rows) in zip(form.machine.memories, form.nests, form.fanouts, strict=True):
        yield _kept(form, memory)
        factors, order = _loops(form, nest.temporal[::-1])
        yield Directive(memory, "temporal", factors=factors, order=order)
        if columns * rows > 1:
            factors, order = _loops(form, (*nest.x, *nest.y))
            yield Directive(
                memory, "spatial", factors=factors, order=order, split=len(nest.x), unlinked=_unlinked(form, memory)
            )


def mapspace(form: Form) -> Iterator[Directive]:
    """Yields what Timeloop's own mapper may try.

    Memories keep what they hold, loops run where they can, and the fan-outs take the dataflow's dims. What stays
    innermost (a dataflow's stationary operand) is no constraint of Timeloop's and is left to its mapper, and a dim
    that may run along columns and rows runs along columns.
    """
    for level, (memory, (columns, rows)) in enumerate(zip(form.machine.memories, form.fanouts, strict=True)):
        yield _kept(form, memory)
        if fixed := _fixed(form, memory):
            yield Directive(memory, "temporal", factors=dict.fromkeys(fixed, 1), order=fixed)
        if columns * rows > 1:
            yield _lanes(form, level)


def _kept(form: Form, memory: Memory) -> Directive:
    held = form.holds(memory)
    passing = [TENSORS[operand] for operand in form.operands if operand not in held]
    return Directive(memory, "keep", keep=[TENSORS[operand] for operand in held], bypass=passing)


def _unlinked(form: Form, memory: Memory) -> list[str]:
    return [] if memory.interconnect.links else [TENSORS[operand] for operand in form.operands]


def _loops(form: Form, inner_first: tuple[Loop, ...]) -> tuple[dict[str, int], list[str]]:
    """Factors of all dims, and their order."""
    bounds = dict(inner_first)
    factors = {letter: bounds.get(letter, 1) for letter in form.bounds}
    return factors, [*bounds, *(letter for letter in form.bounds if letter not in bounds)]


def _fixed(form: Form, memory: Memory) -> list[str]:
    """Dims of one iteration at a memory over time; with their order fixed too, there is less to search."""
    pieces = [PIECES[operand] for operand in form.pieces]
    return [LETTERS[dim] for dim in DIMS if dim not in memory.loops or form.bounds[LETTERS[dim]] == 1] + pieces


def _lanes(form: Form, level: int) -> Directive:
    """A fan-out: what may not spread is 1, and all pieces of words spread at the last."""
    flow = form.machine.dataflow if form.layer.has_weights else DATA_MOVER
    memory = form.machine.memories[level]
    last = level == len(form.machine.memories) - 1
    columns = [LETTERS[dim] for dim in flow.x if memory.fanout_x > 1]
    rows = [LETTERS[dim] for dim in flow.y if memory.fanout_y > 1 and LETTERS[dim] not in columns]
    pieces = {PIECES[operand]: count if last else 1 for operand, count in form.pieces.items()}
    ones = {LETTERS[dim]: 1 for dim in DIMS if LETTERS[dim] not in (*columns, *rows)}
    rest = [letter for letter in form.bounds if letter not in (*pieces, *columns, *rows)]
    return Directive(
        memory,
        "spatial",
        factors=ones | pieces,
        order=[*pieces, *columns, *rows, *rest],
        split=len(pieces) + len(columns),
        unlinked=_unlinked(form, memory),
    )
