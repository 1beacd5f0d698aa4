"""Tables of FBNet's blocks on devices: a network costs a base plus what each block's operator adds.

An NPZ has the array ``ops``, names of operators of which ``skip`` is one, and per device ``<device>_base`` [ms] and
``<device>_lut (block, operator)`` [ms], operators in the order of ``ops`` without ``skip``: what a block of that
operator takes beyond a skip. So stem, head and what skips take are in the base. In this form (``fbnet_help.npz``) are
the latencies of HW-NAS-Bench (C. Li et al., ICLR 2021) that HELP (H. Lee et al., NeurIPS 2021) gives of 5,000 networks:
those of eyeriss, fpga, pixel3 and raspi4 are such sums (of the first two estimates, of the others measurements). Those
of HELP's other devices, which were timed whole, are not, and are not known of other networks. All are of images of
32 x 32 and 100 classes. The fpga's base is 0: its table counts blocks alone, and has no latency of a network of skips.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coevo.cost.figures import Figures
from coevo.cost.published import Benchmark, Published, known_device, shown_shape
from coevo.errors import SpecError
from coevo.networks.fbnet import OPERATORS, STAGES, FBNet, FBNetSettings, from_digits, to_digits
from coevo.protocols import Task
from coevo.workload import Source, Workload

SPACE = "fbnet"

FILE = "fbnet_help.npz"
"""What the table is called if the settings name none."""

TASK = Task(channels=3, resolution=32, classes=100)
"""What the networks were timed for."""

BLOCKS = sum(stage.depth for stage in STAGES)

SKIP = "skip"
"""The operator that costs nothing beyond the base."""

_NOISE_MS = 1e-9
"""A base no farther below 0 is 0: bases were fitted."""

_BASE, _LUT = "_base", "_lut"


def _flaw_of(name: str, source: Source, workload: Workload) -> str:
    """Returns how a network is scored otherwise than it was timed; empty if alike."""
    wanted, classes = (TASK.channels, TASK.resolution, TASK.resolution), workload.layers[-1].m
    if source.input_shape != wanted or classes != TASK.classes:
        return (
            f"the blocks were measured on {shown_shape(wanted)} with {TASK.classes} classes, and are scored for "
            f"{shown_shape(source.input_shape)} with {classes}; add "
            f"`deployment: {{channels: {TASK.channels}, resolution: {TASK.resolution}, classes: {TASK.classes}}}`"
        )
    family = FBNet(FBNetSettings(), TASK)
    if len(name) != BLOCKS or _shapes(family.workload(from_digits(name))) != _shapes(workload):
        return f"the blocks were measured in the chain of space {SPACE}; take that space"
    return ""


def _read(file: Path, device: str) -> Published:
    """Reads what a table says of a device."""
    with np.load(file, allow_pickle=False) as arrays:
        own = _listed(device, arrays.files, map(str, arrays["devices"]) if "devices" in arrays else ())
        base = float(arrays[own + _BASE])
        operators = [str(name) for name in arrays["ops"] if str(name) != SKIP]
        added = arrays[own + _LUT].astype(np.float64)
    if added.shape != (BLOCKS, len(operators)) or set(operators) != set(OPERATORS) - {SKIP}:
        raise ValueError(f"{own}{_LUT} must have a row per block, {BLOCKS}, and a column per operator but {SKIP}")
    if not (np.isfinite(added).all() and base >= -_NOISE_MS and math.isfinite(base)):
        raise ValueError(f"{own}{_BASE} and {own}{_LUT} must be numbers, the base from 0 on, got the base {base:g}")
    columns = {name: added[:, i] for i, name in enumerate(operators)} | {SKIP: np.zeros(BLOCKS)}
    by_digit = np.column_stack([columns[name] for name in OPERATORS])
    return Published(lambda name: _total(name, max(0.0, base), by_digit), has_energy=False)


def _listed(device: str, arrays: Iterable[str], whole: Iterable[str]) -> str:
    """The device's name as the table writes it; refuses one of which it has no blocks."""
    by_block = [name.removesuffix(_BASE) for name in arrays if name.endswith(_BASE)]
    if device.lower() in {name.lower() for name in whole} - {name.lower() for name in by_block}:
        known = ", ".join(sorted(by_block))
        raise SpecError(f"the table has {device!r} for some whole networks alone; block by block it has {known}")
    return known_device(device, by_block)


def _total(name: str, base: float, by_digit: NDArray[np.float64]) -> Figures | None:
    """The base and what each block of a network adds ``(block, operator)`` [ms]; None if that is nothing."""
    total = base + math.fsum(by_digit[block, int(digit)] for block, digit in enumerate(name))
    return Figures.measured(total) if total > 0 else None


def _shapes(workload: Workload) -> list[object]:
    """What decides the work of each layer; bit widths do not, for a device has its own."""
    return [(layer.name, layer.kind, layer.bounds, layer.stride) for layer in workload.layers]


BENCHMARK = Benchmark(SPACE, (FILE,), to_digits, _flaw_of, _read)
