"""What cost models other than the analytical one know of a network on a machine: a few figures, kept with the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from coevo.accelerator.machine import Accelerator
from coevo.accelerator.system import System
from coevo.design import Cost, digest
from coevo.errors import RunError
from coevo.workload import Workload

ATTRIBUTES = ("latency_cycles", "energy_pj", "peak_memory_bytes")
"""The figures, by their names in `Cost`."""

NANOSECONDS_MHZ = 1000.0
"""The clock whose cycles are nanoseconds: what is measured is kept in such cycles."""


@dataclass(frozen=True)
class Figures:
    """Of one inference; NaN where a figure is not known.

    Attributes:
        latency_cycles: Time [cycle].
        energy_pj: Energy [pJ].
        peak_memory_bytes: Most on-chip memory in use [byte].
        violation: 0, or > 0 if there are no figures.
        reason: Why there are none.
        latency_cycles_std, energy_pj_std, peak_memory_bytes_std: Standard deviations of predicted figures, else 0.
    """

    latency_cycles: float = math.nan
    energy_pj: float = math.nan
    peak_memory_bytes: float = math.nan
    violation: float = 0.0
    reason: str = ""
    latency_cycles_std: float = 0.0
    energy_pj_std: float = 0.0
    peak_memory_bytes_std: float = 0.0

    @staticmethod
    def failed(reason: str) -> Figures:
        """Returns what stands for a network of which there are no figures."""
        return Figures(violation=1.0, reason=reason)

    @staticmethod
    def measured(latency_ms: float, energy_mj: float = math.nan) -> Figures:
        """Returns figures in the units that people measure in, latency in nanoseconds as cycles."""
        return Figures(latency_ms * 1e6, energy_mj * 1e9)

    @staticmethod
    def of(cost: Cost) -> Figures:
        """Returns the figures of a cost."""
        if cost.violation > 0:
            return Figures(violation=cost.violation, reason=cost.reason)
        return Figures(cost.latency_cycles, cost.energy_pj, cost.peak_memory_bytes)

    def cost(self, machine: Accelerator, clock_mhz: float | None) -> Cost:
        """Returns the cost on a machine, whose area it has; no breakdown.

        Args:
            machine: The machine.
            clock_mhz: The clock that `latency_cycles` are of; None for the machine's own.
        """
        names = tuple(memory.name for memory in machine.memories)
        if self.violation > 0:
            return Cost(names, 0.0, 0.0, machine.area_mm2, 0.0, self.violation, self.reason)
        scale = 1.0 if clock_mhz is None else machine.clock_mhz / clock_mhz
        deviations = {name: getattr(self, f"{name}_std") for name in ATTRIBUTES}
        return Cost(
            names,
            self.latency_cycles * scale,
            self.energy_pj,
            machine.area_mm2,
            self.peak_memory_bytes,
            std={name: value for name, value in deviations.items() if value > 0},
        )

    def to_data(self) -> dict[str, Any]:
        """Returns them as plain data; None where a figure is not known."""
        return {
            name: None if name in ATTRIBUTES and math.isnan(value) else value for name, value in asdict(self).items()
        }

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> Figures:
        """Reads what `to_data` wrote.

        Raises:
            RunError: It is something else.
        """
        try:
            known: dict[str, Any] = {name: math.nan if value is None else value for name, value in data.items()}
            return Figures(**known)
        except (AttributeError, TypeError):
            raise RunError("the figures that the run keeps are of another coevo, or damaged; start a new run") from None


class Known:
    """Figures by key, in the memory of the run and in this process.

    Args:
        model: Name and settings of the model that they are of: two models may keep figures in one run.
        clock_mhz: The clock that latencies are in cycles of; None for that of each pair's machine.
    """

    def __init__(self, model: object, clock_mhz: float | None = None) -> None:
        self._model = model
        self._clock_mhz = clock_mhz
        self._here: dict[str, Figures] = {}
        self.memory: MutableMapping[str, Any] = {}

    def costs(
        self,
        pairs: Sequence[tuple[Workload, Accelerator]],
        key: Callable[[Workload, Accelerator], object],
        find: Callable[[Sequence[tuple[Workload, Accelerator]]], Iterable[Figures]],
    ) -> list[Cost]:
        """Returns the cost of every pair; ``find`` is asked once for each whose key is new, each kept as it comes."""
        keys = [digest([self._model, key(*pair)]) for pair in pairs]
        known: dict[str, Figures] = {}
        new: dict[str, tuple[Workload, Accelerator]] = {}
        for one, pair in zip(keys, pairs, strict=True):
            if one in self.memory:
                known[one] = Figures.from_data(self.memory[one])
            elif one in self._here:
                known[one] = self._here[one]
                self.memory[one] = known[one].to_data()
            else:
                new[one] = pair
        if new:
            for one, figures in zip(new, find(list(new.values())), strict=True):
                known[one] = self._here[one] = figures
                self.memory[one] = figures.to_data()
        return [known[one].cost(machine, self._clock_mhz) for one, (_, machine) in zip(keys, pairs, strict=True)]


def pair_key(workload: Workload, machine: Accelerator) -> object:
    """Returns what decides the cost of a pair: the network, or else the layers as they run; and the machine."""
    layers: object = [(layer.shape_key, layer.follows) for layer in workload.layers]
    if isinstance(machine, System):
        layers = [layers, workload.reads]
    return [layers if workload.source is None else workload.source.key, machine.key]
