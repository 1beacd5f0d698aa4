"""A template in words, for people: what it is made of, what each part costs, and what may vary."""

from __future__ import annotations

import math
from collections.abc import Sequence

from coevo.accelerator.machine import Accelerator, Memory
from coevo.accelerator.template import Template


def describe(template: Template) -> str:
    """Returns several lines of text: the machine at the template's own values, its area, what may vary.

    Figures that the file gives are marked ``*``; the others are derived from the technology.
    """
    machine = template.build()
    parts = (_head(template, machine), _memories(template, machine), _arithmetic(template, machine), _area(machine))
    return "\n".join((*parts, _vary(template)))


def _head(template: Template, machine: Accelerator) -> str:
    dataflow, bits = machine.dataflow, "/".join(map(str, machine.bits))
    keeps = f"keeps {dataflow.stationary}" if dataflow.stationary else "any order"
    return "\n".join(
        (
            f"{template.name}: {template.description}",
            f"  file        {template.file}",
            f"  chip        {machine.technology_nm:g} nm ({template.spec.sram_cell} SRAM cells), "
            f"{machine.clock_mhz:g} MHz, {machine.pes} multipliers, words of {bits} bits (weights/inputs/outputs)",
            f"  dataflow    {dataflow.name}: columns unroll {' '.join(dataflow.x) or 'nothing'}, "
            f"rows unroll {' '.join(dataflow.y) or 'nothing'}, {keeps}",
            "",
        )
    )


_COLUMNS = ("memory", "kind", "holds", "instances", "capacity", "access", "read pJ", "write pJ", "leak mW", "area mm2")


def _memories(template: Template, machine: Accelerator) -> str:
    rows: list[Sequence[str]] = [(*_COLUMNS, "words/cycle (read, write, both)", "fan-out")]
    for memory, count, spec in zip(machine.memories, machine.instances, template.spec.memories, strict=True):
        rows.append(
            (
                memory.name,
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
        f"  {memory.name} runs the temporal loops {' '.join(memory.loops) or 'of no dim'} only\n"
        for memory, spec in zip(machine.memories, template.spec.memories, strict=True)
        if spec.loops is not None
    )
    return f"{_table(rows)}\n  ({note})\n{runs}"


def _arithmetic(template: Template, machine: Accelerator) -> str:
    mac, spec = machine.mac, template.spec.mac
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
    total = machine.area_mm2
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
