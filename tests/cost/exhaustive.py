"""Every mapping of a small mapspace, priced at once by the array formulas: nothing of the mapper's search is used."""

from __future__ import annotations

import itertools
import math

import numpy as np

from coevo.accelerator.machine import DATA_MOVER
from coevo.cost.batch import levels_of
from coevo.cost.loop_order import LoopOrder, Place
from coevo.cost.refill import refilled_array
from coevo.cost.relaxed import batch_of_alike, score
from coevo.workload import DIMS, RELEVANT

GOALS = {"edp": (1.0, 1.0), "latency": (1.0, 1e-9), "energy": (1e-9, 1.0)}
"""Exponents of (cycles, energy)."""


def _divisors(number):
    return [d for d in range(1, number + 1) if number % d == 0]


def _chains(bound, slots):
    """All ways to write a bound as a product over slots."""
    if slots == 1:
        yield (bound,)
        return
    for d in _divisors(bound):
        for rest in _chains(bound // d, slots - 1):
            yield (d, *rest)


def _axis(layer, dims, size):
    options = [
        range(1, min(size, bound) + 1) if dim in dims else (1,) for dim, bound in zip(DIMS, layer.bounds, strict=True)
    ]
    return [x for x in itertools.product(*options) if math.prod(x) <= size]


def mapspace_size(layer, machine):
    """An upper bound on the mappings that `all_costs` prices, those that do not fit included."""
    flow = machine.dataflow if layer.has_weights else DATA_MOVER
    levels = levels_of(machine)
    ordered = len(levels) if refilled_array(machine, flow) is not None else len(levels) - 1
    bounds = [bound for bound in layer.bounds if bound > 1]
    fans = [machine.memories[level[-1]] for level in levels]
    lanes = math.prod(
        len(_axis(layer, dims, size)) for m in fans for dims, size in ((flow.x, m.fanout_x), (flow.y, m.fanout_y))
    )
    factors = math.prod(sum(1 for _ in _chains(bound, len(levels))) for bound in bounds)
    return lanes * factors * math.factorial(len(bounds)) ** ordered


def lowest(layer, machine, goal="edp"):
    """Returns the least of what the mapper minimises over the whole mapspace; infinite if no mapping is valid."""
    cycles, energy = GOALS[goal]
    return min((float(np.min(c**cycles * e**energy)) for c, e in all_costs(layer, machine)), default=math.inf)


def front(layer, machine):
    """Returns the (energy, cycles) of the whole mapspace that none other beats in both, the least energy first."""
    points = sorted({(float(y), float(x)) for c, e in all_costs(layer, machine) for x, y in zip(c, e, strict=True)})
    best, fastest = [], math.inf
    for energy, cycles in points:
        if cycles < fastest:
            best.append((energy, cycles))
            fastest = cycles
    return best


def all_costs(layer, machine):
    """Yields (cycles, energies) of all valid mappings: all lanes, all divisors at all levels, all loop orders.

    Memories of one level of the mapper have one set of loops, the innermost one's.
    """
    flow = machine.dataflow if layer.has_weights else DATA_MOVER
    levels = levels_of(machine)
    count = len(levels)
    last = [level[-1] for level in levels]
    fans = [i for i, at in enumerate(last) if machine.memories[at].fanout_x * machine.memories[at].fanout_y > 1]
    feed = fans[-1] if fans else max(count - 2, 0)
    present = [dim for dim, bound in zip(DIMS, layer.bounds, strict=True) if bound > 1]
    runs = [{dim for i in level for dim in machine.memories[i].loops} for level in levels]
    columns = list(_columns(layer, machine, flow, last, fans, present, runs))
    if not columns:
        return
    temporal = {(i, d): np.array([c[1][i, d] for c in columns], float) for i in range(count) for d in present}
    spatial = [np.array([c[0][k] for c in columns], float) for k in range(2 * len(fans) * len(DIMS))]
    batch = batch_of_alike([(layer, machine)])
    still = [dim for dim in present if flow.stationary is not None and dim not in RELEVANT[flow.stationary]]
    # Below the innermost level no tile is held, so its order matters to nothing but an array that runs empty.
    ordered = count if refilled_array(machine, flow) is not None else count - 1
    for orders in itertools.product(itertools.permutations(present), repeat=ordered):
        places, bounds = [], []
        for i in reversed(range(count)):
            if i in fans:
                for a, axis in enumerate(("x", "y")):
                    for k, dim in enumerate(DIMS):
                        places.append(Place(dim, last[i], axis))
                        bounds.append(spatial[(2 * fans.index(i) + a) * len(DIMS) + k])
            for dim in orders[i] if i < ordered else present:
                places.append(Place(dim, last[i], "temporal"))
                bounds.append(temporal[i, dim])
        found = score(batch, LoopOrder(tuple(m.name for m in machine.memories), tuple(places)),
                      [b[None, :] for b in bounds])  # fmt: skip
        valid = np.broadcast_to(np.asarray(found.excess), (1, len(columns)))[0] <= 0
        if feed < ordered:
            valid = valid & _in_place(orders[feed], still, {d: temporal[feed, d] for d in present})
        figures = (np.broadcast_to(x, (1, len(columns)))[0] for x in (found.cycles, found.energy_pj))
        cycles, energy = (x[valid] for x in figures)
        if cycles.size:
            yield cycles, energy


def _in_place(order, still, bounds):
    """Whether the loops that leave the dataflow's operand in place are innermost (``order`` is innermost first)."""
    moved, good = False, True
    for dim in order:
        if dim in still:
            good = good & ~(moved & (bounds[dim] > 1))
        else:
            moved = moved | (bounds[dim] > 1)
    return good


def _columns(layer, machine, flow, last, fans, present, runs):
    """(factors of every axis and dim, temporal bound by (level, dim)) of every mapping."""
    axes = [
        _axis(layer, dims, size)
        for i in fans
        for dims, size in (
            (flow.x, machine.memories[last[i]].fanout_x),
            (flow.y, machine.memories[last[i]].fanout_y),
        )
    ]
    for factors in itertools.product(*axes):
        lanes = dict.fromkeys(DIMS, 1)
        for axis in factors:
            for dim, factor in zip(DIMS, axis, strict=True):
                lanes[dim] *= factor
        per_dim = []
        for dim in present:
            rest = -(-layer.bounds[DIMS.index(dim)] // lanes[dim])
            chains = [c for c in _chains(rest, len(last)) if all(b == 1 or dim in runs[i] for i, b in enumerate(c))]
            per_dim.append(chains)
        flat = tuple(itertools.chain.from_iterable(factors))
        for chains in itertools.product(*per_dim):
            yield (
                flat,
                {(i, dim): chain[i] for dim, chain in zip(present, chains, strict=True) for i in range(len(last))},
            )
