"""The analytical cost model: the best mapping of every layer by loop-nest analysis.

Latency is the sum of the layers' cycles (layers run one after the other), energy the sum of their energies.
Distinct (layer, accelerator) pairs are mapped once, together, on all threads, and remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from coevo.accelerator.machine import Accelerator
from coevo.cost.detail import evaluate_mapping, smallest_need
from coevo.cost.mapper import Found, Goal, find_mappings, mapping_of
from coevo.design import Cost, LayerCost
from coevo.workload import Layer, Workload

Key = tuple[object, str]

REMEMBERED = 200_000
"""Pairs whose mapping is remembered, some 1 KB each."""


class AnalyticalSettings(BaseModel):
    """Settings of `AnalyticalCost`.

    Attributes:
        objective: What the mapper minimises per layer: energy x delay, latency or energy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    objective: Goal = "edp"


class AnalyticalCost:
    """Latency, energy and area by loop-nest analysis, every layer under its best mapping (socket `CostModel`)."""

    Settings: ClassVar[type[BaseModel]] = AnalyticalSettings

    def __init__(self, settings: Any = None) -> None:
        self.settings: AnalyticalSettings = settings or AnalyticalSettings()
        self._known: dict[Key, Found | None] = {}

    def evaluate(self, pairs: Sequence[tuple[Workload, Accelerator]], jobs: int = 1) -> list[Cost]:
        """Scores every (workload, accelerator) pair; pure, and the same for any ``jobs``."""
        wanted = {_key(x, machine): (x, machine) for workload, machine in pairs for x in workload.layers}
        new = {key: pair for key, pair in wanted.items() if key not in self._known}
        self._known.update(zip(new, find_mappings(list(new.values()), self.settings.objective, jobs=jobs), strict=True))
        costs = [self._cost(workload, machine) for workload, machine in pairs]
        if len(self._known) > REMEMBERED:
            self._known.clear()
        return costs

    def _cost(self, workload: Workload, machine: Accelerator) -> Cost:
        names = tuple(memory.name for memory in machine.memories)
        mapped: list[tuple[Layer, Found]] = []
        for layer in workload.layers:
            found = self._known[_key(layer, machine)]
            if found is None:
                violation, reason = smallest_need(layer, machine)
                return Cost(names, 0.0, 0.0, machine.area_mm2, 0.0, violation, reason)
            mapped.append((layer, found))

        def detail() -> tuple[LayerCost, ...]:
            return tuple(
                evaluate_mapping(layer, machine, mapping_of(machine, layer.has_weights, found))
                for layer, found in mapped
            )

        return Cost(
            memories=names,
            latency_cycles=sum(found.cycles for _, found in mapped),
            energy_pj=sum(found.energy_pj for _, found in mapped),
            area_mm2=machine.area_mm2,
            peak_memory_bytes=max(found.bytes_used for _, found in mapped),
            detail=detail,
        )


def _key(layer: Layer, machine: Accelerator) -> Key:
    return layer.shape_key, machine.key


plugin = AnalyticalCost
