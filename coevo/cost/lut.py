"""The cost model ``lut``: the figures of single layers out of a table, added up.

A table is made by ``coevo lut build`` from any other cost model, or by hand (`coevo.cost.layer_table` says its form).
Sums leave out what depends on a layer's neighbours, activations that stay on chip say; how much that is, ``coevo
costs`` measures. A layer or an accelerator that the table lacks makes a design infeasible, with the reason; nothing is
guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from coevo.accelerator.machine import Accelerator
from coevo.cost.figures import Figures, Known, pair_key
from coevo.cost.layer_table import LayerTable, layer_key, layer_text, machine_text, read_table
from coevo.design import Cost
from coevo.errors import DataError
from coevo.protocols import CostContext
from coevo.workload import Workload


class LutSettings(BaseModel):
    """Where the table is.

    Attributes:
        path: The CSV, from the experiment file's folder or the working directory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: str = Field(min_length=1)


class LutCost:
    """Sums a table's figures over the layers of a network (socket `CostModel`)."""

    Settings: ClassVar[type[BaseModel]] = LutSettings
    additive = True
    truth = None

    def __init__(self, settings: Any) -> None:
        self.settings: LutSettings = settings
        self._context = CostContext()
        self._read: LayerTable | None = None
        self._known = Known(["lut", settings.path])

    def attach(self, context: CostContext) -> None:
        """Takes note of where paths begin and of what the run knows already."""
        self._context = context
        self._known.memory = context.memory

    @property
    def files(self) -> tuple[Path, ...]:
        """The table."""
        return (self._path(),)

    @property
    def unknown(self) -> frozenset[str]:
        """What no row of the table tells.

        Raises:
            DataError: The table is absent or damaged.
        """
        return self._table().unknown

    @property
    def facts(self) -> dict[str, str]:
        """What the table was made from; kept with the run, as the table may go."""
        memory, key = self._context.memory, f"lookup table {self.settings.path}"
        if key not in memory:
            facts = self._table().facts
            memory[key] = ", ".join(f"{name} {fact}" for name, fact in facts.items()) or self.settings.path
        return {"lookup table": memory[key]}

    def evaluate(self, pairs: Sequence[tuple[Workload, Accelerator]], jobs: int = 1) -> list[Cost]:  # noqa: ARG002
        """Looks up every layer of every pair.

        Raises:
            DataError: The table is absent or damaged, and a pair is new to the run.
        """
        return self._known.costs(pairs, pair_key, self._sums)

    def _sums(self, pairs: Sequence[tuple[Workload, Accelerator]]) -> Iterator[Figures]:
        table = self._table()
        for workload, machine in pairs:
            yield _sum(table, workload, machine, self.settings.path)

    def _table(self) -> LayerTable:
        if self._read is None:
            self._read = read_table(self._path())
        return self._read

    def _path(self) -> Path:
        name = self.settings.path
        tried = (Path(self._context.near_file).parent / name, Path(name))
        for path in tried:
            if path.is_file():
                return path
        found = " or ".join(dict.fromkeys(map(str, tried)))
        raise DataError(f"the lookup table: found no {found}; make it with coevo lut build EXPERIMENT -o {name}")


def _sum(table: LayerTable, workload: Workload, machine: Accelerator, path: str) -> Figures:
    """Returns the sum over layers, or the reason why there is none."""
    if machine.key not in table.accelerators:
        return Figures.failed(f"the lookup table {path} has no accelerator {machine_text(machine)}")
    latency_cycles = energy_pj = peak_memory_bytes = 0.0
    for layer, count in workload.repeats:
        row = table.rows.get((machine.key, layer_key(layer)))
        if row is None:
            return Figures.failed(
                f"the lookup table {path} has no layer {layer_text(layer)} on {machine_text(machine)}"
            )
        if row.violation > 0:
            return Figures.failed(row.reason)
        latency_cycles += count * row.latency_cycles
        energy_pj += count * row.energy_pj
        peak_memory_bytes = max(peak_memory_bytes, row.peak_memory_bytes)
    return Figures(latency_cycles, energy_pj, peak_memory_bytes)


plugin = LutCost
