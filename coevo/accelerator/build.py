"""From a checked specification to an `Accelerator`: what is left out is derived, what is given is scaled.

A figure that a template gives (energy, area, leakage) holds at the template's own sizes. Where `vary` changes
what it depends on (capacity, port width, word bits, technology, cells), it scales by the technology curve at the
new over that at the template's own: given_new = given * derived_new / derived_own. Another kind of DRAM is not
scaled: its energy is the technology's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from coevo.accelerator import technology
from coevo.accelerator.machine import DATAFLOWS, Accelerator, Dataflow, Mac, Memory
from coevo.accelerator.technology import Storage
from coevo.workload import DIMS

if TYPE_CHECKING:
    from coevo.accelerator.schema import MachineSpec, MemorySpec


def build_machine(spec: MachineSpec, own: MachineSpec, choices: tuple[tuple[str, object], ...] = ()) -> Accelerator:
    """Returns the accelerator that a specification describes.

    Args:
        spec: The machine.
        own: The template's machine, at which the given figures hold; has the same memories.
        choices: Recorded in the accelerator.
    """
    shrink = technology.area_scale(spec.technology_nm, own.technology_nm)
    return Accelerator(
        name=spec.name,
        technology_nm=spec.technology_nm,
        clock_mhz=spec.clock_mhz,
        bits=spec.bits(),
        memories=tuple(_memory(spec, m, own, o) for m, o in zip(spec.memories, own.memories, strict=True)),
        mac=_mac(spec, own),
        dataflow=_dataflow(spec),
        other_area_mm2=spec.other_area_mm2 * shrink,
        choices=choices,
        device=spec.device or "",
    )


def derive_storage(spec: MachineSpec, memory: MemorySpec) -> Storage:
    """Returns what the technology says of one instance of a memory, whatever the template gives."""
    width = memory.words_per_access * spec.memory_word_bits(memory)
    size, node, cell = spec.size_bits(memory), spec.technology_nm, spec.sram_cell
    if memory.kind == "dram":
        return technology.dram(width, memory.dram or "lpddr4")
    if memory.kind == "registers":
        return technology.registers(size, width, node, cell)
    return technology.sram(size / 8, width, node, cell)


def derive_mac(spec: MachineSpec) -> Mac:
    """Returns what the technology says of the multiplier-accumulator, whatever the template gives."""
    weights, inputs, _ = spec.bits()
    return technology.mac(weights, inputs, spec.technology_nm)


def _memory(spec: MachineSpec, memory: MemorySpec, own: MachineSpec, base: MemorySpec) -> Memory:
    here, there = derive_storage(spec, memory), derive_storage(own, base)
    read, write = memory.read_energy_pj, memory.write_energy_pj
    if memory.dram != base.dram:  # what the template gives is another kind's
        read = write = None
    fanout_x, fanout_y = spec.fanout(memory)
    return Memory(
        name=memory.name,
        kind=memory.kind,
        holds=tuple(memory.holds),
        size_bits=float(spec.size_bits(memory)),
        word_bits=spec.memory_word_bits(memory),
        words_per_access=memory.words_per_access,
        read_words_per_cycle=memory.read_words_per_cycle or math.inf,
        write_words_per_cycle=memory.write_words_per_cycle or math.inf,
        words_per_cycle=memory.words_per_cycle or math.inf,
        double_buffered=memory.double_buffered,
        read_energy_pj=_figure(read, here.read_energy_pj, there.read_energy_pj),
        write_energy_pj=_figure(write, here.write_energy_pj, there.write_energy_pj),
        leakage_mw=_figure(memory.leakage_mw, here.leakage_mw, there.leakage_mw),
        area_mm2=_figure(memory.area_mm2, here.area_mm2, there.area_mm2),
        fanout_x=fanout_x,
        fanout_y=fanout_y,
        loops=DIMS if memory.loops is None else tuple(dim for dim in DIMS if dim in memory.loops),
        systolic=spec.systolic(memory),
        bus_words_per_cycle=spec.bus_words_per_cycle(memory),
    )


def _mac(spec: MachineSpec, own: MachineSpec) -> Mac:
    here, there = derive_mac(spec), derive_mac(own)
    return Mac(
        energy_pj=_figure(spec.mac.energy_pj, here.energy_pj, there.energy_pj),
        area_mm2=_figure(spec.mac.area_mm2, here.area_mm2, there.area_mm2),
        leakage_mw=_figure(spec.mac.leakage_mw, here.leakage_mw, there.leakage_mw),
        precision_scalable=spec.mac.precision_scalable,
    )


def _figure(given: float | None, here: float, there: float) -> float:
    if given is None:
        return here
    return given if here == there else given * here / there


def _dataflow(spec: MachineSpec) -> Dataflow:
    own = spec.dataflow
    return DATAFLOWS[own] if isinstance(own, str) else Dataflow(own.name, tuple(own.x), tuple(own.y), own.stationary)
