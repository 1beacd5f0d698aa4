"""A machine and a layer as ZigZag's input files have them.

The machine's dataflow becomes hints of what to unroll where. A memory whose bandwidth is not limited gets a port that
is wide enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coevo.accelerator.machine import Accelerator, Memory
from coevo.cost.precision import mac_energy_pj
from coevo.errors import BackendError
from coevo.workload import DIMS, OPERANDS, Layer

LETTERS = dict(zip(DIMS, ("B", "G", "K", "C", "OY", "OX", "FY", "FX"), strict=True))
"""ZigZag's names of our dims."""

NAMES = {"weights": ("W", "I2"), "inputs": ("I", "I1"), "outputs": ("O", "O")}
"""By operand, ZigZag's names in a layer and in a memory."""

_UNBOUNDED_BITS = 10**12
_MOST_AXES = 4
_AMPLE = 8
"""Words of every operand in a cycle and for each multiplier below: the port of a memory whose bandwidth is no limit."""


@dataclass(frozen=True)
class Axis:
    """Columns or rows of a fan-out: one dimension of ZigZag's array.

    Attributes:
        name: ``D1`` and so on.
        level: The memory above it.
        size: Lanes along it.
        dims: What may unroll on it, ZigZag's names, the preferred first.
        systolic: Whether operands pass from lane to lane.
    """

    name: str
    level: int
    size: int
    dims: tuple[str, ...]
    systolic: bool


def axes_of(machine: Accelerator) -> list[Axis]:
    """Returns the dimensions of a machine's array, outermost fan-out first.

    Raises:
        BackendError: There are more than ZigZag takes.
    """
    flow = machine.dataflow
    found = [
        (level, size, dims, memory.systolic)
        for level, memory in enumerate(machine.memories)
        for size, dims in ((memory.fanout_x, flow.x), (memory.fanout_y, flow.y))
        if size > 1
    ]
    if len(found) > _MOST_AXES:
        raise BackendError(f"{machine.name} has fan-outs along {len(found)} axes; ZigZag takes {_MOST_AXES}")
    found = found or [(len(machine.memories) - 1, 1, flow.x, False)]
    return [
        Axis(f"D{i}", level, size, tuple(LETTERS[dim] for dim in dims), systolic)
        for i, (level, size, dims, systolic) in enumerate(found, start=1)
    ]


def accelerator_data(machine: Accelerator, layer: Layer) -> dict[str, Any]:
    """Returns a machine as ZigZag's accelerator file has it, for the widths of a layer's operands."""
    axes, memories = axes_of(machine), list(enumerate(machine.memories))
    return {
        "name": machine.name,
        "memories": {memory.name: _memory_data(memory, i, machine, layer, axes) for i, memory in reversed(memories)},
        "operational_array": {
            "unit_energy": float(mac_energy_pj(layer, machine)),
            "unit_area": float(machine.mac.area_mm2),
            "dimensions": [axis.name for axis in axes],
            "sizes": [axis.size for axis in axes],
            "systolic_dimensions": [axis.name for axis in axes if axis.systolic],
        },
    }


def _memory_data(
    memory: Memory, level: int, machine: Accelerator, layer: Layer, axes: Sequence[Axis]
) -> dict[str, Any]:
    both = ports(memory, machine, layer)
    access = memory.words_per_access * memory.word_bits
    read = next(port for port in both if port["type"] != "write")["bandwidth_max"]
    write = next(port for port in both if port["type"] != "read")["bandwidth_max"]
    return {
        "size": int(memory.size_bits) if math.isfinite(memory.size_bits) else _UNBOUNDED_BITS,
        "r_cost": memory.read_energy_pj * read / access,  # of a port's full width
        "w_cost": memory.write_energy_pj * write / access,
        "area": float(memory.area_mm2),
        "latency": 1,
        "operands": [NAMES[operand][1] for operand in memory.holds],
        "ports": both,
        "served_dimensions": [axis.name for axis in axes if axis.level >= level],
        "force_double_buffering": memory.double_buffered,
    }


def ports(memory: Memory, machine: Accelerator, layer: Layer) -> list[dict[str, Any]]:
    """A port that reads and writes share, where they share a bandwidth, else one for each; in bits."""
    bits = dict(zip(OPERANDS, machine.bits_of(layer), strict=True))
    wide = _AMPLE * sum(bits[operand] for operand in memory.holds) * _multipliers_below(memory, machine)
    reads, writes = [], []
    for operand in memory.holds:
        name = NAMES[operand][1]
        reads += [f"{name}, tl"] + ([f"{name}, th"] if operand == "outputs" else [])
        writes += [f"{name}, fh"] + ([f"{name}, fl"] if operand == "outputs" else [])

    def port(name: str, kind: str, words_per_cycle: float, allocation: list[str]) -> dict[str, Any]:
        limited = math.isfinite(words_per_cycle)
        width = max(round(words_per_cycle * memory.word_bits), 1) if limited else wide
        least = min(math.gcd(*(bits[operand] for operand in memory.holds)), width)
        return {
            "name": name, "type": kind, "bandwidth_min": least, "bandwidth_max": width, "allocation": allocation,
        }  # fmt: skip

    if math.isfinite(memory.words_per_cycle):
        return [port("rw_port_1", "read_write", memory.words_per_cycle, writes + reads)]
    return [
        port("r_port_1", "read", memory.read_words_per_cycle, reads),
        port("w_port_1", "write", memory.write_words_per_cycle, writes),
    ]


def _multipliers_below(memory: Memory, machine: Accelerator) -> int:
    """Multipliers that one instance of a memory feeds."""
    return machine.pes // machine.instances[machine.memories.index(memory)]


def mapping_data(machine: Accelerator) -> list[dict[str, Any]]:
    """Returns ZigZag's mapping file: what may unroll on which dimension of the array."""
    hints = {axis.name: list(axis.dims) for axis in axes_of(machine)}
    links = dict(NAMES.values())
    return [{"name": "default", "spatial_mapping_hint": hints, "memory_operand_links": links}]


def workload_data(layer: Layer, bits: tuple[int, int, int]) -> dict[str, Any]:
    """Returns a layer as ZigZag's workload file has it.

    Args:
        layer: The layer.
        bits: Of a word of (weights, inputs, outputs).
    """
    (height, width), (down, across) = layer.stride, layer.dilation
    return {
        "id": 0,
        "name": layer.name,
        "operator_type": "Conv",
        "equation": "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
        "dimension_relations": [f"ix={width}*ox+{across}*fx", f"iy={height}*oy+{down}*fy"],
        "loop_dims": ["B", "K", "G", "OX", "OY", "C", "FX", "FY"],
        "loop_sizes": [layer.n, layer.m, layer.g, layer.q, layer.p, layer.c, layer.s, layer.r],
        "operand_precision": {"W": bits[0], "I": bits[1], "O": bits[2], "O_final": bits[2]},
        "operand_source": {"W": 0, "I": 0},
    }
