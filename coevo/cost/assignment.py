"""Which part of a heterogeneous accelerator runs which layer.

The graph falls into segments (`coevo.cost.schedule.segments`) that run one after the other, a single layer each where
nothing branches. The latency is the sum over segments, and so is the energy. Of a segment of at most `EVERY`
assignments all are tried; of a larger one those that list scheduling by earliest finish (HEFT: Topcuoglu, Hariri, Wu,
IEEE TPDS 13(3), 2002) and the best parts of single layers lead to, layers being moved one by one as long as that helps.
Which of the segments' ways are best together is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from coevo.cost.parts import Choices
from coevo.cost.schedule import Tasks

Assignment = Literal["edp", "latency", "energy", "interval"]
"""What the choice of the layers' parts makes least: of one inference, or between two of them."""

Places = NDArray[np.int64]
"""The part that runs each layer ``(layer,)``."""

EVERY = 1_024
"""Assignments of a segment up to which all are tried."""

MOVES = 2_000
"""Assignments that are tried of a larger segment, from one start."""

GAP = 1e-4
"""How far, relatively, an interval may be above the least one; the solver proves it, within `NODES`."""

NODES = 5_000
"""Nodes of the search tree after which the solver gives the best it has; few assignments take as many."""


def assign(choices: Choices, goal: Assignment) -> Places:
    """Returns the part that runs each layer ``(layer,)``, one that can.

    Of equally good ones that of less energy, or of less latency; then that with the first parts. The interval is least
    over all assignments; which layers of a kind a part runs is then by earliest finish.
    """
    if choices.parts == 1:
        return np.zeros(len(choices.kinds), dtype=np.int64)
    if goal == "energy":
        return np.asarray(np.lexsort((choices.cycles, choices.energy_pj), axis=1)[choices.kinds, 0])
    if goal == "interval":
        return _for_interval(choices)
    known: dict[object, Ways] = {}
    found = []
    for start, stop in choices.segments:
        reads = tuple(tuple(i - start for i in own if i >= start) for own in choices.reads[start:stop])
        key = choices.kinds[start:stop].tobytes(), reads
        if key not in known:
            known[key] = _ways(choices.tasks.part(start, stop), goal)
        found.append(known[key])
    return np.concatenate([ways.places[0] for ways in found] if goal == "latency" else _least_edp(found))


@dataclass(frozen=True, eq=False)
class Ways:
    """Assignments of a segment none of which is better than another in both figures, by rising latency.

    Attributes:
        latency: ``(way,)`` [cycle].
        energy: ``(way,)`` [pJ].
        places: ``(way, layer)``.
    """

    latency: NDArray[np.float64]
    energy: NDArray[np.float64]
    places: NDArray[np.int64]


def _ways(tasks: Tasks, goal: Assignment) -> Ways:
    possible = [np.flatnonzero(np.isfinite(row)) for row in tasks.cycles]
    if math.prod(map(len, possible)) <= EVERY:
        places = np.array(list(product(*possible)), dtype=np.int64)
    else:
        places = _likely(tasks, goal)
    latency, energy = tasks.makespans(places), tasks.energies(places)
    order = np.lexsort((energy, latency))
    least = np.minimum.accumulate(np.concatenate(([math.inf], energy[order][:-1])))
    order = order[energy[order] < least]
    return Ways(latency[order], energy[order], places[order])


def _likely(tasks: Tasks, goal: Assignment) -> NDArray[np.int64]:
    """Assignments of a segment that are likely to be among the best ``(way, layer)``."""
    fastest, thriftiest = tasks.cycles.argmin(axis=1), tasks.energy_pj.argmin(axis=1)
    starts = [_earliest_finish(tasks), fastest, (tasks.cycles * tasks.energy_pj).argmin(axis=1)]
    powers = (0.0,) if goal == "latency" else (0.0, 1.0)
    moved = [tasks.climbed(start, power, MOVES) for start in starts for power in powers]
    return np.array([*starts, thriftiest, *moved])


def _earliest_finish(tasks: Tasks, left: NDArray[np.int64] | None = None, kinds: Places | None = None) -> Places:
    """Returns the parts that layers would be done first on, those of the longest way to the end choosing first.

    Args:
        tasks: The layers; that the DRAM is shared is not looked at.
        left: How many layers of a kind a part is to run ``(kind, part)``; None for any.
        kinds: Of every layer ``(layer,)``.
    """
    size, parts = tasks.cycles.shape
    possible = np.isfinite(tasks.cycles)
    mean = np.where(possible, tasks.cycles, 0.0).sum(axis=1) / possible.sum(axis=1)
    rank = mean.copy()
    for v in reversed(range(size)):  # those that read it have added theirs
        for i in tasks.reads[v]:
            rank[i] = max(rank[i], mean[i] + rank[v])
    free, ends, places = np.zeros(parts), np.zeros(size), np.zeros(size, dtype=np.int64)
    for v in np.argsort(-rank, kind="stable"):
        ready = max((ends[i] for i in tasks.reads[v]), default=0.0)
        done = np.maximum(free, ready) + tasks.cycles[v]
        if left is not None and kinds is not None:
            done = np.where(left[kinds[v]] > 0, done, math.inf)
        places[v] = part = int(done.argmin())
        free[part] = ends[v] = done[part]
        if left is not None and kinds is not None:
            left[kinds[v], part] -= 1
    return places


def _least_edp(segments: Sequence[Ways]) -> list[Places]:
    """Returns the ways, one of each segment, whose product of total latency and total energy is least.

    A product of two positive sums is least at a corner of the convex hull of all sums, as it is quasi-concave. The
    corners of a sum of sets are met by walking along the edges of all of them in the order of their slopes.
    """
    corners = [_corners(ways) for ways in segments]
    latency = sum(float(ways.latency[own[0]]) for ways, own in zip(segments, corners, strict=True))
    energy = sum(float(ways.energy[own[0]]) for ways, own in zip(segments, corners, strict=True))
    edges = []  # (slope, segment, place among its corners), the most energy that is saved for a cycle first
    for i, (ways, own) in enumerate(zip(segments, corners, strict=True)):
        longer, saved = np.diff(ways.latency[own]), np.diff(ways.energy[own])
        edges += [(saved[j] / longer[j], i, j + 1) for j in range(len(longer))]
    at = [0] * len(segments)
    best, least = list(at), latency * energy
    for _, i, j in sorted(edges):
        here, there = corners[i][j - 1], corners[i][j]
        latency += float(segments[i].latency[there] - segments[i].latency[here])
        energy += float(segments[i].energy[there] - segments[i].energy[here])
        at[i] = j
        if latency * energy < least * (1 - 1e-12):
            best, least = list(at), latency * energy
    return [ways.places[own[j]] for ways, own, j in zip(segments, corners, best, strict=True)]


def _corners(ways: Ways) -> list[int]:
    """The ways on the convex hull of all, towards less of both."""
    found: list[int] = []
    for i in range(len(ways.latency)):
        while len(found) > 1 and not _turns(ways, found[-2], found[-1], i):
            found.pop()
        found.append(i)
    return found


def _turns(ways: Ways, a: int, b: int, c: int) -> bool:
    """Whether b lies below the line from a to c."""
    x, y = ways.latency, ways.energy
    return bool((y[b] - y[a]) * (x[c] - x[a]) < (y[c] - y[a]) * (x[b] - x[a]))


def _for_interval(choices: Choices) -> Places:
    alone = np.zeros(choices.cycles.shape, dtype=np.int64)
    alone[np.arange(len(alone)), choices.cycles.argmin(axis=1)] = choices.counts
    best = min([alone, *_least_interval(choices)], key=choices.interval_of)
    return _earliest_finish(choices.tasks, best.copy(), choices.kinds)


def _least_interval(choices: Choices) -> list[NDArray[np.int64]]:
    """The assignment of least interval, as a list of one; of none if the solver gives up.

    Scheduling on unrelated machines without order, R||Cmax, with the DRAM as one machine more that all layers use; as
    an integer program (Lenstra, Shmoys, Tardos, "Approximation algorithms for scheduling unrelated parallel machines",
    Mathematical Programming 46, 1990, section 2).
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    kinds, parts = choices.cycles.shape
    possible = np.isfinite(choices.cycles)
    # In units of the largest total, so that the solver's absolute tolerances mean little.
    unit = float((choices.counts[:, None] * np.where(possible, choices.cycles, 0.0)).max()) or 1.0
    cycles = np.where(possible, choices.cycles, 0.0) / unit
    dram = np.where(possible, choices.dram_cycles, 0.0) / unit
    size = kinds * parts
    each = np.zeros((kinds, size + 1))
    busy = np.zeros((parts + 1, size + 1))
    for i in range(kinds):
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
    return [np.rint(found.x[:size]).astype(np.int64).reshape(kinds, parts)]
