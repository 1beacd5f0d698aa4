"""The cost model ``device_table``: what networks of a benchmark took on real devices, read from a published table.

Networks of space nasbench201 stand in a table cell by cell (`coevo.cost.published_cells`), those of space fbnet are
sums over their blocks (`coevo.cost.published_blocks`). The accelerator's fields do not matter, but for one: without a
``device`` in the settings, each accelerator's own is looked up. So several devices are several targets:

    cost: {name: device_table}
    targets:
      phone: {template: device, set: {device: pixel3}}
      board: {template: device, set: {device: raspi4}}
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from coevo.accelerator.machine import Accelerator
from coevo.cost.figures import ATTRIBUTES, NANOSECONDS_MHZ, Figures, Known
from coevo.cost.published import Benchmark, Published
from coevo.cost.published_blocks import BENCHMARK as FBNET
from coevo.cost.published_cells import BENCHMARK as NASBENCH201
from coevo.design import Cost
from coevo.errors import DataError, SpecError
from coevo.library import find_table
from coevo.protocols import CostContext
from coevo.workload import Workload

BENCHMARKS: tuple[Benchmark, ...] = (NASBENCH201, FBNET)
"""Of which tables can be read."""

_LOOKED_AT = 256
"""Designs at random whose accelerators are asked for their devices before a run."""


class DeviceSettings(BaseModel):
    """Which device of which table.

    Attributes:
        device: Its name in the table, e.g. ``raspi4``; empty: that of each accelerator.
        path: The table, from the experiment file's folder or the working directory; empty: the one of the networks'
            benchmark, by its usual name, in the folder that the environment variable ``COEVO_DATA`` names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    device: str = ""
    path: str = ""


class DeviceTable:
    """Looks networks up (socket `CostModel`)."""

    Settings: ClassVar[type[BaseModel]] = DeviceSettings
    of_network = True

    def __init__(self, settings: Any) -> None:
        self.settings: DeviceSettings = settings
        self._near_file = ""
        self._benchmark: Benchmark = NASBENCH201
        self._devices = [settings.device] if settings.device else []
        self._read: dict[str, Published] = {}
        self._known = Known(["device_table", settings.device, settings.path], NANOSECONDS_MHZ)

    def attach(self, context: CostContext) -> None:
        """Takes note of where paths begin and of what the run knows, and refuses what the table cannot know.

        Raises:
            SpecError: The networks are others than the table's, they are given another input, or an accelerator names
                no device or another than the settings do.
        """
        self._near_file = context.near_file
        self._known.memory = context.memory
        pairs = context.draw(1 if self.settings.device else _LOOKED_AT, 0)
        for workload, _ in pairs[:1]:
            self._benchmark = _benchmark_of(workload)
        self._devices = list(dict.fromkeys(self._device(machine) for _, machine in pairs)) or self._devices

    @property
    def files(self) -> tuple[Path, ...]:
        """The table."""
        return (self._find(),)

    @property
    def unknown(self) -> frozenset[str]:
        """All but the latency, and the energy where the table has it of every device."""
        tables = [self._table(device) for device in self._devices]
        return frozenset(ATTRIBUTES) - {
            "latency_cycles",
            *(("energy_pj",) if all(table.has_energy for table in tables) else ()),
        }

    @property
    def facts(self) -> dict[str, str]:
        """Where the figures are from."""
        table = self.settings.path or self._benchmark.files[0]
        return {"device": f"{', '.join(self._devices)}, as in the table {table}"}

    def evaluate(self, pairs: Sequence[tuple[Workload, Accelerator]], jobs: int = 1) -> list[Cost]:  # noqa: ARG002
        """Looks up every network.

        Raises:
            SpecError: An accelerator names no device that the table has.
            DataError: The table is absent or damaged, and a network is new to the run.
        """
        return self._known.costs(pairs, self._key, self._look_up)

    def _key(self, workload: Workload, machine: Accelerator) -> object:
        name = self._benchmark.name_of(workload)
        return name if self.settings.device else [self._device(machine), name]

    def _device(self, machine: Accelerator) -> str:
        """The device that a pair is looked up for.

        Raises:
            SpecError: None is named, or two are.
        """
        own, wanted = machine.device, self.settings.device
        if not own and not wanted:
            raise SpecError(
                f"the accelerator {machine.name} names no device; add `device` here, or to each accelerator, e.g. "
                "{template: device, set: {device: raspi4}}",
                field="device",
            )
        if own and wanted and own != wanted:
            raise SpecError(f"{wanted!r} stands here, and {own!r} in an accelerator; remove one", field="device")
        return own or wanted

    def _look_up(self, pairs: Sequence[tuple[Workload, Accelerator]]) -> Iterator[Figures]:
        for workload, machine in pairs:
            name, device = self._benchmark.name_of(workload), self._device(machine)
            figures = None if name is None else self._table(device).find(name)
            if figures is None or math.isnan(figures.latency_cycles):
                figures = Figures.failed(f"the table has no latency of {name or workload.name} on {device}")
            yield figures

    def _table(self, device: str) -> Published:
        """What the table says of a device.

        Raises:
            DataError: The table is absent or damaged.
            SpecError: It does not have the device.
        """
        if device not in self._read:
            file = self._find()
            try:
                self._read[device] = self._benchmark.read(file, device)
            except SpecError as error:
                named = "" if self.settings.device else "; an accelerator names it in its field device"
                raise SpecError(error.problem + named, field="device") from None
            except (OSError, EOFError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as problem:
                text = " ".join(str(problem).split())
                raise DataError(f"{file}: is no table of devices for space {self._benchmark.space}: {text}") from None
        return self._read[device]

    def _find(self) -> Path:
        files = self._benchmark.files
        return find_table("the table of devices", "cost.path", self.settings.path, files, self._near_file)


def _benchmark_of(workload: Workload) -> Benchmark:
    """The benchmark that a network is of.

    Raises:
        SpecError: It is of none, or is scored otherwise than it was timed.
    """
    for benchmark in BENCHMARKS:
        name = benchmark.name_of(workload)
        if name is not None and workload.source is not None:
            if flaw := benchmark.flaw_of(name, workload.source, workload):
                raise SpecError(flaw)
            return benchmark
    spaces = " and ".join(benchmark.space for benchmark in BENCHMARKS)
    raise SpecError(f"tables of devices know the networks of spaces {spaces} alone; use another cost model")


plugin = DeviceTable
