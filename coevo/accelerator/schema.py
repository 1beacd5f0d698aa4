"""The form of an accelerator file: pydantic models for its fields, and what must hold between them.

Energies hold per access of ``words_per_access`` words; what is left out is derived (`coevo.accelerator.technology`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator

from coevo.accelerator.check import MAX_BITS, MAX_MULTIPLIERS, Flaw
from coevo.accelerator.machine import DATAFLOWS, MemoryKind
from coevo.accelerator.technology import MAX_TECHNOLOGY_NM, MIN_TECHNOLOGY_NM, DramKind, SramCell
from coevo.errors import near
from coevo.library import FieldPath
from coevo.workload import DIMS, OPERANDS

SIZES = ("size_kib", "size_bytes", "size_words")
"""The fields of which a memory gives exactly one."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Device = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:@-]*$", max_length=80)]
Positive = Annotated[float, Field(gt=0, le=1e12)]
Count = Annotated[int, Field(ge=1, le=65536)]
Bits = Annotated[int, Field(ge=1, le=MAX_BITS)]


class Strict(BaseModel):
    """Refuses fields that it does not know, values of another type and empty ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _not_empty(cls, value: object) -> object:
        """Refuses ``words_per_cycle:`` with nothing behind it, which would mean what leaving it out means."""
        if value is None:
            raise ValueError("is empty; give a value or remove the line")
        return value


class WordBits(Strict):
    """Bits of a word of each operand."""

    weights: Bits
    inputs: Bits
    outputs: Bits


class MacSpec(Strict):
    """The multiplier-accumulator and what else a processing element has besides memories."""

    energy_pj: Positive | None = None
    area_mm2: Positive | None = None
    leakage_mw: Annotated[float, Field(ge=0, le=1e12)] | None = None
    precision_scalable: bool = False


class BusWidths(Strict):
    """Words of each operand that an array's buses move in a cycle; left out: filling and draining is hidden."""

    weights: Positive | None = None
    inputs: Positive | None = None
    outputs: Positive | None = None


class PeArray(Strict):
    """Shorthand for one fan-out, x = columns and y = rows."""

    rows: Count
    columns: Count
    below: str | None = None
    systolic: bool = False
    bus_words_per_cycle: BusWidths | None = None


class Fanout(Strict):
    """Instances of what lies below one instance of a memory."""

    x: Count = 1
    y: Count = 1
    systolic: bool = False
    bus_words_per_cycle: BusWidths | None = None


class DataflowSpec(Strict):
    """A dataflow of the template's own."""

    name: Name = "own"
    x: list[str]
    y: list[str]
    stationary: str | None = None


class MemorySpec(Strict):
    """One memory; see `coevo.accelerator.machine.Memory` for the fields."""

    name: Name
    kind: MemoryKind
    dram: DramKind | None = None
    holds: Annotated[list[str], Field(min_length=1)]
    size_kib: Positive | None = None
    size_bytes: Annotated[int, Field(ge=1, le=1 << 50)] | None = None
    size_words: Annotated[int, Field(ge=1, le=1 << 50)] | None = None
    word_bits: Annotated[int, Field(ge=1, le=4096)] | None = None
    words_per_access: Annotated[int, Field(ge=1, le=4096)] = 1
    read_words_per_cycle: Positive | None = None
    write_words_per_cycle: Positive | None = None
    words_per_cycle: Positive | None = None
    double_buffered: bool = False
    read_energy_pj: Positive | None = None
    write_energy_pj: Positive | None = None
    leakage_mw: Annotated[float, Field(ge=0, le=1e12)] | None = None
    area_mm2: Positive | None = None
    fanout: Fanout | None = None
    loops: list[str] | None = None


def _form(value: object) -> Literal["short", "long"]:
    """Which form of a field is meant, so that a mistake is told of that form alone."""
    return "long" if isinstance(value, dict | BaseModel) else "short"


class ChipSpec(Strict):
    """What every chip has, of one accelerator or of several."""

    name: Name
    description: str
    technology_nm: Annotated[float, Field(ge=MIN_TECHNOLOGY_NM, le=MAX_TECHNOLOGY_NM)]
    clock_mhz: Positive
    word_bits: Annotated[Annotated[Bits, Tag("short")] | Annotated[WordBits, Tag("long")], Discriminator(_form)]
    other_area_mm2: Annotated[float, Field(ge=0, le=1e12)] = 0.0

    def bits(self) -> tuple[int, int, int]:
        """Bits of a word of (weights, inputs, outputs)."""
        words = self.word_bits
        return (words, words, words) if isinstance(words, int) else (words.weights, words.inputs, words.outputs)


class MachineSpec(ChipSpec):
    """One complete machine: an accelerator file without ``schema`` and ``vary``."""

    device: Device | None = None
    sram_cell: SramCell = "lstp"
    mac: MacSpec = MacSpec()
    pe_array: PeArray | None = None
    memories: Annotated[list[MemorySpec], Field(min_length=1)]
    dataflow: Annotated[Annotated[str, Tag("short")] | Annotated[DataflowSpec, Tag("long")], Discriminator(_form)]

    def operand_bits(self, memory: MemorySpec) -> list[int]:
        """Bits of a word of each operand that a memory holds."""
        return [self.bits()[OPERANDS.index(operand)] for operand in memory.holds]

    def memory_word_bits(self, memory: MemorySpec) -> int:
        """Bits of a memory's words: its own, or those of the widest operand it holds."""
        return memory.word_bits or max(self.operand_bits(memory))

    def size_bits(self, memory: MemorySpec) -> float:
        """Capacity of one instance [bit]; infinite for a DRAM without a size."""
        if memory.size_kib is not None:
            return memory.size_kib * 8192
        if memory.size_bytes is not None:
            return memory.size_bytes * 8
        return math.inf if memory.size_words is None else memory.size_words * self.memory_word_bits(memory)

    def array_memory(self) -> str:
        """Name of the memory whose fan-out ``pe_array`` gives: ``below``, or the innermost that is not registers."""
        if self.pe_array is not None and self.pe_array.below is not None:
            return self.pe_array.below
        return [memory.name for memory in self.memories if memory.kind != "registers"][-1]

    def fanout(self, memory: MemorySpec) -> tuple[int, int]:
        """Columns and rows below one instance of a memory."""
        if memory.fanout is not None:
            return memory.fanout.x, memory.fanout.y
        if self.pe_array is not None and memory.name == self.array_memory():
            return self.pe_array.columns, self.pe_array.rows
        return 1, 1

    def systolic(self, memory: MemorySpec) -> bool:
        """Whether the fan-out below a memory passes operands from lane to lane."""
        if memory.fanout is not None:
            return memory.fanout.systolic
        return self.pe_array is not None and memory.name == self.array_memory() and self.pe_array.systolic

    def bus_words_per_cycle(self, memory: MemorySpec) -> tuple[float, float, float]:
        """Words a cycle that fill or leave the fan-out below a memory, by operand; infinite where that is hidden."""
        given = memory.fanout or (self.pe_array if memory.name == self.array_memory() else None)
        widths = (given.bus_words_per_cycle if given is not None else None) or BusWidths()
        return widths.weights or math.inf, widths.inputs or math.inf, widths.outputs or math.inf


def find_flaw(spec: MachineSpec) -> Flaw | None:
    """Returns the first thing that does not hold between the fields, None if all is well."""
    for check in (_names, _holds, _loops, _order, _homes, _sizes, _dram, _fanouts, _dataflow):
        for flaw in check(spec):
            return flaw
    return None


def _names(spec: MachineSpec) -> Iterator[Flaw]:
    counts = Counter(memory.name for memory in spec.memories)
    for i, memory in enumerate(spec.memories):
        if counts[memory.name] > 1 and memory.name in [other.name for other in spec.memories[:i]]:
            yield ("memories", i, "name"), f"two memories are called {memory.name!r}; give this one another name"


def _holds(spec: MachineSpec) -> Iterator[Flaw]:
    for i, memory in enumerate(spec.memories):
        for operand in memory.holds:
            if operand not in OPERANDS:
                yield ("memories", i, "holds"), f"unknown operand {operand!r} {near(operand, OPERANDS)}"
        if len(set(memory.holds)) < len(memory.holds):
            yield ("memories", i, "holds"), f"{memory.holds} names an operand twice; remove one"


def _loops(spec: MachineSpec) -> Iterator[Flaw]:
    for i, memory in enumerate(spec.memories):
        dims = memory.loops or []
        for dim in dims:
            if dim not in DIMS:
                yield ("memories", i, "loops"), f"unknown dim {dim!r} (dims are {' '.join(DIMS)})"
        if len(set(dims)) < len(dims):
            yield ("memories", i, "loops"), f"{dims} names a dim twice; remove one"


def _order(spec: MachineSpec) -> Iterator[Flaw]:
    """Memories go from DRAM inwards: one DRAM, then SRAM, then registers."""
    outermost = spec.memories[0]
    if outermost.kind != "dram":
        yield (
            ("memories", 0, "kind"),
            f"memories out of order: the first must be the DRAM, {outermost.name!r} is {outermost.kind}",
        )
    rank = ("dram", "sram", "registers")
    for i, (outer, inner) in enumerate(zip(spec.memories, spec.memories[1:], strict=False), start=1):
        if inner.kind == "dram":
            yield (
                ("memories", i, "kind"),
                f"memories out of order: only the first may be dram, put {inner.name!r} first",
            )
        if rank.index(inner.kind) < rank.index(outer.kind):
            yield (
                ("memories", i, "kind"),
                f"memories out of order: {inner.kind} {inner.name!r} inside {outer.kind} {outer.name!r}; "
                "list memories from DRAM inwards",
            )


def _homes(spec: MachineSpec) -> Iterator[Flaw]:
    missing = [operand for operand in OPERANDS if operand not in spec.memories[0].holds]
    if missing:
        yield (
            ("memories", 0, "holds"),
            f"no home for {', '.join(missing)}: the outermost memory must hold weights, inputs and outputs",
        )


def _sizes(spec: MachineSpec) -> Iterator[Flaw]:
    for i, memory in enumerate(spec.memories):
        given = [name for name in SIZES if getattr(memory, name) is not None]
        if len(given) > 1:
            yield ("memories", i, given[1]), f"stands beside {given[0]}; give exactly one of {', '.join(SIZES)}"
        if not given and memory.kind != "dram":
            yield ("memories", i), f"has no size; give exactly one of {', '.join(SIZES)}"
        needed = sum(spec.operand_bits(memory))
        parts = 2 if memory.double_buffered else 1
        if given and spec.size_bits(memory) // parts < needed:
            halves = " in each half (double_buffered)" if parts == 2 else ""
            yield (
                ("memories", i, given[0]),
                f"{getattr(memory, given[0])} is too small: one word of {', '.join(memory.holds)} takes {needed} bits"
                f"{halves}, there are {spec.size_bits(memory) // parts:g}; make it larger",
            )


def _dram(spec: MachineSpec) -> Iterator[Flaw]:
    if spec.memories[0].area_mm2 is not None:
        yield ("memories", 0, "area_mm2"), f"{spec.memories[0].area_mm2}: dram is off chip and has no area; remove it"
    for i, memory in enumerate(spec.memories):
        if memory.dram is not None and memory.kind != "dram":
            yield (
                ("memories", i, "dram"),
                f"{memory.dram!r} is a kind of DRAM, but {memory.name!r} is {memory.kind}; remove it",
            )


def _fanouts(spec: MachineSpec) -> Iterator[Flaw]:
    names = [memory.name for memory in spec.memories]
    if spec.pe_array is not None:
        below = spec.array_memory()
        if below not in names:
            yield ("pe_array", "below"), f"no memory {below!r} {near(below, names)}"
        elif spec.memories[names.index(below)].fanout is not None:
            yield (
                ("memories", names.index(below), "fanout"),
                f"{below!r} has the fan-out of pe_array already; remove one, or put pe_array `below` another memory",
            )
    elif all(memory.fanout is None for memory in spec.memories):
        yield (
            ("pe_array",),
            "is missing, and no memory has a fanout: add `pe_array: {rows: ..., columns: ...}` or a memory's "
            "`fanout: {x: ..., y: ...}` (1 by 1 for a single multiplier)",
        )
    lanes = [math.prod(spec.fanout(memory)) for memory in spec.memories]
    if math.prod(lanes) > MAX_MULTIPLIERS:
        widest = lanes.index(max(lanes))
        where: FieldPath = ("memories", widest, "fanout")
        if spec.memories[widest].fanout is None:
            where = ("pe_array",)
        yield where, f"{math.prod(lanes)} multipliers are more than {MAX_MULTIPLIERS}; make the fan-outs smaller"


def _dataflow(spec: MachineSpec) -> Iterator[Flaw]:
    dataflow = spec.dataflow
    if isinstance(dataflow, str):
        if dataflow not in DATAFLOWS:
            yield ("dataflow",), f"unknown dataflow {dataflow!r} {near(dataflow, DATAFLOWS)}"
        return
    if dataflow.name in DATAFLOWS:
        yield ("dataflow", "name"), f"{dataflow.name!r} is a dataflow of coevo's; choose another name"
    axes: tuple[tuple[Literal["x", "y"], list[str]], ...] = (("x", dataflow.x), ("y", dataflow.y))
    for axis, dims in axes:
        for dim in dims:
            if dim not in DIMS:
                yield ("dataflow", axis), f"unknown dim {dim!r} (dims are {' '.join(DIMS)})"
        if len(set(dims)) < len(dims):
            yield ("dataflow", axis), f"{dims} names a dim twice; remove one"
    if dataflow.stationary is not None and dataflow.stationary not in OPERANDS:
        yield (
            ("dataflow", "stationary"),
            f"unknown operand {dataflow.stationary!r} {near(dataflow.stationary, OPERANDS)}",
        )
