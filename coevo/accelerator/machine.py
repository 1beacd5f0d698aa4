"""The nouns of hardware: `Accelerator` is a hierarchy of `Memory`s from DRAM to the multipliers.

Every memory may have a fan-out below it, columns (x) by rows (y): so many instances of the next memory in (or
of the multipliers) hang below one instance of this one. Instances multiply going in.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Literal

from coevo.workload import DIMS, OPERANDS, Layer

MemoryKind = Literal["dram", "sram", "registers"]


@dataclass(frozen=True)
class Interconnect:
    """What carries words between a memory and the instances of the fan-out below it.

    Attributes:
        hop_energy_pj: Per word and hop from one lane of the fan-out to the next [pJ].
        router_energy_pj: Per word and router on its way [pJ].
        links: Whether neighbouring lanes pass on to each other what they got in the step before.
        reduces: Whether partial sums that return to the memory are added there; if not, each is carried down and
            up again.
    """

    hop_energy_pj: float = 0.0
    router_energy_pj: float = 0.0
    links: bool = False
    reduces: bool = True

    @property
    def free(self) -> bool:
        """Whether moving words costs no energy."""
        return self.hop_energy_pj == self.router_energy_pj == 0


@dataclass(frozen=True)
class Memory:
    """One level of storage. All figures are per instance.

    Attributes:
        name: Unique within its accelerator.
        kind: ``dram`` (off chip, no area), ``sram`` or ``registers``.
        holds: The operands it keeps; the others pass it by.
        size_bits: Capacity [bit]; infinite where unbounded.
        word_bits: Width of the words in which bandwidth and accesses are counted [bit].
        words_per_access: Words that one access moves.
        read_words_per_cycle: Read bandwidth [word/cycle]; infinite where unlimited.
        write_words_per_cycle: Write bandwidth (fills and updates) [word/cycle].
        words_per_cycle: Bandwidth that reads and writes share [word/cycle].
        double_buffered: Whether half of it is filled while the other half is used.
        read_energy_pj: Per read access [pJ].
        write_energy_pj: Per write access [pJ].
        leakage_mw: Static power [mW].
        area_mm2: Area [mm2]; 0 off chip.
        fanout_x, fanout_y: Columns and rows of the fan-out below it.
        loops: Dims over which the memory's control can run temporal loops.
        update_energy_pj: Per write access from below (outputs) [pJ]; None: that of a write.
        cluster_size: Instances that share one access: they cost its energy together.
        interconnect: Between it and what its fan-out leads to.
        systolic: Whether the fan-out below it passes operands from lane to lane, one a cycle.
        bus_words_per_cycle: Words of (weights, inputs, outputs) that fill or leave what is below it in a cycle
            whenever the dataflow's stationary operand changes there; infinite where that is hidden.
    """

    name: str
    kind: MemoryKind
    holds: tuple[str, ...]
    size_bits: float
    word_bits: int
    words_per_access: int
    read_words_per_cycle: float
    write_words_per_cycle: float
    words_per_cycle: float
    double_buffered: bool
    read_energy_pj: float
    write_energy_pj: float
    leakage_mw: float
    area_mm2: float
    fanout_x: int = 1
    fanout_y: int = 1
    loops: tuple[str, ...] = DIMS
    update_energy_pj: float | None = None
    cluster_size: int = 1
    interconnect: Interconnect = Interconnect()
    systolic: bool = False
    bus_words_per_cycle: tuple[float, float, float] = (math.inf, math.inf, math.inf)

    @property
    def energy_of_update_pj(self) -> float:
        """Per write access from below [pJ]."""
        return self.write_energy_pj if self.update_energy_pj is None else self.update_energy_pj

    @property
    def usable_bits(self) -> float:
        """Bits a tile may occupy: half of a double-buffered memory."""
        return self.size_bits // 2 if self.double_buffered and math.isfinite(self.size_bits) else self.size_bits


@dataclass(frozen=True)
class Dataflow:
    """Which loops may spread over the array, and what stays innermost.

    Attributes:
        name: For people.
        x: Dims that may unroll over columns, the preferred first.
        y: Dims that may unroll over rows, the preferred first.
        stationary: The operand that stays in the array longest: the loops that do not move it are the
            innermost of the memory that feeds the array. None leaves the order free.
    """

    name: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    stationary: str | None = None

    def __post_init__(self) -> None:
        for dim in (*self.x, *self.y):
            if dim not in DIMS:
                raise ValueError(f"unknown dim {dim!r}; dims are {' '.join(DIMS)}")
        if self.stationary is not None and self.stationary not in OPERANDS:
            raise ValueError(f"unknown operand {self.stationary!r}; operands are {', '.join(OPERANDS)}")


_CHANNELS_AND_PIXELS = ("g", "q", "p", "n")
DATA_MOVER = Dataflow("data_mover", x=_CHANNELS_AND_PIXELS, y=_CHANNELS_AND_PIXELS)
"""How poolings and additions spread, whatever the machine's dataflow: over outputs only."""

DATAFLOWS: dict[str, Dataflow] = {
    dataflow.name: dataflow
    for dataflow in (
        # Eyeriss (Chen et al., JSSC 52(1), 2017, sec. III): a PE set is r rows by p columns; sets repeat over
        # input channels (their sums add up along a column) and filters, depthwise ones over groups.
        Dataflow("row_stationary", x=("p", "m", "g"), y=("r", "c", "m", "g"), stationary="weights"),
        # NVDLA (hardware architecture, "Convolution core"): Atomic-C input channels by Atomic-K filters.
        # TPU v1 (Jouppi et al., ISCA 2017, sec. 2): weights of a c x m tile stay in the systolic array.
        Dataflow("weight_stationary", x=("m",), y=("c",), stationary="weights"),
        # A matrix unit fed by im2col: filter taps unroll with the input channels.
        Dataflow("weight_stationary_im2col", x=("m",), y=("c", "r", "s"), stationary="weights"),
        # ShiDianNao (Du et al., ISCA 2015, sec. 6): each PE keeps one output pixel; in classifier layers one neuron.
        Dataflow("output_stationary", x=("q", "m"), y=("p", "m"), stationary="outputs"),
        # NLR-like: each PE keeps inputs of one channel and one pixel column while filters stream by.
        Dataflow("input_stationary", x=("q", "p"), y=("c", "g"), stationary="inputs"),
        Dataflow("free", x=DIMS, y=DIMS),
    )
}
"""The named dataflows; a template may define its own in place."""


@dataclass(frozen=True)
class Mac:
    """One multiplier-accumulator with what else a processing element has besides memories.

    Attributes:
        energy_pj: Per multiply-accumulate [pJ].
        area_mm2: Per multiplier-accumulator [mm2].
        leakage_mw: Static power of each [mW].
        precision_scalable: Whether narrower operands leave part of it idle and so take less energy; it is no faster.
    """

    energy_pj: float
    area_mm2: float
    leakage_mw: float = 0.0
    precision_scalable: bool = False


@dataclass(frozen=True)
class Accelerator:
    """One complete machine.

    Attributes:
        name: Of its template.
        technology_nm: Process [nm].
        clock_mhz: Clock [MHz].
        bits: Bits of a word of (weights, inputs, outputs); a layer may say otherwise.
        memories: From DRAM inwards; the last one's fan-out leads to the multipliers.
        mac: The multiplier-accumulators.
        dataflow: What may spread over the fan-outs.
        other_area_mm2: Area of what is neither memory nor array (control, interconnect, I/O) [mm2].
        choices: What its template's `vary` fields were set to, (dotted path, value).
        device: Name of the real device that it stands for, for cost models that look one up or reach it; empty if none.
    """

    name: str
    technology_nm: float
    clock_mhz: float
    bits: tuple[int, int, int]
    memories: tuple[Memory, ...]
    mac: Mac
    dataflow: Dataflow
    other_area_mm2: float = 0.0
    choices: tuple[tuple[str, object], ...] = field(default=(), compare=False)
    device: str = ""

    @cached_property
    def instances(self) -> tuple[int, ...]:
        """Instances of each memory on the chip ``(memory,)``."""
        counts = [1]
        for memory in self.memories[:-1]:
            counts.append(counts[-1] * memory.fanout_x * memory.fanout_y)
        return tuple(counts)

    @property
    def pes(self) -> int:
        """Multipliers on the chip."""
        last = self.memories[-1]
        return self.instances[-1] * last.fanout_x * last.fanout_y

    def bits_of(self, layer: Layer) -> tuple[int, int, int]:
        """Returns the bits of a word of a layer's (weights, inputs, outputs): its own, else the machine's."""
        if layer.bits is None:
            return self.bits
        weights, inputs, outputs = (own or machine for own, machine in zip(layer.bits, self.bits, strict=True))
        return weights, inputs, outputs

    @cached_property
    def area_mm2(self) -> float:
        """Area of all on-chip memories, multipliers and the rest [mm2]."""
        memories = sum(m.area_mm2 * count for m, count in zip(self.memories, self.instances, strict=True))
        return memories + self.mac.area_mm2 * self.pes + self.other_area_mm2

    @cached_property
    def key(self) -> str:
        """Digest of all that a cost model sees."""
        seen = [getattr(self, part.name) for part in fields(self) if part.compare and part.name != "device"]
        if self.device:  # else keys stay what they were before there were devices
            seen.append(self.device)
        return hashlib.blake2b(repr(tuple(seen)).encode(), digest_size=12).hexdigest()
