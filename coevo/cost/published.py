"""What published tables of devices have in common (`coevo.cost.published_cells`, `coevo.cost.published_blocks`)."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coevo.cost.figures import Figures
from coevo.errors import SpecError, near
from coevo.workload import Source, Workload


@dataclass(frozen=True, eq=False)
class Published:
    """What a table says of one device.

    Attributes:
        find: Gives the figures of a network by name; None if the table lacks it.
        has_energy: Whether energies are among them.
    """

    find: Callable[[str], Figures | None]
    has_energy: bool


@dataclass(frozen=True)
class Benchmark:
    """Networks that were timed.

    Attributes:
        space: The shipped space that they are of.
        files: The table's usual name, then those of the files that must lie beside it.
        name: Gives what the table calls a network by its choices; raises KeyError, TypeError or ValueError if it is no
            network of the benchmark's.
        flaw_of: Gives how a network of the benchmark's, by what the table calls it, its source and itself, is scored
            otherwise than it was timed, with the cure; empty if alike.
        read: Gives what a file says of a device; raises SpecError if it does not have the device, DataError if a file
            beside it is absent, and OSError, EOFError, KeyError, TypeError or ValueError if it is no such table.
    """

    space: str
    files: tuple[str, ...]
    name: Callable[[Mapping[str, Any]], str]
    flaw_of: Callable[[str, Source, Workload], str]
    read: Callable[[Path, str], Published]

    def name_of(self, workload: Workload) -> str | None:
        """Returns what the table calls a network; None if it is no network of the benchmark's."""
        if workload.source is None:
            return None
        try:
            return self.name(workload.source.choices)
        except (KeyError, TypeError, ValueError):
            return None


def known_device(device: str, devices: Collection[str]) -> str:
    """Returns a device's name as a table writes it, whatever its case.

    Raises:
        SpecError: It is none of the devices.
    """
    by_name = {name.lower(): name for name in devices}
    if device.lower() not in by_name:
        raise SpecError(f"the table has no device {device!r} {near(device, devices)}")
    return by_name[device.lower()]


def shown_shape(shape: tuple[int, ...]) -> str:
    """Returns a shape for people, e.g. ``3 x 32 x 32``."""
    return " x ".join(map(str, shape))


def opened(file: Path) -> Any:
    """Opens a text file that may be gzipped."""
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8", newline="")
    return file.open(encoding="utf-8", newline="")


def number(value: str | float) -> float:
    """Returns a latency or energy; NaN where there is none.

    Raises:
        ValueError: It is no positive number.
    """
    found = float(value) if value != "" else math.nan
    if not math.isnan(found) and not (math.isfinite(found) and found > 0):
        raise ValueError(f"a latency or energy must be a positive number, got {value!r}")
    return found
