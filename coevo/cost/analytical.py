"""The analytical cost model: the best mapping of every layer by loop-nest analysis.

Latency is the sum of the layers' cycles (layers run one after the other), energy the sum of their energies.
Distinct (layer, accelerator) pairs are mapped once, together, on all threads, and remembered. On a heterogeneous
accelerator (`System`) every layer is mapped on every part, `coevo.cost.assignment` chooses among them, and branches run
side by side (`coevo.cost.parts`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from coevo.accelerator.machine import Accelerator
from coevo.accelerator.system import System, mapped_on
from coevo.cost.assignment import Assignment, assign
from coevo.cost.detail import evaluate_mapping, smallest_need
from coevo.cost.kept import best_chain, buffer_of, choices, keeping_machine, without_place
from coevo.cost.mapper import Found, Goal, find_mappings, mapping_of
from coevo.cost.parts import Choices, on_system
from coevo.design import Cost, LayerCost
from coevo.errors import SpecError
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
        assign: What the parts of a heterogeneous accelerator are chosen for, of all layers together; None:
            `objective`. Says nothing on a single accelerator.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    objective: Goal = "edp"
    keep_on_chip: bool = False
    assign: Assignment | None = None

    @model_serializer(mode="wrap")
    def _given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves ``assign`` out where it is not given: runs from before it are still the same experiments."""
        data: dict[str, Any] = handler(self)
        return {name: value for name, value in data.items() if name != "assign" or value is not None}


class AnalyticalCost:
    """Latency, energy and area by loop-nest analysis, every layer under its best mapping (socket `CostModel`)."""

    Settings: ClassVar[type[BaseModel]] = AnalyticalSettings

    def __init__(self, settings: Any = None) -> None:
        self.settings: AnalyticalSettings = settings or AnalyticalSettings()
        self._known: dict[Key, Found | None] = {}
        self._dram_cycles: dict[Key, float] = {}

    @property
    def additive(self) -> bool:
        """Whether a workload costs the sum of its layers on a single accelerator, whatever their order."""
        return not self.settings.keep_on_chip

    def refuse(self, machine: Accelerator) -> None:
        """Refuses a machine of several parts where layers are to leave their outputs on chip.

        Raises:
            SpecError: It is one.
        """
        if self.settings.keep_on_chip and isinstance(machine, System):
            problem = f"{machine.name} has several parts, between which activations pass DRAM; remove keep_on_chip"
            raise SpecError(problem, field="keep_on_chip")

    def evaluate(self, pairs: Sequence[tuple[Workload, Accelerator]], jobs: int = 1) -> list[Cost]:
        """Scores every (workload, accelerator) pair; pure, and the same for any ``jobs``."""
        if self.settings.keep_on_chip:
            for _, machine in pairs:
                self.refuse(machine)
            chains = [self._options(workload, machine) for workload, machine in pairs]
            self._find([pair for chain in chains for options in chain for pair in options.values()], jobs)
            costs = [
                self._cost(self._keeping(workload, chain), machine)
                for (workload, machine), chain in zip(pairs, chains, strict=True)
            ]
        else:
            plain = [(_none_kept(workload), machine) for workload, machine in pairs]
            wanted = [
                (layer, one)
                for work, machine in plain
                for one in mapped_on(machine).values()
                for layer, _ in work.repeats
            ]
            self._find(wanted, jobs)
            costs = [
                self._system_cost(workload, machine) if isinstance(machine, System) else self._cost(workload, machine)
                for workload, machine in plain
            ]
        if len(self._known) > REMEMBERED:
            self._known.clear()
            self._dram_cycles.clear()
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

    def _system_cost(self, workload: Workload, system: System) -> Cost:
        names = tuple(memory.name for memory in system.memories)
        for layer, _ in workload.repeats:
            if all(self._known[_key(layer, part)] is None for _, part in system.parts):
                violation, reason = smallest_need(layer, system)
                return Cost(names, 0.0, 0.0, system.area_mm2, 0.0, violation, reason)
        choices = self._choices(workload, system)
        places = assign(choices, self.settings.assign or self.settings.objective)

        def detail() -> tuple[LayerCost, ...]:
            pairs = zip(workload.layers, places, strict=True)
            return tuple(self._on_part(layer, system, int(place)) for layer, place in pairs)

        used = [
            self._known[_key(layer, part)]
            for (layer, _), row in zip(workload.repeats, choices.assigned(places), strict=True)
            for (_, part), count in zip(system.parts, row, strict=True)
            if count
        ]
        return Cost(
            memories=names,
            latency_cycles=choices.latency(places),
            energy_pj=choices.energy(places),
            area_mm2=system.area_mm2,
            peak_memory_bytes=max(found.bytes_used for found in used if found is not None),
            detail=detail,
            interval_cycles=choices.interval(places),
        )

    def _choices(self, workload: Workload, system: System) -> Choices:
        """What the layers cost on every part, all pairs being known."""
        shape = len(workload.repeats), len(system.parts)
        cycles, energy, dram = (np.full(shape, math.inf) for _ in range(3))
        for i, (layer, _) in enumerate(workload.repeats):
            for j, (_, part) in enumerate(system.parts):
                found = self._known[_key(layer, part)]
                if found is not None:
                    scale = system.clock_mhz / part.clock_mhz
                    cycles[i, j], energy[i, j] = found.cycles * scale, found.energy_pj
                    dram[i, j] = self._dram(layer, part, found) * scale
        places = {layer.shape_key: i for i, (layer, _) in enumerate(workload.repeats)}
        kinds = np.array([places[layer.shape_key] for layer in workload.layers])
        return Choices(kinds, workload.reads, cycles, energy, dram)

    def _dram(self, layer: Layer, part: Accelerator, found: Found) -> float:
        """For how many of the part's cycles a layer keeps the DRAM busy."""
        key = _key(layer, part)
        if key not in self._dram_cycles:
            self._dram_cycles[key] = float(_detail(layer, part, found).memory_cycles[0])
        return self._dram_cycles[key]

    def _on_part(self, layer: Layer, system: System, place: int) -> LayerCost:
        label, part = system.parts[place]
        found = self._known[_key(layer, part)]
        if found is None:
            raise ValueError(f"layer {layer.name} has no mapping on {label}")
        return on_system(_detail(layer, part, found), system, label)


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
