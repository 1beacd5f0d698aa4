"""The cost model ``mixed``: latency from one model, energy from another: what each is best at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from coevo.accelerator.machine import Accelerator
from coevo.cost.stack import Section, attached, refuse
from coevo.design import Cost
from coevo.protocols import CostContext, CostModel
from coevo.workload import Workload

FIGURES = {"latency": "latency_cycles", "energy": "energy_pj", "peak_memory": "peak_memory_bytes"}
"""The attribute of `Cost` that each part gives."""


class MixedSettings(BaseModel):
    """Who says what.

    Attributes:
        latency: The model whose latency counts.
        energy: The model whose energy counts.
        peak_memory: The model whose peak on-chip memory counts; by default the energy's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    latency: Section
    energy: Section
    peak_memory: Section | None = None


class MixedCost:
    """Takes each figure from its own model (socket `CostModel`).

    A design that one of them finds infeasible is infeasible. There is no breakdown: the models' would not add up.
    """

    Settings: ClassVar[type[BaseModel]] = MixedSettings

    def __init__(self, settings: Any) -> None:
        self.settings: MixedSettings = settings
        self._parts: dict[str, CostModel] = {}

    def attach(self, context: CostContext) -> None:
        """Builds the models; equal sections are one model.

        Raises:
            SpecError: A section is wrong.
            DataError: What a model reads is absent.
        """
        sections = {name: getattr(self.settings, name) or self.settings.energy for name in FIGURES}
        known: dict[str, CostModel] = {}
        for name, section in sections.items():
            if repr(section) not in known:
                known[repr(section)] = attached(section, context, name, self._parts.get(name))
            self._parts[name] = known[repr(section)]

    def refuse(self, machine: Accelerator) -> None:
        """Refuses what one of the models does.

        Raises:
            SpecError: It refuses the machine.
        """
        for name, model in self._parts.items():
            refuse(model, machine, name)

    @property
    def _models(self) -> list[CostModel]:
        """Each of them once."""
        return list({id(model): model for model in self._parts.values()}.values())

    @property
    def additive(self) -> bool:
        """Whether all of them are."""
        return all(getattr(model, "additive", False) for model in self._models)

    @property
    def of_network(self) -> bool:
        """Whether one of them looks at the network itself."""
        return any(getattr(model, "of_network", False) for model in self._models)

    @property
    def unknown(self) -> frozenset[str]:
        """What the model that is asked for it cannot tell."""
        return frozenset(
            figure for name, figure in FIGURES.items() if figure in getattr(self._parts[name], "unknown", ())
        )

    @property
    def truth(self) -> Self | None:
        """The same of the models that the parts stand for, if one stands for another."""
        true = {name: getattr(model, "truth", None) for name, model in self._parts.items()}
        if not any(true.values()):
            return None
        other = type(self)(self.settings)
        other._parts = {name: true[name] or model for name, model in self._parts.items()}
        return other

    @property
    def files(self) -> tuple[Path, ...]:
        """Those of all of them."""
        return tuple(path for model in self._models for path in getattr(model, "files", ()))

    @property
    def facts(self) -> dict[str, str]:
        """Those of all of them."""
        return {label: text for model in self._models for label, text in getattr(model, "facts", {}).items()}

    def evaluate(self, pairs: Sequence[tuple[Workload, Accelerator]], jobs: int = 1) -> list[Cost]:
        """Scores every pair by every model."""
        scored = {id(model): model.evaluate(pairs, jobs) for model in self._models}
        by_name = {name: scored[id(model)] for name, model in self._parts.items()}
        return [
            _joined({name: costs[i] for name, costs in by_name.items()}, machine)
            for i, (_, machine) in enumerate(pairs)
        ]


def _joined(costs: dict[str, Cost], machine: Accelerator) -> Cost:
    failed = {cost.reason: cost.violation for cost in costs.values() if cost.violation > 0}
    if failed:
        names = tuple(memory.name for memory in machine.memories)
        return Cost(names, 0.0, 0.0, machine.area_mm2, 0.0, math.fsum(failed.values()), "; ".join(failed))
    given: dict[str, Any] = {figure: getattr(costs[name], figure) for name, figure in FIGURES.items()}
    deviations = {figure: costs[name].std[figure] for name, figure in FIGURES.items() if figure in costs[name].std}
    return replace(costs["latency"], **given, detail=tuple, std=deviations)


plugin = MixedCost
