"""The way back: an `Accelerator` as the data of an accelerator file without ``vary``; it loads as the same machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from coevo.accelerator.machine import DATAFLOWS, Accelerator, Interconnect, Memory
from coevo.accelerator.system import System
from coevo.accelerator.technology import DRAM_PJ_PER_BIT
from coevo.accelerator.template import SCHEMA
from coevo.workload import DIMS, OPERANDS


def template_data(machine: Accelerator, description: str) -> dict[str, Any]:
    """Returns the fields of an accelerator file; what templates leave to the technology is spelt out.

    Args:
        machine: Built from a template.
        description: One line for people.

    Raises:
        ValueError: The machine has something that no template can say.
    """
    if isinstance(machine, System):
        return _system(machine, description)
    fans = [_fanout(memory) for memory in machine.memories]
    if not any(fans):
        fans[-1] = {"x": 1, "y": 1}
    return {
        "schema": SCHEMA,
        "name": machine.name,
        "description": description,
        "technology_nm": machine.technology_nm,
        "clock_mhz": machine.clock_mhz,
        "word_bits": dict(zip(OPERANDS, machine.bits, strict=True)),
        "mac": {
            "energy_pj": machine.mac.energy_pj,
            "area_mm2": machine.mac.area_mm2,
            "leakage_mw": machine.mac.leakage_mw,
            "precision_scalable": machine.mac.precision_scalable,
        },
        "other_area_mm2": machine.other_area_mm2,
        "memories": [
            _memory(memory) | ({"fanout": fan} if fan else {})
            for memory, fan in zip(machine.memories, fans, strict=True)
        ],
        "dataflow": _dataflow(machine),
        **({"device": machine.device} if machine.device else {}),
    }


def _system(system: System, description: str) -> dict[str, Any]:
    """A machine of several parts, their templates in place."""
    dram = system.memories[0]
    bits = dram.word_bits * dram.words_per_access
    kinds = [kind for kind, energy_pj in DRAM_PJ_PER_BIT.items() if dram.read_energy_pj == energy_pj * bits]
    if not kinds:
        raise ValueError(f"the shared {dram.name} is of no kind that a template can name")
    return {
        "schema": SCHEMA,
        "name": system.name,
        "description": description,
        "technology_nm": system.technology_nm,
        "clock_mhz": system.clock_mhz,
        "word_bits": dict(zip(OPERANDS, system.bits, strict=True)),
        "other_area_mm2": system.shared_area_mm2,
        "dram": {
            "kind": kinds[0],
            "words_per_access": dram.words_per_access,
            "words_per_cycle": dram.words_per_cycle,
        },
        "parts": {
            label: {"template": template_data(part, f"{label} of {system.name}")} for label, part in system.parts
        },
    }


def _memory(memory: Memory) -> dict[str, Any]:
    if memory.update_energy_pj is not None or memory.cluster_size != 1 or memory.interconnect != Interconnect():
        raise ValueError(f"memory {memory.name}: update energy, clusters and interconnects are no fields of a template")
    limited = {
        "size_kib": memory.size_bits / 8192,  # a power of two: exact
        "read_words_per_cycle": memory.read_words_per_cycle,
        "write_words_per_cycle": memory.write_words_per_cycle,
        "words_per_cycle": memory.words_per_cycle,
    }
    return {
        "name": memory.name,
        "kind": memory.kind,
        "holds": list(memory.holds),
        "word_bits": memory.word_bits,
        "words_per_access": memory.words_per_access,
        **_finite(limited),
        "double_buffered": memory.double_buffered,
        "read_energy_pj": memory.read_energy_pj,
        "write_energy_pj": memory.write_energy_pj,
        "leakage_mw": memory.leakage_mw,
        **({} if memory.kind == "dram" else {"area_mm2": memory.area_mm2}),
        **({} if memory.loops == DIMS else {"loops": list(memory.loops)}),
    }


def _fanout(memory: Memory) -> dict[str, Any]:
    """The fan-out below a memory; empty if it is 1 by 1 and nothing else is said of it."""
    buses = _finite(dict(zip(OPERANDS, memory.bus_words_per_cycle, strict=True)))
    if memory.fanout_x == memory.fanout_y == 1 and not memory.systolic and not buses:
        return {}
    fan: dict[str, Any] = {"x": memory.fanout_x, "y": memory.fanout_y, "systolic": memory.systolic}
    return fan | ({"bus_words_per_cycle": buses} if buses else {})


def _dataflow(machine: Accelerator) -> str | dict[str, Any]:
    dataflow = machine.dataflow
    if DATAFLOWS.get(dataflow.name) == dataflow:
        return dataflow.name
    own: dict[str, Any] = {"name": dataflow.name, "x": list(dataflow.x), "y": list(dataflow.y)}
    return own | ({} if dataflow.stationary is None else {"stationary": dataflow.stationary})


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    """What is limited."""
    return {name: value for name, value in values.items() if math.isfinite(value)}
