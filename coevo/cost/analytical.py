"""The analytical cost model: the best mapping of every layer by loop-nest analysis.

Latency is the sum of the layers' cycles (layers run one after the other), energy the sum of their energies.
Distinct (layer, accelerator) pairs are mapped once a call, batched by structure, and remembered.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from coevo.accelerator.machine import Accelerator
from coevo.cost.batch import Structure, batch_of, structure_of
from coevo.cost.detail import evaluate_mapping, mapping_of, smallest_need
from coevo.cost.mapper import Found, Goal, search
from coevo.design import Cost, LayerCost
from coevo.mapping import Mapping
from coevo.workload import Layer, Workload

Pair = tuple[Layer, Accelerator]
Key = tuple[object, str]

CHUNK = 512
"""Pairs mapped at once: arrays stay in the second-level cache."""

REMEMBERED = 200_000
"""Pairs whose mapping is remembered, some 1 KB each."""


class AnalyticalSettings(BaseModel):
    """Settings of `AnalyticalCost`.

    Attributes:
        objective: What the mapper minimises per layer: energy x delay, latency or energy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    objective: Goal = "edp"


@dataclass(frozen=True)
class Mapped:
    """The mapping found for a pair, in the compact form the search gave.

    Attributes:
        found: The search's result that holds it.
        index: Its place there.
    """

    found: Found
    index: int

    @property
    def valid(self) -> bool:
        """Whether any mapping fits."""
        return bool(self.found.valid[self.index])


class AnalyticalCost:
    """Latency, energy and area by loop-nest analysis, every layer under the best mapping found (socket `CostModel`)."""

    Settings: ClassVar[type[BaseModel]] = AnalyticalSettings

    def __init__(self, settings: Any = None) -> None:
        self.settings: AnalyticalSettings = settings or AnalyticalSettings()
        self._known: dict[Key, Mapped] = {}

    def evaluate(self, pairs: Sequence[tuple[Workload, Accelerator]], jobs: int = 1) -> list[Cost]:
        """Scores every (workload, accelerator) pair; pure, and the same for any ``jobs``."""
        self._map({_key(x, m): (x, m) for workload, m in pairs for x in workload.layers}, jobs)
        costs = [self._cost(workload, machine) for workload, machine in pairs]
        if len(self._known) > REMEMBERED:
            self._known.clear()
        return costs

    def _map(self, wanted: dict[Key, Pair], jobs: int) -> None:
        chunks = list(_chunks({key: pair for key, pair in wanted.items() if key not in self._known}))
        batches = [[wanted[key] for key in chunk] for chunk in chunks]
        for chunk, found in zip(chunks, _search_all(batches, self.settings.objective, jobs), strict=True):
            self._known.update((key, Mapped(found, i)) for i, key in enumerate(chunk))

    def _cost(self, workload: Workload, machine: Accelerator) -> Cost:
        mapped = [self._known[_key(layer, machine)] for layer in workload.layers]
        names = tuple(memory.name for memory in machine.memories)
        for layer, one in zip(workload.layers, mapped, strict=True):
            if not one.valid:
                violation, reason = smallest_need(layer, machine)
                return Cost(names, 0.0, 0.0, machine.area_mm2, 0.0, violation, reason)

        def detail() -> tuple[LayerCost, ...]:
            return tuple(
                evaluate_mapping(layer, machine, _mapping(layer, machine, one))
                for layer, one in zip(workload.layers, mapped, strict=True)
            )

        return Cost(
            memories=names,
            latency_cycles=float(sum(one.found.cycles[one.index] for one in mapped)),
            energy_pj=float(sum(one.found.energy_pj[one.index] for one in mapped)),
            area_mm2=machine.area_mm2,
            peak_memory_bytes=float(max(one.found.bytes_used[one.index] for one in mapped)),
            detail=detail,
        )


def _key(layer: Layer, machine: Accelerator) -> Key:
    return layer.shape_key, machine.key


def _mapping(layer: Layer, machine: Accelerator, mapped: Mapped) -> Mapping:
    return mapping_of(structure_of(machine, layer.has_weights), mapped.found, mapped.index)


def _chunks(pairs: dict[Key, Pair]) -> Iterator[list[Key]]:
    """Splits pairs into chunks of one structure and alike layers: each runs as one batch."""
    structures: dict[tuple[str, bool], Structure] = {}
    groups: dict[object, list[Key]] = {}
    for key, (layer, machine) in pairs.items():
        alike = machine.key, layer.has_weights
        structure = structures.get(alike) or structures.setdefault(alike, structure_of(machine, layer.has_weights))
        groups.setdefault((structure, layer.has_weights, layer.g > 1, layer.r * layer.s > 1), []).append(key)
    for group in groups.values():
        yield from (group[i : i + CHUNK] for i in range(0, len(group), CHUNK))


def _search_all(batches: Sequence[Sequence[Pair]], goal: Goal, jobs: int) -> Iterable[Found]:
    if jobs == 1 or len(batches) < 2 * jobs:  # starting workers costs more than a few batches do
        return [_search(batch, goal) for batch in batches]
    from joblib import Parallel, delayed

    workers = Parallel(n_jobs=jobs, initializer=_end_with_parent)
    found: list[Found] = workers(delayed(_search)(batch, goal) for batch in batches)
    return found


def _end_with_parent() -> None:
    """Makes Linux end a worker when the program that started it dies, even by kill -9; elsewhere it idles out."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _search(pairs: Sequence[Pair], goal: Goal) -> Found:
    with np.errstate(divide="ignore", invalid="ignore"):
        return search(batch_of(pairs), goal)


plugin = AnalyticalCost
