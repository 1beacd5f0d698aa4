"""When the layers of one inference run on parts that share a DRAM, compiled.

List scheduling: whenever a part is idle it begins, of its layers whose inputs are there, the one with the longest way
to the end (the critical path in cycles, as HEFT ranks tasks: Topcuoglu, Hariri, Wu, "Performance-effective and
low-complexity task scheduling for heterogeneous computing", IEEE TPDS 13(3), 2002; here with the cycles of the parts
that were chosen). No part waits while it has such a layer, and no layer is stopped.

The DRAM is shared as a fluid. A layer wants its DRAM cycles spread evenly over its cycles. While what the running
layers want together is more than the DRAM gives, each of those that want any is slowed down by the same factor, so that
it gives exactly all it can. So no schedule is shorter than the DRAM cycles of all layers, the cycles of the layers of
any part, or any way through the graph; and none is longer than all cycles one after the other.

It calls no compiled function of another file, so numba's own cache sees whenever it is stale: a change here need not
compile the mapper anew (`coevo.cost.compiled.COMPILED`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from coevo.cost.compiled import compiled, inner
from coevo.cost.exact import Floats, Ints

Reads = Sequence[Sequence[int]]
"""By layer, the places of the earlier layers that it reads."""


@inner
def _run(heads: Ints, readers: Ints, cycles: Floats, dram: Floats, places: Ints, state: Floats, lists: Ints) -> float:
    """Fills ``state`` with (begin, end) of every layer ``(2, layer)``, and returns when the last one ends.

    ``state`` and ``lists``, (4, layer) and (2, layer + parts), are scratch; the readers of layer v stand from
    ``heads[v]`` to ``heads[v + 1]``.
    """
    layers, parts = cycles.shape
    begins, ends, rank, left = state[0], state[1], state[2], state[3]
    running, next_one, waits, ready = lists[0, :parts], lists[1, :parts], lists[0, parts:], lists[1, parts:]
    for v in range(layers):
        waits[v] = 0
    for i in range(heads[layers]):
        waits[readers[i]] += 1
    for v in range(layers - 1, -1, -1):
        rank[v] = 0.0
        for i in range(heads[v], heads[v + 1]):
            rank[v] = max(rank[v], rank[readers[i]])
        rank[v] += cycles[v, places[v]]
    can = 0  # layers of which all inputs are there
    for v in range(layers):
        if waits[v] == 0:
            ready[can] = v
            can += 1
    for part in range(parts):
        running[part] = -1
    now, done = 0.0, 0
    while done < layers:
        for part in range(parts):
            next_one[part] = -1
        for i in range(can):
            v, part = ready[i], places[ready[i]]
            if running[part] < 0:
                other = next_one[part]
                if other < 0 or rank[v] > rank[other] or (rank[v] == rank[other] and v < other):
                    next_one[part] = v
        wanted = 0.0
        for part in range(parts):
            v = next_one[part]
            if v >= 0:
                running[part], begins[v], left[v] = v, now, cycles[v, part]
            v = running[part]
            if v >= 0:
                wanted += min(dram[v, part] / cycles[v, part], 1.0)
        kept = 0
        for i in range(can):
            v = ready[i]
            if running[places[v]] != v:
                ready[kept] = v
                kept += 1
        can = kept
        slow = max(1.0, wanted)
        step = np.inf
        for part in range(parts):
            v = running[part]
            if v >= 0:
                step = min(step, left[v] * slow if dram[v, part] > 0.0 else left[v])
        for part in range(parts):
            v = running[part]
            if v < 0:
                continue
            pace = slow if dram[v, part] > 0.0 else 1.0
            if left[v] * pace > step * (1 + 1e-12):  # those that end together but for rounding do end together
                left[v] -= step / pace
                continue
            ends[v], running[part] = now + step, -1
            done += 1
            for i in range(heads[v], heads[v + 1]):
                waits[readers[i]] -= 1
                if waits[readers[i]] == 0:
                    ready[can] = readers[i]
                    can += 1
        now += step
    return now


@compiled
def _spans(heads: Ints, readers: Ints, cycles: Floats, dram: Floats, places: Ints) -> Floats:
    """Begin and end of every layer ``(2, layer)``."""
    state = np.empty((4, len(cycles)))
    _run(heads, readers, cycles, dram, places, state, np.empty((2, cycles.shape[0] + cycles.shape[1]), np.int64))
    return state[:2].copy()


@compiled
def _makespans(heads: Ints, readers: Ints, cycles: Floats, dram: Floats, ways: Ints) -> Floats:
    """When each of some assignments ``(way, layer)`` is done ``(way,)``."""
    state, lists = np.empty((4, len(cycles))), np.empty((2, cycles.shape[0] + cycles.shape[1]), np.int64)
    found = np.empty(len(ways))
    for i in range(len(ways)):
        found[i] = _run(heads, readers, cycles, dram, ways[i], state, lists)
    return found


@compiled
def _climbed(
    heads: Ints, readers: Ints, cycles: Floats, dram: Floats, energy: Floats, start: Ints, power: float, most: int
) -> Ints:
    """Moves one layer at a time while makespan x energy^power becomes less, at most ``most`` tries."""
    layers, parts = cycles.shape
    state, lists = np.empty((4, layers)), np.empty((2, layers + parts), np.int64)
    places = start.copy()
    total = 0.0
    for v in range(layers):
        total += energy[v, places[v]]
    best = _run(heads, readers, cycles, dram, places, state, lists) * total**power
    tried, since, v = 0, 0, 0
    while since < layers and tried < most:
        since += 1
        for part in range(parts):
            before = places[v]
            if part == before or not np.isfinite(cycles[v, part]):
                continue
            places[v] = part
            moved = total + energy[v, part] - energy[v, before]
            tried += 1
            value = _run(heads, readers, cycles, dram, places, state, lists) * moved**power
            if value < best * (1 - 1e-12):
                best, total, since = value, moved, 0
            else:
                places[v] = before
        v = (v + 1) % layers
    return places


@dataclass(frozen=True, eq=False)
class Tasks:
    """Layers that wait for each other, and what each takes on every part.

    Attributes:
        reads: By layer, the places of those before it that it waits for.
        cycles: ``(layer, part)``; infinite where a part cannot run it.
        dram_cycles: For which it keeps the DRAM busy ``(layer, part)``, at most `cycles`.
        energy_pj: ``(layer, part)`` [pJ].
    """

    reads: Reads
    cycles: NDArray[np.float64]
    dram_cycles: NDArray[np.float64]
    energy_pj: NDArray[np.float64]

    def spans(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns begin and end of every layer ``(2, layer)`` [cycle]; ``places`` says which part runs it."""
        return _spans(*self._graph, self.cycles, self.dram_cycles, places)

    def makespans(self, ways: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the cycles that some assignments take ``(way,)``, given as parts ``(way, layer)``."""
        return _makespans(*self._graph, self.cycles, self.dram_cycles, ways)

    def energies(self, ways: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the energies of some assignments ``(way,)`` [pJ]."""
        return np.asarray(self.energy_pj[np.arange(len(self.reads)), ways].sum(axis=1))

    def climbed(self, start: NDArray[np.int64], power: float, most: int) -> NDArray[np.int64]:
        """Returns an assignment whose makespan x energy^power no move of one layer makes less, if ``most`` suffice."""
        return _climbed(*self._graph, self.cycles, self.dram_cycles, self.energy_pj, start, power, most)

    def part(self, start: int, stop: int) -> Tasks:
        """Returns some of them in a row, which wait for none before."""
        reads = [[i - start for i in own if i >= start] for own in self.reads[start:stop]]
        rows = slice(start, stop)
        return Tasks(reads, self.cycles[rows], self.dram_cycles[rows], self.energy_pj[rows])

    @property
    def _graph(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the readers of each layer begin ``(layer + 1,)`` among the readers of all."""
        readers: list[list[int]] = [[] for _ in self.reads]
        for v, own in enumerate(self.reads):
            for i in own:
                readers[i].append(v)
        return np.cumsum([0, *map(len, readers)]), np.array([v for own in readers for v in own], dtype=np.int64)


def segments(reads: Reads) -> list[tuple[int, int]]:
    """Returns the layers as runs (start, stop), as short as can be, of which each waits for all of the run before.

    What runs side by side is in one run, and the makespan is the sum of theirs.
    """
    before: list[int] = []  # the layers that each waits for, also by way of others, as bits
    for own in reads:
        mask = 0
        for i in own:
            mask |= before[i] | 1 << i
        before.append(mask)
    cuts, whole = [len(reads)], math.inf
    for v in reversed(range(len(reads))):
        whole = min(whole, (~before[v] & (before[v] + 1)).bit_length() - 1)  # the first layer it does not wait for
        if whole >= v:
            cuts.append(v)
    cuts.reverse()
    return list(pairwise(cuts))
