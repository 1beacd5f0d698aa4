"""The cost model ``device_table``: what networks of NAS-Bench-201 took on real devices, read from a published table.

Two forms are read. A CSV (also gzipped) with a row per cell, its string in the column ``arch`` (or its number in
``idx``), and columns ``<device>_latency_ms`` and perhaps ``<device>_energy_mJ``: HW-NAS-Bench (C. Li et al., ICLR 2021)
in the form of ``nb201_hwnasbench.csv.gz``. An NPZ with the arrays ``devices`` and ``latency_ms (device, cell)``: HELP
(H. Lee et al., NeurIPS 2021) as ``nb201_help_latency.npz``. Where cells stand by number, ``nb201_acc.csv.gz`` beside
the file says which they are. All were measured on images of 32 x 32. The accelerator's fields do not matter.
"""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from coevo.accelerator.machine import Accelerator
from coevo.cost.figures import ATTRIBUTES, NANOSECONDS_MHZ, Figures, Known
from coevo.design import Cost
from coevo.errors import DataError, SpecError, near
from coevo.library import find_table
from coevo.networks.cell import to_string
from coevo.protocols import CostContext
from coevo.workload import Workload

FILE = "nb201_help_latency.npz"
"""What the file is called if the settings name none."""

CELLS = "nb201_acc.csv.gz"
"""The file beside it that says which cell has which number."""

INPUT = (3, 32, 32)
"""What the networks were given: (channels, height, width)."""

_LATENCY, _ENERGY = ("_latency_ms", "_latency"), ("_energy_mj", "_energy")
"""What the columns of a device end in, in lower case."""


class DeviceSettings(BaseModel):
    """Which device of which table.

    Attributes:
        device: Its name in the table, e.g. ``raspi4``.
        path: The table, from the experiment file's folder or the working directory; empty: `FILE` in the folder that
            the environment variable ``COEVO_DATA`` names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    device: str = Field(min_length=1)
    path: str = ""


class DeviceTable:
    """Looks networks up (socket `CostModel`)."""

    Settings: ClassVar[type[BaseModel]] = DeviceSettings
    of_network = True

    def __init__(self, settings: Any) -> None:
        self.settings: DeviceSettings = settings
        self._near_file = ""
        self._known = Known(["device_table", settings.device, settings.path], NANOSECONDS_MHZ)

    def attach(self, context: CostContext) -> None:
        """Takes note of where paths begin and of what the run knows, and refuses networks that the table cannot know.

        Raises:
            SpecError: The networks are others than the table's, or they are given another input.
        """
        self._near_file = context.near_file
        self._known.memory = context.memory
        for workload, _ in context.draw(1, 0):
            source = workload.source
            if source is None or (cell := _cell(workload)) is None:
                raise SpecError("the table knows the networks of space nasbench201 alone; use another cost model")
            if source.input_shape != INPUT:
                shape = " x ".join(map(str, source.input_shape))
                raise SpecError(
                    f"{cell} was measured on 3 x 32 x 32, and is scored for {shape}; add "
                    "`deployment: {channels: 3, resolution: 32}`"
                )

    @property
    def files(self) -> tuple[Path, ...]:
        """The table."""
        return (self._find(),)

    @property
    def unknown(self) -> frozenset[str]:
        """All but the latency, and the energy where the table has it."""
        lacks_energy = all(math.isnan(figures.energy_pj) for figures in self._figures.values())
        return frozenset(ATTRIBUTES) - {"latency_cycles", *(() if lacks_energy else ("energy_pj",))}

    @property
    def facts(self) -> dict[str, str]:
        """Where the figures are from."""
        return {"device": f"{self.settings.device}, measured, of the table {self.settings.path or FILE}"}

    def evaluate(self, pairs: Sequence[tuple[Workload, Accelerator]], jobs: int = 1) -> list[Cost]:  # noqa: ARG002
        """Looks up every network.

        Raises:
            DataError: The table is absent or damaged, and a network is new to the run.
        """
        return self._known.costs(pairs, lambda workload, _: _cell(workload), self._look_up)

    def _look_up(self, pairs: Sequence[tuple[Workload, Accelerator]]) -> Iterator[Figures]:
        known = self._figures
        for workload, _ in pairs:
            cell = _cell(workload)
            device = self.settings.device
            figures = known.get(cell or "")
            if figures is None or math.isnan(figures.latency_cycles):
                figures = Figures.failed(f"the table has no latency of {cell or workload.name} on {device}")
            yield figures

    @cached_property
    def _figures(self) -> dict[str, Figures]:
        """What the table says of the device, by cell.

        Raises:
            DataError: The table is absent or damaged.
            SpecError: It does not have the device.
        """
        file = self._find()
        try:
            return self._from_npz(file) if file.suffix == ".npz" else self._from_csv(file)
        except (OSError, EOFError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as problem:
            raise DataError(f"{file}: is no table of devices: {' '.join(str(problem).split())}") from None

    def _from_npz(self, file: Path) -> dict[str, Figures]:
        with np.load(file, allow_pickle=False) as arrays:
            devices = [str(name) for name in arrays["devices"]]
            self._check_device(devices)
            latencies = arrays["latency_ms"][devices.index(self.settings.device)].astype(np.float64).tolist()
        names = cells(file)
        return {names[i]: Figures.measured(_number(value)) for i, value in enumerate(latencies)}

    def _from_csv(self, file: Path) -> dict[str, Figures]:
        with _opened(file) as text:
            rows = csv.DictReader(text)
            columns = {name.lower(): name for name in rows.fieldnames or ()}
            ends = [end for end in _LATENCY if any(name.endswith(end) for name in columns)]
            self._check_device(name.removesuffix(end) for end in ends for name in columns if name.endswith(end))
            device = self.settings.device.lower()
            latency = next(columns[device + end] for end in _LATENCY if device + end in columns)
            energy = next((columns[device + end] for end in _ENERGY if device + end in columns), None)
            names = {} if "arch" in columns else cells(file)
            return {
                row["arch"] if "arch" in row else names[int(row["idx"])]: Figures.measured(
                    _number(row[latency]), math.nan if energy is None else _number(row[energy])
                )
                for row in rows
            }

    def _check_device(self, devices: Iterable[str]) -> None:
        known = set(devices)
        if self.settings.device.lower() not in {name.lower() for name in known}:
            device = self.settings.device
            raise SpecError(f"the table has no device {device!r} {near(device, known)}", field="cost.device")

    def _find(self) -> Path:
        return find_table("the table of devices", "cost.path", self.settings.path, (FILE, CELLS), self._near_file)


def _cell(workload: Workload) -> str | None:
    """The string of a network's cell; None if it is no network of NAS-Bench-201."""
    if workload.source is None:
        return None
    try:
        return to_string(workload.source.choices)
    except (KeyError, ValueError, TypeError):
        return None


def cells(file: Path) -> dict[int, str]:
    """Which cell has which number.

    Raises:
        DataError: The file that says so is absent.
    """
    beside = file.with_name(CELLS)
    if not beside.is_file():
        raise DataError(f"{file}: lists cells by number; put {CELLS}, which says which they are, beside it")
    with _opened(beside) as text:
        return {int(row["idx"]): row["arch"] for row in csv.DictReader(text)}


def _opened(file: Path) -> Any:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8", newline="")
    return file.open(encoding="utf-8", newline="")


def _number(value: str | float) -> float:
    """A figure; NaN where there is none.

    Raises:
        ValueError: It is no positive number.
    """
    number = float(value) if value != "" else math.nan
    if not math.isnan(number) and not (math.isfinite(number) and number > 0):
        raise ValueError(f"a latency or energy must be a positive number, got {value!r}")
    return number


plugin = DeviceTable
