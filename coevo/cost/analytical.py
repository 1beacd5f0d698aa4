"""The analytical cost model: the best mapping of every layer by loop-nest analysis.

Latency is the sum of the layers' cycles (layers run one after the other), energy the sum of their energies.
Distinct (layer, accelerator) pairs are mapped once, together, on all threads, and remembered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from coevo.accelerator.machine import Accelerator
from coevo.cost.detail import evaluate_mapping, smallest_need
from coevo.cost.kept import best_chain, buffer_of, choices, keeping_machine, without_place
from coevo.cost.mapper import Found, Goal, find_mappings, mapping_of
from coevo.design import Cost, LayerCost
from coevo.workload import Kept, Layer, Workload

Key = tuple[object, str]
Options = dict[Kept, tuple[Layer, Accelerator]]
"""By what a layer keeps: the layer, and the machine as it sees it."""

REMEMBERED = 200_000
"""Pairs whose mapping is remembered, some 1 KB each."""


class AnalyticalSettings(BaseModel):
    """Settings of `AnalyticalCost`.

    Attributes:
        objective: What the mapper minimises per layer: energy x delay, latency or energy.
        keep_on_chip: Whether a layer may leave its outputs on chip for the next one (`coevo.cost.kept`); what is kept
            is what makes the sum of the layers' objectives least. Off as in Timeloop: all pass DRAM.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    objective: Goal = "edp"
    keep_on_chip: bool = False


class AnalyticalCost:
    """Latency, energy and area by loop-nest analysis, every layer under its best mapping (socket `CostModel`)."""

    Settings: ClassVar[type[BaseModel]] = AnalyticalSettings

    def __init__(self, settings: Any = None) -> None:
        self.settings: AnalyticalSettings = settings or AnalyticalSettings()
        self._known: dict[Key, Found | None] = {}

    @property
    def additive(self) -> bool:
        """Whether a workload costs the sum of its layers, whatever their order."""
        return not self.settings.keep_on_chip

    def evaluate(self, pairs: Sequence[tuple[Workload, Accelerator]], jobs: int = 1) -> list[Cost]:
        """Scores every (workload, accelerator) pair; pure, and the same for any ``jobs``."""
        if self.settings.keep_on_chip:
            chains = [self._options(workload, machine) for workload, machine in pairs]
            self._find([pair for chain in chains for options in chain for pair in options.values()], jobs)
            costs = [
                self._cost(self._keeping(workload, chain), machine)
                for (workload, machine), chain in zip(pairs, chains, strict=True)
            ]
        else:
            plain = [(_none_kept(workload), machine) for workload, machine in pairs]
            self._find([(layer, machine) for workload, machine in plain for layer, _ in workload.repeats], jobs)
            costs = [self._cost(workload, machine) for workload, machine in plain]
        if len(self._known) > REMEMBERED:
            self._known.clear()
        return costs

    def _find(self, pairs: Sequence[tuple[Layer, Accelerator]], jobs: int) -> None:
        """Maps those of the pairs that are not known."""
        wanted = {_key(layer, machine): (layer, machine) for layer, machine in pairs}
        new = {key: pair for key, pair in wanted.items() if key not in self._known}
        self._known.update(zip(new, find_mappings(list(new.values()), self.settings.objective, jobs=jobs), strict=True))

    def _options(self, workload: Workload, machine: Accelerator) -> list[Options]:
        """Returns, by layer and what it may keep, the layer and the machine as it sees it."""
        result = []
        for i, layer in enumerate(workload.layers):
            followed = i + 1 < len(workload.layers) and workload.layers[i + 1].follows
            first = replace(layer, follows=layer.follows and i > 0)
            machines = [(one.kept, keeping_machine(one, machine)) for one in choices(first, followed)]
            result.append({kept: (replace(layer, kept=()), seen) for kept, seen in machines if seen is not None})
        return result

    def _keeping(self, workload: Workload, chain: Sequence[Options]) -> Workload:
        """Returns the workload with what its layers best keep."""
        values = [{kept: self._value(*pair) for kept, pair in options.items()} for options in chain]
        kept = best_chain(values)
        layers = tuple(replace(x, kept=one) for x, one in zip(workload.layers, kept, strict=True))
        return replace(workload, layers=layers)

    def _value(self, layer: Layer, machine: Accelerator) -> float:
        """What is to be least of one layer."""
        found = self._known[_key(layer, machine)]
        if found is None:
            return math.inf
        goal = self.settings.objective
        return (found.cycles if goal != "energy" else 1.0) * (found.energy_pj if goal != "latency" else 1.0)

    def _kept(self, layer: Layer, machine: Accelerator) -> Found | None:
        """The mapping of a layer that keeps operands on chip."""
        seen = keeping_machine(layer, machine)
        return None if seen is None else self._known[_key(replace(layer, kept=()), seen)]

    def _cost(self, workload: Workload, machine: Accelerator) -> Cost:
        names = tuple(memory.name for memory in machine.memories)
        mapped: dict[object, tuple[Layer, Found, int]] = {}  # by shape: layers repeat, some of them a hundred times
        for layer, count in workload.repeats:
            found = self._known[_key(layer, machine)] if not layer.kept else self._kept(layer, machine)
            if found is None:
                violation, reason = smallest_need(layer, machine)
                return Cost(names, 0.0, 0.0, machine.area_mm2, 0.0, violation, reason)
            mapped[layer.shape_key] = layer, found, count

        def detail() -> tuple[LayerCost, ...]:
            return tuple(_detail(layer, machine, mapped[layer.shape_key][1]) for layer in workload.layers)

        # The mapper counts what is kept and the tiles through two ports; they share one.
        two_ports = self.settings.keep_on_chip and _limited(machine)
        cycles = energy_pj = 0.0
        for layer, found, count in mapped.values():
            if two_ports and layer.kept:
                shared = _detail(layer, machine, found)
                cycles += count * shared.cycles
                energy_pj += count * shared.total_energy_pj
            else:
                cycles += count * found.cycles
                energy_pj += count * found.energy_pj
        return Cost(
            memories=names,
            latency_cycles=cycles,
            energy_pj=energy_pj,
            area_mm2=machine.area_mm2,
            peak_memory_bytes=max(found.bytes_used for _, found, _ in mapped.values()),
            detail=detail,
        )


def _none_kept(workload: Workload) -> Workload:
    if not any(layer.kept for layer in workload.layers):
        return workload
    return replace(workload, layers=tuple(replace(layer, kept=()) for layer in workload.layers))


def _detail(layer: Layer, machine: Accelerator, found: Found) -> LayerCost:
    seen = keeping_machine(layer, machine) or machine
    mapping = mapping_of(seen, layer.has_weights, found)
    return evaluate_mapping(layer, machine, without_place(mapping) if layer.kept else mapping)


def _limited(machine: Accelerator) -> bool:
    """Whether the buffer that keeps activations has a bandwidth."""
    at = buffer_of(machine)
    if at is None:
        return False
    memory = machine.memories[at]
    return min(memory.read_words_per_cycle, memory.write_words_per_cycle, memory.words_per_cycle) < math.inf


def _key(layer: Layer, machine: Accelerator) -> Key:
    return layer.shape_key, machine.key


plugin = AnalyticalCost
