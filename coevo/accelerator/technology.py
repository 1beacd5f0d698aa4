"""What storage and arithmetic cost in silicon, where a template does not say: energy, area and leakage by size.

SRAM follows CACTI 7 (`cacti.csv`, 144 points): log-log interpolation in capacity, port width and node, exact at
the points. It is no power law: CACTI changes the partitioning of an array as it grows. Beyond the points:

* below 1 KiB, energy, area and leakage go with the square root of the capacity (periphery dominates, and word
  lines, bit lines and their drivers go with the sides of the array); above 2 MiB energy goes with the square
  root (the wires to reach it), area and leakage with the capacity (more arrays of 2 MiB);
* a port wider than 256 bits is several arrays side by side, each with its share of the capacity and 256 bits;
  below 64 bits energy goes with a power of the width, the mean over all points (about 0.6 read, 0.8 write),
  area and leakage stay those of the 64-bit port;
* nodes below 22 and above 65 nm scale CACTI's 22 and 65 nm by Stillmaker & Baas, as logic does;
* low-standby-power cells below 45 nm are the high-performance ones times the ratio of the two at 45 nm.

Logic (multipliers, adders, registers) scales between nodes by Stillmaker & Baas. DRAM is off chip: it has an
energy per bit by its kind, no area, and does not change with the chip's node.
"""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from coevo.accelerator.machine import Mac

SramCell = Literal["lstp", "hp"]
"""ITRS cells: low standby power (leaks little) or high performance (leaks about 4,000 times as much)."""

DramKind = Literal["lpddr4", "lpddr5", "lpddr", "ddr3", "gddr5", "hbm2"]
"""Kinds of DRAM whose energy has a source."""

MIN_TECHNOLOGY_NM, MAX_TECHNOLOGY_NM = 7, 130
"""Range of the published scaling."""


@dataclass(frozen=True)
class Storage:
    """What a memory costs.

    Attributes:
        read_energy_pj, write_energy_pj: Per access of the whole port [pJ].
        leakage_mw: Static power [mW].
        area_mm2: Area [mm2].
    """

    read_energy_pj: float
    write_energy_pj: float
    leakage_mw: float
    area_mm2: float


# Stillmaker & Baas, "Scaling equations for the accurate prediction of CMOS device performance from 180 nm to 7 nm",
# Integration 58, 2017: energy factor a2 V^2 + a1 V + a0 (table 5; bulk down to 65 nm, high-k at 45 and 32 nm, then
# multi-gate) at each node's nominal supply, and the area factors relative to 7 nm. Taken from public transcriptions;
# the rows of 65 and 32 nm are also in the authors' corrigendum.
_ENERGY_COEFFICIENTS = {
    130: (1.30, 7.171, -6.709, 2.904),
    90: (1.20, 4.762, -4.781, 2.092),
    65: (1.10, 3.755, -4.398, 1.975),
    45: (1.10, 1.018, -0.3107, 0.1539),
    32: (0.97, 0.8367, -0.4341, 0.1701),
    20: (0.90, 0.3730, -0.1582, 0.04104),
    16: (0.86, 0.2958, -0.1241, 0.03024),
    14: (0.86, 0.2363, -0.09675, 0.02239),
    10: (0.83, 0.2068, -0.09311, 0.02375),
    7: (0.80, 0.1776, -0.09097, 0.02447),
}
_NODES = tuple(sorted(_ENERGY_COEFFICIENTS))
_ENERGY_FACTORS = tuple(a2 * volt**2 + a1 * volt + a0 for _, (volt, a2, a1, a0) in sorted(_ENERGY_COEFFICIENTS.items()))
_AREA_FACTORS = (1.0, 1.7, 2.9, 3.2, 3.6, 7.8, 17.0, 25.0, 48.0, 110.0)


def energy_scale(technology_nm: float, reference_nm: float) -> float:
    """Returns energy per operation at one node over that at another [1]; log-log between published nodes."""
    return _loglog(technology_nm, _NODES, _ENERGY_FACTORS) / _loglog(reference_nm, _NODES, _ENERGY_FACTORS)


def area_scale(technology_nm: float, reference_nm: float) -> float:
    """Returns the area of a circuit at one node over that at another [1]; log-log between published nodes."""
    return _loglog(technology_nm, _NODES, _AREA_FACTORS) / _loglog(reference_nm, _NODES, _AREA_FACTORS)


def _loglog(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """Interpolates log-log; beyond the ends the first or last line goes on. Exact at the points."""
    i = min(max(bisect_right(xs, x) - 1, 0), len(xs) - 2)
    if x == xs[i]:
        return ys[i]
    if x == xs[i + 1]:
        return ys[i + 1]
    slope = math.log(ys[i + 1] / ys[i]) / math.log(xs[i + 1] / xs[i])
    return float(ys[i] * (x / xs[i]) ** slope)


# -- arithmetic ------------------------------------------------------------------------------------------------

# Horowitz, "Computing's energy problem", ISSCC 2014, 45 nm, 0.9 V: multiplication by operand bits, addition by
# operand bits, [pJ] and [um2]. 8-bit and 32-bit multipliers lie on an exponent of 1.98: quadratic in the width.
_MULTIPLY_PJ = ((8, 32), (0.2, 3.1))
_MULTIPLY_UM2 = ((8, 32), (282.0, 3495.0))
_ADD_PJ = ((8, 32), (0.03, 0.1))
_ADD_UM2 = ((8, 32), (36.0, 137.0))
_HOROWITZ_NM = 45
# Aladdin (Shao et al., ISCA 2014), 40 nm: static power of a 32x32 multiplier and a 32-bit adder [mW]; one register:
# energy and area per bit.
_MULTIPLIER_LEAKAGE_MW = 8.0e-2
_ADDER_LEAKAGE_MW = 2.4e-3
_REGISTER_PJ_PER_BIT = 0.009
_REGISTER_UM2_PER_BIT = 5.98
_ALADDIN_NM = 40
# Bits that partial sums may grow by: int8 products then add up in 32 bits (TPU v1, NVDLA), int16 in 48 (NVDLA).
_GUARD_BITS = 16


@lru_cache(maxsize=1024)
def mac(weight_bits: int, input_bits: int, technology_nm: float) -> Mac:
    """Returns a bare integer multiplier-accumulator: energy [pJ], area [mm2], leakage [mW].

    The multiplier goes with the geometric mean of the operand widths (about quadratic in it), the adder linearly
    with the product's width and 16 guard bits.
    """
    operand = math.sqrt(weight_bits * input_bits)
    adder = weight_bits + input_bits + _GUARD_BITS
    energy = _loglog(operand, *_MULTIPLY_PJ) + _line(adder, *_ADD_PJ)
    area = _loglog(operand, *_MULTIPLY_UM2) + _line(adder, *_ADD_UM2)
    leakage = _MULTIPLIER_LEAKAGE_MW * (operand / 32) ** 2 + _ADDER_LEAKAGE_MW * adder / 32
    return Mac(
        energy_pj=energy * energy_scale(technology_nm, _HOROWITZ_NM),
        area_mm2=area * 1e-6 * area_scale(technology_nm, _HOROWITZ_NM),
        leakage_mw=leakage * area_scale(technology_nm, _ALADDIN_NM),  # transistor widths shrink with the area
    )


def _line(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """The straight line through two points."""
    return ys[0] + (x - xs[0]) * (ys[1] - ys[0]) / (xs[1] - xs[0])


# -- storage ---------------------------------------------------------------------------------------------------

DRAM_PJ_PER_BIT: Mapping[DramKind, float] = MappingProxyType(
    {
        # Accelergy's CACTI plug-in (cacti_wrapper.py), "public data".
        "lpddr4": 8.0,
        # Accelforge's NVDLA-like example.
        "lpddr5": 7.03,
        # Malladi et al., "Towards energy-proportional datacenter memory with mobile DRAM", ISCA 2012, as in Accelergy's
        # CACTI plug-in: a whole channel with its background power, hence far above the moved bits' own energy.
        "lpddr": 40.0,
        "ddr3": 70.0,
        # Chatterjee et al., "Architecting an energy-efficient DRAM system for GPUs", 2017, as in the same plug-in.
        "gddr5": 14.0,
        "hbm2": 3.9,
    }
)
"""Energy of a bit moved to or from DRAM [pJ]. For scale: Horowitz (ISSCC 2014) has 20, ZigZag's tpu_like 11 to 12."""


def dram(width_bits: float, kind: DramKind = "lpddr4") -> Storage:
    """Returns the cost of DRAM: energy per bit moved [pJ]; off chip, so no area and no leakage of the chip's."""
    energy = DRAM_PJ_PER_BIT[kind] * width_bits
    return Storage(energy, energy, 0.0, 0.0)


@lru_cache(maxsize=65536)
def registers(size_bits: float, width_bits: float, technology_nm: float, cell: SramCell = "lstp") -> Storage:
    """Returns the cost of a register file.

    An access costs the registers it moves (Aladdin's) and the way to them, which is the SRAM's law for the same
    capacity and vanishes for a single register. Area is the registers'. They leak like an SRAM of their area.
    """
    way = sram(size_bits / 8, width_bits, technology_nm, cell)
    bits = width_bits * _REGISTER_PJ_PER_BIT * energy_scale(technology_nm, _ALADDIN_NM)
    area = size_bits * _REGISTER_UM2_PER_BIT * 1e-6 * area_scale(technology_nm, _ALADDIN_NM)
    return Storage(way.read_energy_pj + bits, way.write_energy_pj + bits, way.leakage_mw * area / way.area_mm2, area)


@lru_cache(maxsize=65536)
def sram(size_bytes: float, width_bits: float, technology_nm: float, cell: SramCell = "lstp") -> Storage:
    """Returns the cost of an SRAM of a capacity and a port width (the bits that one access moves)."""
    nodes = _cacti_nodes("hp")
    node = min(max(technology_nm, nodes[0]), nodes[-1])
    arrays = max(1.0, width_bits / _WIDE)
    one = _between_nodes(size_bytes / arrays, min(width_bits, _WIDE), node, cell)
    energy, area = arrays * energy_scale(technology_nm, node), arrays * area_scale(technology_nm, node)
    return Storage(
        one.read_energy_pj * energy, one.write_energy_pj * energy, one.leakage_mw * area, one.area_mm2 * area
    )


_NARROW, _WIDE = 64, 256
Curve = tuple[tuple[float, ...], tuple[Storage, ...]]


@lru_cache(maxsize=1)
def _cacti() -> dict[tuple[str, int, int], Curve]:
    """Returns CACTI's points: (cell, node, width) to capacities [byte] and what they cost."""
    text = Path(__file__).with_name("cacti.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    curves: dict[tuple[str, int, int], dict[float, Storage]] = {}
    for row in csv.DictReader(lines):
        figures = (float(row[name]) for name in ("read_pj", "write_pj", "leakage_mw", "area_mm2"))
        curve = curves.setdefault((row["cell"], int(row["technology_nm"]), int(row["width_bits"])), {})
        curve[float(row["bytes"])] = Storage(*figures)
    return {key: (tuple(sorted(curve)), tuple(curve[size] for size in sorted(curve))) for key, curve in curves.items()}


@lru_cache(maxsize=2)
def _cacti_nodes(cell: str) -> tuple[int, ...]:
    return tuple(sorted({node for name, node, _ in _cacti() if name == cell}))


def _between_nodes(size_bytes: float, width_bits: float, node: float, cell: SramCell) -> Storage:
    """Interpolates between CACTI's nodes; ``node`` lies within them."""
    nodes = _cacti_nodes("hp")
    i = min(bisect_right(nodes, node) - 1, len(nodes) - 2)
    low, high = (_at_node(size_bytes, width_bits, n, cell) for n in nodes[i : i + 2])
    return _each(lambda a, b: _loglog(node, nodes[i : i + 2], (a, b)), low, high)


def _at_node(size_bytes: float, width_bits: float, node: int, cell: SramCell) -> Storage:
    """CACTI's figures at one of its nodes; a cell it lacks there is high performance times their ratio at 45 nm."""
    own = _cacti_nodes(cell)
    if node in own:
        return _at_width(size_bytes, width_bits, node, cell)
    known = own[0]
    there, here = _at_width(size_bytes, width_bits, known, "hp"), _at_width(size_bytes, width_bits, node, "hp")
    mine = _at_width(size_bytes, width_bits, known, cell)
    ratio = _each(lambda a, b: a / b, mine, there)
    return _each(lambda a, b: a * b, here, ratio)


def _at_width(size_bytes: float, width_bits: float, node: int, cell: SramCell) -> Storage:
    narrow = _at_size(size_bytes, _cacti()[cell, node, _NARROW])
    if width_bits < _NARROW:
        read, write = ((width_bits / _NARROW) ** slope for slope in _narrow_slopes())
        return Storage(narrow.read_energy_pj * read, narrow.write_energy_pj * write, narrow.leakage_mw, narrow.area_mm2)
    wide = _at_size(size_bytes, _cacti()[cell, node, _WIDE])
    return _each(lambda a, b: _loglog(width_bits, (_NARROW, _WIDE), (a, b)), narrow, wide)


@lru_cache(maxsize=1)
def _narrow_slopes() -> tuple[float, float]:
    """Mean exponents of read and write energy in the port width, over all of CACTI's points."""
    pairs = [
        (narrow, wide)
        for (cell, node, width), (_, curve) in _cacti().items()
        if width == _NARROW
        for narrow, wide in zip(curve, _cacti()[cell, node, _WIDE][1], strict=True)
    ]
    step = math.log(_WIDE / _NARROW) * len(pairs)
    read = sum(math.log(wide.read_energy_pj / narrow.read_energy_pj) for narrow, wide in pairs) / step
    write = sum(math.log(wide.write_energy_pj / narrow.write_energy_pj) for narrow, wide in pairs) / step
    return read, write


def _at_size(size_bytes: float, curve: Curve) -> Storage:
    """Interpolates in capacity; square-root and linear laws beyond the points, see the module's text."""
    sizes, figures = curve
    if size_bytes <= sizes[0]:
        root = math.sqrt(size_bytes / sizes[0])
        return _each(lambda a, _: a * root, figures[0], figures[0])
    if size_bytes >= sizes[-1]:
        ratio, last = size_bytes / sizes[-1], figures[-1]
        root = math.sqrt(ratio)
        return Storage(
            last.read_energy_pj * root, last.write_energy_pj * root, last.leakage_mw * ratio, last.area_mm2 * ratio
        )
    i = bisect_right(sizes, size_bytes) - 1
    return _each(lambda a, b: _loglog(size_bytes, sizes[i : i + 2], (a, b)), figures[i], figures[i + 1])


def _each(function: Callable[[float, float], float], one: Storage, other: Storage) -> Storage:
    """Applies a function of two numbers to every figure."""
    return Storage(*(function(a, b) for a, b in zip(astuple(one), astuple(other), strict=True)))
