"""The accuracy model ``table``: what NAS-Bench-201 measured of every cell, read from a file. Nothing is trained.

The file is a CSV (also gzipped) with a row per cell: its string in the column ``arch`` (the paper's form,
``|nor_conv_3x3~0|+|...|``) and accuracies in percent in columns ``<set>_<part><epochs>``: ``c10``, ``c100`` or
``in16``; ``valid`` or ``test``; 12 or 200. What a search does not read may be absent. Figures: X. Dong, L. Liu,
K. Musial, B. Gabrys: NATS-Bench, TPAMI 2021, topology space; each the mean over the benchmark's own seeds.
"""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from coevo.design import Accuracy, Network
from coevo.errors import DataError, SpecError
from coevo.library import find_table
from coevo.networks.cell import Cell, CellSettings, from_string, isomorphism_class, to_string
from coevo.protocols import Context, NetworkFamily, Task

FILE = "nb201_acc.csv.gz"
"""What the file is called if the settings name none."""

TASKS: Mapping[str, Task] = {
    "cifar10": Task(channels=3, resolution=32, classes=10),
    "cifar100": Task(channels=3, resolution=32, classes=100),
    "imagenet16-120": Task(channels=3, resolution=16, classes=120),
}
"""The benchmark's data sets."""

_SHORT = {"cifar10": "c10", "cifar100": "c100", "imagenet16-120": "in16"}


class TableSettings(BaseModel):
    """Which figures of the table.

    Attributes:
        file: The CSV, from the experiment file's folder or the working directory; empty: `FILE` in the folder that the
            environment variable ``COEVO_DATA`` names.
        data: The data set.
        epochs: Length of the trainings.
        part: Whose error a search sees: ``validation``, ``test``, or ``auto``: validation where the file has it.
        merge_isomorphic: Whether all cells that compute the same function have one value, that of the first of them
            in the file. Their own figures differ, as they were trained apart.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    file: str = ""
    data: Literal["cifar10", "cifar100", "imagenet16-120"] = "cifar10"
    epochs: Literal[12, 200] = 200
    part: Literal["auto", "validation", "test"] = "auto"
    merge_isomorphic: bool = False


class TabulatedAccuracy:
    """Looks cells up (socket `AccuracyModel`)."""

    Settings: ClassVar[type[TableSettings]] = TableSettings
    untrained = True
    independent = True

    def __init__(self, settings: TableSettings, near_file: str = "") -> None:
        self._settings = settings
        self._near_file = near_file

    @property
    def task(self) -> Task:
        """What the data set asks of a network.

        Raises:
            DataError: The file is absent.
        """
        self._find()
        return TASKS[self._settings.data]

    def check(self, family: NetworkFamily) -> None:
        """Refuses networks that are not the benchmark's.

        Raises:
            SpecError: The family is another, or its skeleton has another size.
        """
        if not isinstance(family, Cell):
            raise SpecError("the table knows the networks of family cell alone (space nasbench201); use another model")
        if family.settings != CellSettings():
            size = f"{family.settings.channels} channels and {family.settings.cells} cells"
            raise SpecError(f"the table is of cells in a skeleton of 16 channels and 5 cells a stage, not of {size}")

    def score(
        self,
        family: NetworkFamily,
        networks: Sequence[Network],
        seed: int,  # noqa: ARG002 - nothing is random
        jobs: int = 1,  # noqa: ARG002
        context: Context | None = None,  # noqa: ARG002
    ) -> Iterator[tuple[int, Accuracy]]:
        """Yields (index, accuracy) of every network.

        Args:
            family: Must be ``cell``.
            networks: Which cells.
            seed: Not used.
            jobs: Not used.
            context: Not used.

        Raises:
            DataError: The file is absent, damaged or lacks a figure.
            SpecError: As `check`.
        """
        self.check(family)
        known = self._accuracies
        for i, network in enumerate(networks):
            key = isomorphism_class(network.choices) if self._settings.merge_isomorphic else to_string(network.choices)
            if key not in known:
                raise DataError(f"{self._find()}: has no cell {to_string(network.choices)}")
            yield i, known[key]

    @cached_property
    def _accuracies(self) -> dict[str, Accuracy]:
        """All of the table by cell, or by class."""
        file = self._find()
        known: dict[str, Accuracy] = {}
        try:
            with (
                gzip.open(file, "rt", encoding="utf-8", newline="")
                if file.suffix == ".gz"
                else file.open(encoding="utf-8", newline="") as text
            ):
                rows = csv.DictReader(text)
                error, test = self._columns(file, rows.fieldnames or ())
                for row in rows:
                    choices = from_string(row["arch"] or "")
                    key = isomorphism_class(choices) if self._settings.merge_isomorphic else row["arch"]
                    accuracy = Accuracy(
                        _error(row[error]), _error(row[test]) if test else None, fidelity=self._fidelity
                    )
                    known.setdefault(key, accuracy)
        except (OSError, EOFError, UnicodeDecodeError, csv.Error, SpecError, TypeError, ValueError) as problem:
            raise DataError(f"{file}: is no table of cells: {' '.join(str(problem).split())}") from None
        return known

    def _columns(self, file: Path, columns: Sequence[str]) -> tuple[str, str]:
        """Names of the columns that a search and a report read; the latter empty if there is none."""
        settings = self._settings
        stem = _SHORT[settings.data]
        validation, test = f"{stem}_valid{settings.epochs}", f"{stem}_test{settings.epochs}"
        part = settings.part
        if part == "auto":
            part = "validation" if validation in columns else "test"
        wanted = validation if part == "validation" else test
        for column in ("arch", wanted):
            if column not in columns:
                raise DataError(
                    f"{file}: has no column {column!r}, only {', '.join(columns) or 'none'}; "
                    "take another part or number of epochs, or another file"
                )
        return wanted, test if test in columns else ""

    @property
    def _fidelity(self) -> str:
        merged = ", one per class" if self._settings.merge_isomorphic else ""
        return f"table, {self._settings.epochs} epochs{merged}"

    def _find(self) -> Path:
        """Returns the file.

        Raises:
            DataError: It is nowhere; the text says where to put it.
        """
        file = self._settings.file
        return find_table("the table of NAS-Bench-201", "accuracy.file", file, (FILE,), self._near_file)


plugin = TabulatedAccuracy


def _error(percent: str) -> float:
    """The error as a share of 1 from an accuracy in percent; ValueError if it is none."""
    value = float(percent)
    if not math.isfinite(value) or not 0 <= value <= 100:
        raise ValueError(f"an accuracy must be from 0 to 100 %, got {percent!r}")
    return 1 - value / 100
