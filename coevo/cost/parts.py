"""Which part of a heterogeneous accelerator runs which layer, and what the whole then costs.

The layers of one inference run one after the other, each on one part that has all of the DRAM's bandwidth: latency and
energy are the sums. Parts do not leak while they idle, as instances that a mapping leaves idle do not.

In a stream of inferences the parts work on different ones at once. The interval between two is then the longest that
any part, or the DRAM, is busy for one of them: whatever the order of layers, a steady schedule with this period
exists (no inference waits for a later one), if what it keeps in DRAM and fetches ahead is not limited. It does not
count that layers which run at the same time slow each other down before the DRAM as a whole is the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from coevo.accelerator.system import System
from coevo.design import LayerCost
from coevo.mapping import LevelMapping, Mapping

Assignment = Literal["edp", "latency", "energy", "interval"]
"""What the choice of a layer's part makes least: of the layer by itself, or (the interval) of all together."""

Array = NDArray[np.float64]

GAP = 1e-4
"""How far, relatively, an interval may be above the least one; the solver proves it, within `NODES`."""

NODES = 5_000
"""Nodes of the search tree after which the solver gives the best it has; few assignments take as many."""


@dataclass(frozen=True, eq=False)
class Choices:
    """What layers cost on each part; infinite where one cannot run.

    Attributes:
        counts: How often each layer repeats ``(layer,)``.
        cycles: Of one of them, in the system's cycles ``(layer, part)``.
        energy_pj: Of one of them ``(layer, part)`` [pJ].
        dram_cycles: For which one of them keeps the DRAM busy ``(layer, part)``.
    """

    counts: NDArray[np.int64]
    cycles: Array
    energy_pj: Array
    dram_cycles: Array

    def latency(self, assigned: NDArray[np.int64]) -> float:
        """Returns the cycles of one inference; ``assigned`` says how many of a layer a part runs ``(layer, part)``."""
        return _total(assigned, self.cycles)

    def energy(self, assigned: NDArray[np.int64]) -> float:
        """Returns the energy of one inference [pJ]."""
        return _total(assigned, self.energy_pj)

    def interval(self, assigned: NDArray[np.int64]) -> float:
        """Returns the cycles from one inference to the next."""
        busy = [_total(assigned[:, [i]], self.cycles[:, [i]]) for i in range(assigned.shape[1])]
        return max(*busy, _total(assigned, self.dram_cycles))


def _total(assigned: NDArray[np.int64], figures: Array) -> float:
    return float((assigned * np.where(assigned > 0, figures, 0.0)).sum())


def assign(choices: Choices, goal: Assignment) -> NDArray[np.int64]:
    """Returns how many of each layer each part runs ``(layer, part)``; every layer runs on one part at least.

    By latency, energy and EDP every layer goes where it is best by itself (the first of equals), which makes the sums
    of cycles and of energies least. The interval is made least over all assignments together.
    """
    values = {
        "latency": choices.cycles,
        "energy": choices.energy_pj,
        "edp": choices.cycles * choices.energy_pj,
        "interval": choices.cycles,
    }[goal]
    best = np.zeros(choices.cycles.shape, dtype=np.int64)
    best[np.arange(len(values)), values.argmin(axis=1)] = choices.counts
    if goal != "interval" or choices.cycles.shape[1] == 1:
        return best
    candidates = [best, *_least_interval(choices)]
    return min(candidates, key=choices.interval)


def _least_interval(choices: Choices) -> list[NDArray[np.int64]]:
    """The assignment of least interval, as a list of one; of none if the solver gives up.

    Scheduling on unrelated machines without order, R||Cmax, with the DRAM as one machine more that all layers use; as
    an integer program (Lenstra, Shmoys, Tardos, "Approximation algorithms for scheduling unrelated parallel machines",
    Mathematical Programming 46, 1990, section 2).
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    layers, parts = choices.cycles.shape
    possible = np.isfinite(choices.cycles)
    # In units of the largest total, so that the solver's absolute tolerances mean little.
    unit = float((choices.counts[:, None] * np.where(possible, choices.cycles, 0.0)).max()) or 1.0
    cycles = np.where(possible, choices.cycles, 0.0) / unit
    dram = np.where(possible, choices.dram_cycles, 0.0) / unit
    size = layers * parts
    each = np.zeros((layers, size + 1))
    busy = np.zeros((parts + 1, size + 1))
    for i in range(layers):
        each[i, i * parts : (i + 1) * parts] = 1.0
    for j in range(parts):
        busy[j, j:size:parts] = cycles[:, j]
    busy[parts, :size] = dram.ravel()
    busy[:, size] = -1.0
    found = milp(
        c=np.append(np.zeros(size), 1.0),
        integrality=np.append(np.ones(size), 0.0),
        bounds=Bounds(0.0, np.append(np.where(possible, choices.counts[:, None], 0).ravel(), np.inf)),
        constraints=[LinearConstraint(each, choices.counts, choices.counts), LinearConstraint(busy, -np.inf, 0.0)],
        options={"mip_rel_gap": GAP, "node_limit": NODES},
    )
    if found.x is None:
        return []
    return [np.rint(found.x[:size]).astype(np.int64).reshape(layers, parts)]


def on_system(cost: LayerCost, system: System, label: str) -> LayerCost:
    """Returns what a layer costs on one part of a system, in the system's cycles and with its memories."""
    part, rows = dict(system.parts)[label], list(system.rows[label])
    scale = system.clock_mhz / part.clock_mhz
    names = {memory.name: system.memories[row].name for memory, row in zip(part.memories, rows, strict=True)}

    def spread(array: Array) -> Array:
        whole = np.zeros((len(system.memories), *array.shape[1:]))
        whole[rows] = array
        return whole

    return replace(
        cost,
        mapping=_renamed(cost.mapping, names),
        compute_cycles=cost.compute_cycles * scale,
        cycles=cost.cycles * scale,
        bound_by=names.get(cost.bound_by, cost.bound_by),
        utilization=cost.layer.operations / (system.pes * cost.cycles * scale),
        energy_pj=spread(cost.energy_pj),
        reads=spread(cost.reads),
        writes=spread(cost.writes),
        tile_words=spread(cost.tile_words),
        memory_cycles=spread(cost.memory_cycles) * scale,
        part=label,
    )


def part_of(mapping: Mapping, system: System) -> tuple[str, Mapping]:
    """Returns the part that a mapping with the system's names is for, and the mapping with the part's own.

    Raises:
        ValueError: Its memories are those of no part.
    """
    given = [level.memory for level in mapping.levels]
    for label, part in system.parts:
        names = [system.memories[row].name for row in system.rows[label]]
        if given == names:
            own = (memory.name for memory in part.memories)
            return label, _renamed(mapping, dict(zip(names, own, strict=True)))
    labels = ", ".join(label for label, _ in system.parts)
    raise ValueError(
        f"a mapping for {system.name} has the levels of one of its parts ({labels}); got {', '.join(given)}"
    )


def _renamed(mapping: Mapping, names: dict[str, str]) -> Mapping:
    levels = (LevelMapping(names[level.memory], level.temporal, level.x, level.y) for level in mapping.levels)
    return Mapping(tuple(levels))


def interval_cycles(layers: Sequence[LayerCost], system: System) -> float:
    """Returns the cycles from one inference to the next, of layers as `on_system` gives them."""
    busy = [sum(x.cycles for x in layers if x.part == label) for label, _ in system.parts]
    return max(*busy, sum(float(x.memory_cycles[0]) for x in layers))
