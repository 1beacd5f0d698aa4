"""A layer on a machine in Timeloop's terms: one-letter dims, tensors, and words of one width.

What Timeloop cannot say is said otherwise, so that its figures are ours:

* Words. A Timeloop memory counts all tensors in words of one width; ours have a width per operand. Where these differ,
  a Timeloop word is their greatest common divisor, and a word of an operand is several of those, its pieces: one more
  dim of the problem, spread over that many times more multipliers, each of which pays its share of the energy.
* Idle iterations. Timeloop's factors of a dim multiply to its bound; ours may cover more. The problem is then as large
  as the mapping, and the multipliers' energy is spread over all of its iterations.
* Accesses. Timeloop charges whole accesses of several words; a word here is an access of its own, at its share of the
  energy, since we do not round either.
* Multipliers do not leak in Timeloop: what theirs do is charged to the innermost memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from coevo.accelerator.machine import Accelerator, Memory
from coevo.mapping import LevelMapping, Loop
from coevo.mapping import Mapping as LoopMapping
from coevo.workload import DIMS, OPERANDS, Layer

LETTERS: Mapping[str, str] = {dim: dim.upper() for dim in DIMS}
"""Timeloop's names of our dims: it takes one letter each."""

TENSORS: Mapping[str, str] = {"weights": "Weights", "inputs": "Inputs", "outputs": "Outputs"}
"""Timeloop's names of the operands."""

PIECES: Mapping[str, str] = {"weights": "W", "inputs": "I", "outputs": "O"}
"""The dim that runs over the pieces of an operand's word."""

_ROUNDING = 1e-12
"""What bandwidths are wider by: Timeloop rounds cycles up that its own arithmetic has put just above a whole number."""

Fanout = tuple[int, int]
"""Columns and rows below a memory."""


@dataclass(frozen=True)
class Nest:
    """The loops of one memory, by Timeloop's letters; a dim occurs once in time and once in space.

    Attributes:
        temporal: Outermost first.
        x, y: The fastest first.
    """

    temporal: tuple[Loop, ...]
    x: tuple[Loop, ...]
    y: tuple[Loop, ...]


@dataclass(frozen=True)
class Form:
    """A layer on a machine as Timeloop is told of it.

    Attributes:
        layer: The layer.
        machine: The machine.
        mac_energy_pj: Of one of the layer's operations [pJ].
        mapping: Whose factors the problem is to have; None for the layer's own bounds.
    """

    layer: Layer
    machine: Accelerator
    mac_energy_pj: float
    mapping: LoopMapping | None = None

    @cached_property
    def operands(self) -> tuple[str, ...]:
        """The operands that the layer has."""
        return OPERANDS if self.layer.has_weights else OPERANDS[1:]

    @cached_property
    def bits(self) -> dict[str, int]:
        """Bits of a word of each operand."""
        every = dict(zip(OPERANDS, self.machine.bits_of(self.layer), strict=True))
        return {operand: every[operand] for operand in self.operands}

    @cached_property
    def word_bits(self) -> int:
        """Bits of a Timeloop word."""
        return math.gcd(*self.bits.values())

    @cached_property
    def pieces(self) -> dict[str, int]:
        """Timeloop words in a word of each operand, where they are several."""
        counts = {operand: bits // self.word_bits for operand, bits in self.bits.items()}
        return {operand: count for operand, count in counts.items() if count > 1}

    @cached_property
    def bounds(self) -> dict[str, int]:
        """Bounds of the problem by letter, pieces included."""
        extents = self.layer.bounds if self.mapping is None else self.mapping.extents()
        bounds = {LETTERS[dim]: bound for dim, bound in zip(DIMS, extents, strict=True)}
        return bounds | {PIECES[operand]: count for operand, count in self.pieces.items()}

    @cached_property
    def computes(self) -> int:
        """Operations that Timeloop counts: idle iterations and pieces included."""
        return math.prod(self.bounds.values())

    @cached_property
    def compute_energy_pj(self) -> float:
        """Energy of one of these [pJ]."""
        return self.mac_energy_pj * self.layer.operations / self.computes

    def holds(self, memory: Memory) -> list[str]:
        """Operands of the layer that a memory holds."""
        return [operand for operand in self.operands if operand in memory.holds]

    def words(self, memory: Memory) -> int | None:
        """Capacity of a memory [Timeloop word], None if unbounded."""
        return None if math.isinf(memory.size_bits) else int(memory.size_bits // self.word_bits)

    def bandwidth(self, memory: Memory, words_per_cycle: float) -> float:
        """A memory's bandwidth [Timeloop word/cycle]."""
        return words_per_cycle * memory.word_bits / self.word_bits * (1 + _ROUNDING)

    def word_energy_pj(self, memory: Memory, access_energy_pj: float) -> float:
        """What a Timeloop word costs of a memory's access [pJ]."""
        return access_energy_pj * self.word_bits / (memory.word_bits * memory.words_per_access)

    def leakage_pj(self, level: int) -> float:
        """What an instance of a memory leaks in a cycle [pJ]; the innermost with the multipliers in use below it."""
        per_cycle = 1e3 / self.machine.clock_mhz  # mW x cycles / MHz = nJ
        leakage = self.machine.memories[level].leakage_mw
        if level == len(self.machine.memories) - 1:
            leakage += self.machine.mac.leakage_mw * self._multipliers
        return leakage * per_cycle

    @property
    def _multipliers(self) -> int:
        """Multipliers in use below one instance of the innermost memory."""
        last = self.machine.memories[-1]
        if self.mapping is None:
            return last.fanout_x * last.fanout_y
        level = self.mapping.levels[-1]
        return math.prod(bound for _, bound in (*level.x, *level.y))

    @cached_property
    def nests(self) -> list[Nest]:
        """The mapping's loops by memory, outermost first.

        Raises:
            ValueError: There is no mapping, or a memory runs a dim in two places among others, which Timeloop cannot.
        """
        if self.mapping is None:
            raise ValueError(f"layer {self.layer.name}: no mapping")
        nests = [_nest(self.layer.name, level) for level in self.mapping.levels]
        inner = nests[-1]
        pieces = tuple((PIECES[operand], count) for operand, count in self.pieces.items())
        return [*nests[:-1], Nest(inner.temporal, (*pieces, *inner.x), inner.y)]

    def check(self) -> None:
        """Raises ValueError where Timeloop cannot run the mapping's loops, as `nests` says."""
        len(self.nests)

    @cached_property
    def fanouts(self) -> list[Fanout]:
        """Columns and rows below one instance of each memory ``(memory,)``.

        Rows are laid beside the columns where a dim runs along both, which Timeloop's spatial loops cannot; what
        lanes share does not hang on where they stand.
        """
        memories = self.machine.memories
        levels = self.mapping.levels if self.mapping is not None else [LevelMapping(x.name) for x in memories]
        sizes = [
            (memory.fanout_x * memory.fanout_y, 1) if _both(level) else (memory.fanout_x, memory.fanout_y)
            for memory, level in zip(memories, levels, strict=True)
        ]
        return [*sizes[:-1], (sizes[-1][0] * math.prod(self.pieces.values()), sizes[-1][1])]

    @cached_property
    def meshes(self) -> list[Fanout]:
        """Columns and rows of instances of each memory, then of the multipliers, over the whole chip."""
        result = [(1, 1)]
        for x, y in self.fanouts:
            result.append((result[-1][0] * x, result[-1][1] * y))
        return result

    @cached_property
    def compute_name(self) -> str:
        """What the multipliers are called: as no memory is."""
        names = {memory.name for memory in self.machine.memories}
        return next(name for name in ("mac", "multipliers", "mac_unit", "multiplier_array") if name not in names)


def _both(level: LevelMapping) -> bool:
    """Whether a dim runs along columns and rows."""
    return bool({dim for dim, bound in level.x if bound > 1} & {dim for dim, bound in level.y if bound > 1})


def _nest(layer: str, level: LevelMapping) -> Nest:
    temporal = _merged(level.temporal)
    x, y = (_gathered(_merged(axis)) for axis in (level.x, level.y))
    if _both(level):
        x, y = _gathered((*x, *y)), ()
    dims = [dim for dim, _ in temporal]
    for dim in dims:
        if dims.count(dim) > 1:
            raise ValueError(
                f"layer {layer}: {level.memory} runs {dim.lower()} in two places, with another loop between them; "
                "Timeloop runs a dim once per memory"
            )
    return Nest(temporal, x, y)


def _merged(loops: tuple[Loop, ...]) -> tuple[Loop, ...]:
    """The loops that iterate, by letter; neighbours over one dim become one loop."""
    result: list[Loop] = []
    for dim, bound in loops:
        if bound == 1:
            continue
        letter = LETTERS[dim]
        if result and result[-1][0] == letter:
            result[-1] = (letter, result[-1][1] * bound)
        else:
            result.append((letter, bound))
    return tuple(result)


def _gathered(loops: tuple[Loop, ...]) -> tuple[Loop, ...]:
    """Spatial loops with one loop per dim: lanes stand elsewhere, but the same lanes are in use."""
    bounds: dict[str, int] = {}
    for letter, bound in loops:
        bounds[letter] = bounds.get(letter, 1) * bound
    return tuple(bounds.items())
