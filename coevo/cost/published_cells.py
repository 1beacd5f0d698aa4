"""Tables of NAS-Bench-201's cells on devices, a figure per cell.

A CSV (also gzipped) has a row per cell, its string in the column ``arch`` (or its number in ``idx``), and columns
``<device>_latency_ms`` and perhaps ``<device>_energy_mJ``: HW-NAS-Bench (C. Li et al., ICLR 2021) in the form of
``nb201_hwnasbench.csv.gz``. An NPZ has the arrays ``devices`` and ``latency_ms (device, cell)``: HELP (H. Lee et al.,
NeurIPS 2021) as ``nb201_help_latency.npz``. Where cells stand by number, ``nb201_acc.csv.gz`` beside the file says
which they are. All are of images of 32 x 32.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from coevo.cost.figures import Figures
from coevo.cost.published import Benchmark, Published, known_device, number, opened, shown_shape
from coevo.errors import DataError
from coevo.networks.cell import Cell, CellSettings, from_string, to_string
from coevo.protocols import Task
from coevo.workload import Source, Workload

SPACE = "nasbench201"

FILE = "nb201_help_latency.npz"
"""What the table is called if the settings name none."""

CELLS = "nb201_acc.csv.gz"
"""The file beside it that says which cell has which number."""

INPUT = (3, 32, 32)
"""What the networks were given: (channels, height, width)."""

_LATENCY, _ENERGY = ("_latency_ms", "_latency"), ("_energy_mj", "_energy")
"""What the columns of a device end in, in lower case."""


def _flaw_of(cell: str, source: Source, workload: Workload) -> str:
    """Returns how a network is scored otherwise than it was timed; empty if alike. Classes do not matter."""
    if source.input_shape != INPUT:
        return (
            f"{cell} was measured on {shown_shape(INPUT)}, and is scored for "
            f"{shown_shape(source.input_shape)}; add `deployment: {{channels: 3, resolution: 32}}`"
        )
    if workload.macs - workload.layers[-1].macs != _macs(cell):
        return f"cells were measured in the skeleton of space {SPACE}, 16 channels and 5 cells; take that space"
    return ""


@lru_cache(maxsize=64)
def _macs(cell: str) -> int:
    """Multiply-accumulates of a cell's network as it was timed, but those of its last layer."""
    workload = Cell(CellSettings(), Task(*INPUT[:2], classes=10)).workload(from_string(cell))
    return workload.macs - workload.layers[-1].macs


def _read(file: Path, device: str) -> Published:
    """Reads what a table says of a device."""
    known = _from_npz(file, device) if file.suffix == ".npz" else _from_csv(file, device)
    return Published(known.get, not all(math.isnan(figures.energy_pj) for figures in known.values()))


def cells(file: Path) -> dict[int, str]:
    """Which cell has which number in a table.

    Raises:
        DataError: The file that says so is absent.
    """
    beside = file.with_name(CELLS)
    if not beside.is_file():
        raise DataError(f"{file}: lists cells by number; put {CELLS}, which says which they are, beside it")
    with opened(beside) as text:
        return {int(row["idx"]): row["arch"] for row in csv.DictReader(text)}


def _from_npz(file: Path, device: str) -> Mapping[str, Figures]:
    with np.load(file, allow_pickle=False) as arrays:
        devices = [str(name) for name in arrays["devices"]]
        own = devices.index(known_device(device, devices))
        latencies = arrays["latency_ms"][own].astype(np.float64).tolist()
    names = cells(file)
    return {names[i]: Figures.measured(number(value)) for i, value in enumerate(latencies)}


def _from_csv(file: Path, device: str) -> Mapping[str, Figures]:
    with opened(file) as text:
        rows = csv.DictReader(text)
        columns = {name.lower(): name for name in rows.fieldnames or ()}
        ends = [end for end in _LATENCY if any(name.endswith(end) for name in columns)]
        listed = {name.removesuffix(end) for end in ends for name in columns if name.endswith(end)}
        own = known_device(device, listed)
        latency = next(columns[own + end] for end in _LATENCY if own + end in columns)
        energy = next((columns[own + end] for end in _ENERGY if own + end in columns), None)
        names = {} if "arch" in columns else cells(file)
        return {
            row["arch"] if "arch" in row else names[int(row["idx"])]: Figures.measured(
                number(row[latency]), math.nan if energy is None else number(row[energy])
            )
            for row in rows
        }


BENCHMARK = Benchmark(SPACE, (FILE, CELLS), to_string, _flaw_of, _read)
