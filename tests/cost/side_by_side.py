"""Layers on parts that share a DRAM, by trying every assignment and every order: an implementation of its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from coevo.cost.schedule import Tasks


def random_tasks(seed: int, size: int, parts: int = 2, dram: float = 1.0, density: float = 0.4) -> Tasks:
    """Layers of a random graph, some of which do not fit on some part; ``dram`` is the largest share of its cycles."""
    rng = np.random.default_rng(seed)
    reads = [[i for i in range(v) if rng.random() < density] for v in range(size)]
    cycles = np.round(rng.lognormal(5, 1, (size, parts))) + 1
    cycles[(rng.random((size, parts)) < 0.15) & (np.arange(parts) != rng.integers(parts))] = math.inf
    finite = np.where(np.isfinite(cycles), cycles, 1.0)
    energy = np.where(np.isfinite(cycles), rng.lognormal(5, 1, (size, parts)), math.inf)
    return Tasks(reads, cycles, finite * rng.random((size, parts)) * dram, energy)


def orders(tasks: Tasks, places: Sequence[int]) -> Iterator[list[tuple[int, ...]]]:
    """Every order of the layers of every part."""
    own = [[v for v, part in enumerate(places) if part == p] for p in range(tasks.cycles.shape[1])]
    for way in itertools.product(*map(itertools.permutations, own)):
        yield list(way)


def makespan(tasks: Tasks, places: Sequence[int], order: list[tuple[int, ...]]) -> float:
    """When the last layer ends if every part runs its layers in an order; infinite if they wait for each other."""
    waiting, left, done, now = [list(own) for own in order], {}, set(), 0.0
    while len(done) < len(places):
        for own in waiting:
            if own and own[0] not in left and all(i in done for i in tasks.reads[own[0]]):
                left[own[0]] = 1.0  # what is left of it
        if not left:
            return math.inf
        alone = {v: tasks.cycles[v, places[v]] for v in left}
        share = {v: tasks.dram_cycles[v, places[v]] / alone[v] for v in left}
        slow = max(1.0, sum(share.values()))
        takes = {v: alone[v] * (slow if share[v] else 1.0) for v in left}
        step = min(left[v] * takes[v] for v in left)
        now += step
        left = {v: left[v] - step / takes[v] for v in left}
        for v in [v for v, rest in left.items() if rest < 1e-9]:
            del left[v]
            done.add(v)
            waiting[places[v]].remove(v)
    return now


def assignments(tasks: Tasks) -> Iterator[tuple[int, ...]]:
    """Every assignment of layers to parts that can run them."""
    return itertools.product(*(np.flatnonzero(np.isfinite(row)).tolist() for row in tasks.cycles))


def best_order(tasks: Tasks, places: Sequence[int]) -> float:
    """The least makespan of an assignment over all orders."""
    return min(makespan(tasks, places, order) for order in orders(tasks, places))
