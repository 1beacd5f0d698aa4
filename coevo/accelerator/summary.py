"""A template in words, for people: what it is made of, what each part costs, and what may vary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from coevo.accelerator.machine import Accelerator, Memory
from coevo.accelerator.system import System
from coevo.accelerator.template import MachineTemplate, Template

if TYPE_CHECKING:
    from coevo.accelerator.schema import MachineSpec, MemorySpec
    from coevo.accelerator.system_template import SystemTemplate


def describe(template: Template) -> str:
    """Returns several lines of text: the machine at the template's own values, its area, what may vary.

    Figures that the file gives are marked ``*``; the others are derived from the technology.
    """
    if not isinstance(template, MachineTemplate):
        return _system(template)  # type: ignore[arg-type]  # there are no others
    machine, spec = template.build(), template.spec
    text = (_title(template), _chip(machine, spec), "", _memories(machine, spec.memories), _arithmetic(machine, spec))
    return "\n".join((*text, _area(machine), _vary(template)))


def _title(template: Template) -> str:
    return f"{template.name}: {template.description}\n  file        {template.file}"


def _chip(machine: Accelerator, spec: MachineSpec) -> str:
    dataflow, bits = machine.dataflow, "/".join(map(str, machine.bits))
    keeps = f"keeps {dataflow.stationary}" if dataflow.stationary else "any order"
    return "\n".join(
        (
            f"  chip        {machine.technology_nm:g} nm ({spec.sram_cell} SRAM cells), "
            f"{machine.clock_mhz:g} MHz, {machine.pes} multipliers, words of {bits} bits (weights/inputs/outputs)",
            f"  dataflow    {dataflow.name}: columns unroll {' '.join(dataflow.x) or 'nothing'}, "
            f"rows unroll {' '.join(dataflow.y) or 'nothing'}, {keeps}",
        )
    )


def _system(template: SystemTemplate) -> str:
    """A template of several parts: the shared DRAM, then every part with its own memories."""
    system, spec = template.build(), template.spec
    dram = system.memories[0]
    shared = (
        f"  dram        {spec.dram.kind}, shared by all parts: {dram.words_per_access} x {dram.word_bits} bit in "
        f"{_number(dram.read_energy_pj)} pJ, {dram.words_per_cycle:g} words a cycle of {system.clock_mhz:g} MHz"
    )
    blocks = [f"{_title(template)}\n{shared}"]
    for label, part in system.parts:
        own = template.part_spec(label)
        inside = _memories(part, own.memories, label)
        lines = (f"{label}: of the template {part.name}", _chip(part, own), "", inside, _arithmetic(part, own))
        blocks.append("\n".join((*lines, _area(part))))
    return "\n\n".join((*blocks, f"{_chip_area(system)}\n{_vary(template)}"))


def _chip_area(system: System) -> str:
    parts = [(label, part.area_mm2) for label, part in system.parts]
    rest = system.area_mm2 - sum(area for _, area in parts)
    return _shares([*parts, ("other", rest if rest > 1e-9 * system.area_mm2 else 0.0)], system.area_mm2)


_COLUMNS = ("memory", "kind", "holds", "instances", "capacity", "access", "read pJ", "write pJ", "leak mW", "area mm2")


def _memories(machine: Accelerator, specs: Sequence[MemorySpec], part: str = "") -> str:
    """The memories; of a part those on chip, for the first is the DRAM that all share."""
    prefix = f"{part}." if part else ""
    triples = list(zip(machine.memories, machine.instances, specs, strict=True))[1 if part else 0 :]
    rows: list[Sequence[str]] = [(*_COLUMNS, "words/cycle (read, write, both)", "fan-out")]
    for memory, count, spec in triples:
        rows.append(
            (
                prefix + memory.name,
                memory.kind + (f" ({spec.dram})" if spec.dram else ""),
                "+".join(memory.holds),
                str(count),
                _capacity(memory.size_bits) + (", double-buffered" if memory.double_buffered else ""),
                f"{memory.words_per_access} x {memory.word_bits} bit",
                _marked(memory.read_energy_pj, spec.read_energy_pj),
                _marked(memory.write_energy_pj, spec.write_energy_pj),
                _marked(memory.leakage_mw, spec.leakage_mw),
                "off chip" if memory.kind == "dram" else _marked(memory.area_mm2, spec.area_mm2),
                _bandwidth(memory),
                _fanout(memory),
            )
        )
    note = (
        "energy per access, leakage and area of one instance; * given by the file, others derived from the technology"
    )
    runs = "".join(
        f"  {prefix}{memory.name} runs the temporal loops {' '.join(memory.loops) or 'of no dim'} only\n"
        for memory, _, spec in triples
        if spec.loops is not None
    )
    return f"{_table(rows)}\n  ({note})\n{runs}"


def _arithmetic(machine: Accelerator, of: MachineSpec) -> str:
    mac, spec = machine.mac, of.mac
    return (
        f"  multiplier  {_marked(mac.energy_pj, spec.energy_pj)} pJ, {_marked(mac.area_mm2, spec.area_mm2)} mm2, "
        f"leaks {_marked(mac.leakage_mw, spec.leakage_mw)} mW, each"
        + (", less energy for narrower operands" if mac.precision_scalable else "")
    )


def _area(machine: Accelerator) -> str:
    parts = [
        (memory.name, memory.area_mm2 * count)
        for memory, count in zip(machine.memories, machine.instances, strict=True)
        if memory.kind != "dram"
    ]
    parts += [("multipliers", machine.mac.area_mm2 * machine.pes), ("other", machine.other_area_mm2)]
    return _shares(parts, machine.area_mm2)


def _shares(parts: Sequence[tuple[str, float]], total: float) -> str:
    shown = " + ".join(f"{name} {_number(area)} ({100 * area / total:.0f} %)" for name, area in parts if area > 0)
    return f"  area        {_number(total)} mm2 = {shown}"


def _vary(template: Template) -> str:
    lines = [f"  vary        {len(template.fields)} fields, {template.size:,} machines"]
    for varied in template.fields:
        values = [f"{value:g}" if isinstance(value, float) else str(value) for value in varied.choices]
        shown = values if len(values) <= 10 else [*values[:4], "...", *values[-2:]]
        lines.append(
            f"    {varied.path}: {', '.join(shown)}" + (f" ({len(values)} values)" if len(values) > 10 else "")
        )
    return "\n".join(lines)


def _capacity(bits: float) -> str:
    if not math.isfinite(bits):
        return "unbounded"
    size = bits / 8
    return f"{size / 1024:g} KiB" if size >= 1024 else f"{size:g} B"


def _bandwidth(memory: Memory) -> str:
    rates = (memory.read_words_per_cycle, memory.write_words_per_cycle, memory.words_per_cycle)
    return ", ".join("-" if math.isinf(rate) else f"{rate:g}" for rate in rates)


def _fanout(memory: Memory) -> str:
    if memory.fanout_x * memory.fanout_y == 1:
        return ""
    shown = f"{memory.fanout_y} rows x {memory.fanout_x} columns" + (", systolic" if memory.systolic else "")
    buses = ("-" if math.isinf(words) else f"{words:g}" for words in memory.bus_words_per_cycle)
    return shown if all(map(math.isinf, memory.bus_words_per_cycle)) else f"{shown}, buses {'/'.join(buses)}"


def _number(value: float) -> str:
    return f"{value:.3g}"


def _marked(value: float, given: float | None) -> str:
    return _number(value) + ("" if given is None else "*")


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join("  " + line.rstrip() for line in lines)
