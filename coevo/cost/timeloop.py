"""Timeloop as cost model: the user's own ``timeloop-model`` scores every layer, under Timeloop's conventions.

The mapping is ours (the analytical model's best) or what Timeloop's own mapper finds. Cycles and energy are Timeloop's;
accesses, tiles and what bounds a layer are ours of the same mapping. Layers that do not multiply are left out, nothing
stays on chip between layers, and arrays fill and drain at no cost (`coevo.timeloop.conventions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from coevo.accelerator.machine import Accelerator
from coevo.cost.analytical import AnalyticalCost, AnalyticalSettings
from coevo.cost.detail import evaluate_mapping
from coevo.cost.parts import refuse_parts
from coevo.design import Cost, LayerCost
from coevo.errors import BackendError
from coevo.timeloop.conventions import layers_seen, machine_seen
from coevo.timeloop.form import TENSORS, Form
from coevo.timeloop.process import MAPPER, MODEL, Format, Timeloop, check
from coevo.timeloop.stats import LEAKAGE, Stats
from coevo.workload import OPERANDS, Layer, Workload

Key = tuple[object, str]


class TimeloopSettings(BaseModel):
    """Settings of `TimeloopCost`.

    Attributes:
        mapping: Whose mapping is scored: ``ours``, or the one that Timeloop's mapper finds.
        objective: What the mapper minimises per layer, ours or Timeloop's.
        format: ``flat``, with our energies; or ``v4``, by pytimeloop, with Accelergy's.
        seconds: Time limit of one call.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    mapping: Literal["ours", "timeloop"] = "ours"
    objective: Literal["edp", "latency", "energy"] = "edp"
    format: Format = "flat"
    seconds: Annotated[float, Field(gt=0)] = 120.0


class TimeloopCost:
    """Latency, energy and area by the user's own Timeloop (socket `CostModel`)."""

    Settings: ClassVar[type[BaseModel]] = TimeloopSettings
    additive = True

    def __init__(self, settings: Any = None) -> None:
        self.settings: TimeloopSettings = settings or TimeloopSettings()
        self._ours = AnalyticalCost(AnalyticalSettings(objective=self.settings.objective))
        self._known: dict[Key, LayerCost] = {}

    def refuse(self, machine: Accelerator) -> None:
        """Refuses a machine of several parts.

        Raises:
            SpecError: It is one.
        """
        refuse_parts(machine, "Timeloop")

    def evaluate(self, pairs: Sequence[tuple[Workload, Accelerator]], jobs: int = 1) -> list[Cost]:
        """Scores every (workload, accelerator) pair; pure, and the same for any ``jobs``.

        Raises:
            SpecError: A machine has several parts.
            BackendError: Timeloop is missing, or fails on a layer.
        """
        for _, machine in pairs:
            self.refuse(machine)
        check(self.settings.format, MODEL, *([MAPPER] if self.settings.mapping == "timeloop" else []))
        seen = [(Workload(work.name, tuple(layers_seen(work))), machine_seen(machine)) for work, machine in pairs]
        own = self._ours.evaluate(seen, jobs)
        wanted: dict[Key, tuple[LayerCost, Accelerator]] = {}
        for (_, machine), cost in zip(seen, own, strict=True):
            if cost.violation == 0:
                wanted |= {_key(x.layer, machine): (x, machine) for x in cost.layers}
        new = {key: pair for key, pair in wanted.items() if key not in self._known}
        with ThreadPoolExecutor(jobs) as pool:
            self._known.update(zip(new, pool.map(lambda pair: self._score(*pair), new.values()), strict=True))
        return [self._cost(machine, cost) for (_, machine), cost in zip(seen, own, strict=True)]

    def _score(self, ours: LayerCost, machine: Accelerator) -> LayerCost:
        """Returns a layer as Timeloop scores it."""
        about = f"layer {ours.layer.name} on {machine.name}"
        timeloop = Timeloop(self.settings.format, self.settings.seconds)
        form = Form(ours.layer, machine, ours.mac_energy_pj / ours.layer.operations, ours.mapping)
        if self.settings.mapping == "timeloop":
            form = timeloop.mapper(replace(form, mapping=None), about, self.settings.objective)
        try:
            found = evaluate_mapping(ours.layer, machine, form.mapping or ours.mapping)
            form.check()
        except ValueError as error:
            raise BackendError(f"{about}: {error}") from None
        return told(found, machine, form, timeloop.model(form, about))

    def _cost(self, machine: Accelerator, own: Cost) -> Cost:
        if own.violation > 0:
            return own
        layers = tuple(replace(self._known[_key(x.layer, machine)], layer=x.layer) for x in own.layers)
        return Cost(
            memories=own.memories,
            latency_cycles=sum(x.cycles for x in layers),
            energy_pj=sum(x.total_energy_pj for x in layers),
            area_mm2=machine.area_mm2,
            peak_memory_bytes=max((x.bytes_used for x in layers), default=0.0),
            detail=lambda: layers,
        )


def told(ours: LayerCost, machine: Accelerator, form: Form, theirs: Stats) -> LayerCost:
    """Returns a layer with Timeloop's cycles and energies in the place of ours."""
    names = [memory.name for memory in machine.memories]
    energy = np.zeros_like(ours.energy_pj)
    for operand, tensor in TENSORS.items():
        for level, name in enumerate(names):
            energy[level, OPERANDS.index(operand)] = theirs.energies_pj.get((name, tensor), 0.0)
    leakage = sum(pj for (_, tensor), pj in theirs.energies_pj.items() if tensor == LEAKAGE)
    return replace(
        ours,
        cycles=float(theirs.cycles),
        utilization=ours.layer.operations / (machine.pes * theirs.cycles),
        mac_energy_pj=theirs.energies_pj.get((form.compute_name, ""), 0.0),
        leakage_pj=leakage,
        energy_pj=energy,
    )


def _key(layer: Layer, machine: Accelerator) -> Key:
    return layer.shape_key, machine.key


plugin = TimeloopCost
