"""What layers cost on the parts of a heterogeneous accelerator, and what the whole then costs.

Latency is that of a schedule (`coevo.cost.schedule`): a layer begins once its part is free and the layers that it reads
are done, so that branches of one inference run side by side on different parts, and share the DRAM's bandwidth. Energy
is the sum over layers, each with what it leaks when it has the DRAM to itself. Parts do not leak while they idle, as
instances that a mapping leaves idle do not.

In a stream of inferences the parts work on different ones at once. The interval between two is then the longest that
any part, or the DRAM, is busy for one of them: whatever the order of layers, a steady schedule with this period
exists (no inference waits for a later one), if what it keeps in DRAM and fetches ahead is not limited. It does not
count that layers which run at the same time slow each other down before the DRAM as a whole is the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from coevo.accelerator.machine import Accelerator
from coevo.accelerator.system import System
from coevo.cost.schedule import Reads, Tasks, segments
from coevo.design import LayerCost
from coevo.errors import SpecError
from coevo.mapping import LevelMapping, Mapping

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Choices:
    """What layers cost on each part, by kind: layers of one kind cost the same; infinite where a part cannot run it.

    Attributes:
        kinds: Of every layer ``(layer,)``.
        reads: By layer, the places of those before it that it reads.
        cycles: Of one layer of a kind, in the system's cycles ``(kind, part)``.
        energy_pj: Of one of them ``(kind, part)`` [pJ].
        dram_cycles: For which one of them keeps the DRAM busy ``(kind, part)``.
    """

    kinds: NDArray[np.int64]
    reads: Reads
    cycles: Array
    energy_pj: Array
    dram_cycles: Array

    @property
    def parts(self) -> int:
        """How many there are."""
        return int(self.cycles.shape[1])

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How many layers are of each kind ``(kind,)``."""
        return np.bincount(self.kinds, minlength=len(self.cycles))

    @cached_property
    def tasks(self) -> Tasks:
        """The layers one by one."""
        return Tasks(self.reads, self.cycles[self.kinds], self.dram_cycles[self.kinds], self.energy_pj[self.kinds])

    @cached_property
    def segments(self) -> list[tuple[int, int]]:
        """The runs of layers between which nothing runs side by side."""
        return segments(self.reads)

    def assigned(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns how many layers of a kind a part runs ``(kind, part)``; ``places`` says which part runs a layer."""
        found = np.zeros(self.cycles.shape, dtype=np.int64)
        np.add.at(found, (self.kinds, places), 1)
        return found

    def latency(self, places: NDArray[np.int64]) -> float:
        """Returns the cycles of one inference."""
        if self.parts == 1 or len(self.segments) == len(self.kinds):
            return _total(self.assigned(places), self.cycles)
        return float(self.tasks.makespans(places[None, :])[0])

    def energy(self, places: NDArray[np.int64]) -> float:
        """Returns the energy of one inference [pJ]."""
        return _total(self.assigned(places), self.energy_pj)

    def interval(self, places: NDArray[np.int64]) -> float:
        """Returns the cycles from one inference to the next."""
        return self.interval_of(self.assigned(places))

    def interval_of(self, assigned: NDArray[np.int64]) -> float:
        """Returns the same for numbers of layers ``(kind, part)``."""
        busy = [_total(assigned[:, [i]], self.cycles[:, [i]]) for i in range(self.parts)]
        return max(*busy, _total(assigned, self.dram_cycles))


def _total(assigned: NDArray[np.int64], figures: Array) -> float:
    return float((assigned * np.where(assigned > 0, figures, 0.0)).sum())


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


def spans(layers: Sequence[LayerCost], reads: Reads, system: System) -> Array:
    """Returns when layers as `on_system` gives them begin and end ``(2, layer)`` [cycle]."""
    labels = [label for label, _ in system.parts]
    places = np.array([labels.index(x.part) for x in layers], dtype=np.int64)
    cycles, dram = (np.full((len(layers), len(labels)), np.inf) for _ in range(2))
    cycles[np.arange(len(layers)), places] = [x.cycles for x in layers]
    dram[np.arange(len(layers)), places] = [x.memory_cycles[0] for x in layers]
    return Tasks(reads, cycles, dram, np.zeros_like(cycles)).spans(places)


def refuse_parts(machine: Accelerator, tool: str) -> None:
    """Refuses a machine of several parts, for a tool that is told of one accelerator.

    Raises:
        SpecError: It is one.
    """
    if isinstance(machine, System):
        problem = f"{machine.name} is several accelerators on one chip, which {tool} is not told of"
        raise SpecError(f"{problem}; take cost `analytical`, or a machine of one part")
