"""The search for the best mapping of one layer on one machine, compiled: exact branch and bound.

Unrollings are taken in the order of their least possible cost, until that is no better than the best mapping known.
For each, tiles are split in two: those of level 2 and further in (chains), and that of level 1. What a pair of
both costs is bounded from below by a sum of one term of each (`coevo.cost.bounds`), so the two lists are filtered
and walked in the order of their terms, and only the pairs whose sum could still win are priced, in every loop
order that may differ (`coevo.cost.exact`).
"""

from __future__ import annotations

import numpy as np

from coevo.cost.bounds import least_of_all, set_figures, set_inside, set_outside
from coevo.cost.compiled import compiled, inner
from coevo.cost.exact import (
    BASE,
    MEMORY,
    MOVES,
    ONCE,
    ORDERS,
    SEQUENCES,
    UNIT,
    WHOLE,
    Floats,
    G,
    I,
    Ints,
    P,
    fits,
    home_in_array,
    price,
    set_parts,
)
from coevo.cost.unroll import set_lanes, unrollings
from coevo.workload import DIMS

GOAL, LIMIT, FEED, DATAFLOW = range(4)
SURE = 1 - 1e-12
"""A bound this close to the best is no better: it differs by the rounding of sums alone."""


@inner
def score(energy: float, cycles: float, rules: Floats) -> float:
    """What is minimised: energy x delay (0), latency (1), energy (2), ties by the other; infinite from the limit on."""
    if cycles >= rules[LIMIT]:
        return np.inf
    if rules[GOAL] == 0:
        return energy * cycles
    if rules[GOAL] == 1:
        return cycles * energy**1e-9
    return energy * cycles**1e-9


@inner
def _bound(energy: float, power: float, cycles: float, rules: Floats) -> float:
    """The score of lower bounds: energy without leakage [pJ], leakage [pJ/cycle], cycles, which are whole."""
    whole = np.ceil(cycles * (1 - 1e-12))
    return score(energy + power * whole, whole, rules)


@inner
def _sort(keys: Floats, order: Ints, count: int) -> None:
    """Heap sort: puts the first ``count`` indices of ``order`` in the order of their keys."""
    for start in range(count // 2 - 1, -1, -1):
        _sift(keys, order, start, count)
    for end in range(count - 1, 0, -1):
        order[0], order[end] = order[end], order[0]
        _sift(keys, order, 0, end)


@inner
def _sift(keys: Floats, order: Ints, root: int, end: int) -> None:
    while 2 * root + 1 < end:
        child = 2 * root + 1
        if child + 1 < end and keys[order[child]] < keys[order[child + 1]]:
            child += 1
        if keys[order[root]] >= keys[order[child]]:
            return
        order[root], order[child] = order[child], order[root]
        root = child


@inner
def _set_options(tiles: Floats, level: int, whole: Floats, allowed: Ints, options: Floats, counts: Ints) -> int:
    """Lists, by dim, what a level's tile may hold: the next one's iterations by divisors; returns the combinations."""
    total = 1
    for dim in range(8):
        start = tiles[level + 1, dim] if level > 1 else 1.0
        options[dim, 0], counts[dim] = start, 1
        if allowed[dim]:
            rest = int(whole[dim] / start + 0.5)
            for divisor in range(2, rest + 1):
                if rest % divisor == 0 and counts[dim] < options.shape[1]:
                    options[dim, counts[dim]] = start * divisor
                    counts[dim] += 1
        total *= counts[dim]
    return total


@inner
def _next_tile(tile: Floats, fitted: bool, at: Ints, options: Floats, counts: Ints) -> bool:
    """Sets the next combination; one that does not fit skips those with more of the dim that was raised last."""
    dim = 0
    if not fitted:
        while dim < 8 and at[dim] == 0:
            dim += 1
        if dim == 8:
            return False
        at[dim], tile[dim] = 0, options[dim, 0]
        dim += 1
    while dim < 8 and at[dim] + 1 == counts[dim]:
        at[dim], tile[dim] = 0, options[dim, 0]
        dim += 1
    if dim == 8:
        return False
    at[dim] += 1
    tile[dim] = options[dim, at[dim]]
    return True


@inner
def _tiles_at(
    level: int,
    chains: Floats,
    number: int,
    whole: Floats,
    allowed: Ints,
    lanes: Floats,
    layer: Floats,
    machine: Floats,
    bits: Floats,
    room: Floats,
) -> tuple[Floats, int]:
    """Extends chains ``(chain, level + 1, dim)`` by every tile of the next level out that fits."""
    options = np.empty((8, 1024))
    counts = np.ones(8, dtype=np.int64)
    at = np.zeros(8, dtype=np.int64)
    found = np.ones((64, chains.shape[1], 8))
    count = 0
    for i in range(number):
        tiles = chains[i]
        _set_options(tiles, level, whole, allowed, options, counts)
        for dim in range(8):
            tiles[level, dim] = options[dim, 0]
            at[dim] = 0
        going = True
        while going:
            fitted = fits(level, tiles, lanes, layer, machine, bits, room)
            if fitted:
                if count == found.shape[0]:
                    more = np.empty((2 * count, chains.shape[1], 8))
                    more[:count] = found
                    found = more
                found[count] = tiles
                count += 1
            going = _next_tile(tiles[level], fitted, at, options, counts)
    return found, count


def _choices() -> Ints:
    """Returns the loop orders that differ ``(set of dims, stays, dataflow, 13)``, how many in the last place.

    ``stays``: the operand over whose loops the tile is to stay, 3 for any; ``dataflow``: the operand whose loops the
    dataflow wants innermost, 3 for none.
    """
    table = np.zeros((1 << len(DIMS), 4, 4, len(ORDERS) + 1), dtype=np.int64)
    for present in range(1 << len(DIMS)):
        loops = [tuple(SEQUENCES[present, order, : SEQUENCES[present, order, 8]]) for order in range(len(ORDERS))]
        for stays in range(4):
            for dataflow in range(4):
                found: dict[tuple[int, ...], int] = {}
                for order, sequence in enumerate(loops):
                    moves = [dataflow < 3 and bool(MOVES[dataflow, dim]) for dim in sequence]
                    if (stays == 3 or order // 4 == stays) and (dataflow == 3 or moves == sorted(moves)):
                        found.setdefault(sequence, order)
                table[present, stays, dataflow, : len(found)] = list(found.values())
                table[present, stays, dataflow, -1] = len(found)
    return table


CHOICES = _choices()


@inner
def _price(
    tiles: Floats,
    lanes: Floats,
    stays: int,
    layer: Floats,
    machine: Floats,
    extra: Floats,
    rules: Floats,
    figures: Floats,
    parts: Floats,
    busy: Floats,
    orders: Ints,
    options: Ints,
    best: Floats,
    best_tiles: Floats,
    best_orders: Ints,
) -> bool:
    """Prices a choice of tiles in all loop orders and keeps what is better than the best."""
    levels = machine.shape[1]
    counts, at = orders[1], orders[2]
    set_parts(tiles, lanes, layer, machine, figures, parts)
    for level in range(levels):
        options[level, 0], counts[level], at[level] = 0, 1, 0
        # Inside the innermost level no tile is held: its order matters only if an array's operand comes from there.
        if level < levels - 1 or (extra[1, 0] >= 0 and home_in_array(int(extra[1, 2]), machine, extra) == levels):
            dataflow = int(rules[DATAFLOW]) if level == rules[FEED] else 3
            options[level] = CHOICES[int(parts[level, 16]), stays if level == 1 else 3, dataflow]
            counts[level] = options[level, 12]
            if counts[level] == 0:
                return False
    better = False
    level = 0
    while level < levels:
        for i in range(levels):
            orders[0, i] = options[i, at[i]]
        energy, cycles = price(tiles, lanes, orders[0], layer, machine, extra, figures, parts, busy)
        best[3] += 1
        value = score(energy, cycles, rules)
        if value < best[0]:
            best[0], best[1], best[2] = value, energy, cycles
            best_tiles[:] = tiles
            best_orders[:] = orders[0]
            better = True
        level = 0
        while level < levels and at[level] + 1 == counts[level]:
            at[level] = 0
            level += 1
        if level < levels:
            at[level] += 1
    return better


@inner
def _joins(tiles: Floats, allowed: Ints, stays: int) -> bool:
    """Whether level 1's tile is made of whole tiles of level 2, with loops that level 1 can run."""
    loops, held = False, False
    for dim in range(8):
        bound = tiles[1, dim] / tiles[2, dim]
        if bound != np.floor(bound) or (bound > 1 and (stays == 3 or not allowed[dim])):
            return False
        if bound > 1:
            loops = loops or dim != G
            held = held or not MOVES[stays, dim]
    # Loops over groups alone move everything: one of the cases will do for them.
    return stays == 3 or held or (not loops and stays == 0)


@inner
def _below(
    bounds: Floats,
    column: int,
    cycles: int,
    count: int,
    energy: float,
    least: float,
    rules: Floats,
    power: float,
    limit: float,
    kept: Ints,
    keys: Floats,
) -> int:
    """Lists the entries that with the least of the other list could still win, cheapest first."""
    number = 0
    for i in range(count):
        slowest = max(bounds[i, cycles], least)
        keys[i] = bounds[i, column]
        if _bound(keys[i] + energy, power, slowest, rules) < limit * SURE:
            kept[number] = i
            number += 1
    _sort(keys, kept, number)
    return number


@inner
def _keep_allowed(chains: Floats, count: int, whole: Floats, allowed: Ints) -> int:
    """Keeps the level 1 tiles that leave level 0 only loops that it can run, at the front; returns how many."""
    kept = 0
    for i in range(count):
        good = True
        for dim in range(8):
            good = good and (allowed[dim] > 0 or chains[i, 1, dim] == whole[dim])
        if good:
            if kept < i:
                chains[kept] = chains[i]
            kept += 1
    return kept


@inner
def _needed(level: int, dim: int, lanes: Floats, allowed: Ints, machine: Floats, rules: Floats) -> bool:
    """Whether loops of a level over a dim can be of use: if not, the next level out does as well with them.

    They are of none if they move no operand that the level holds, and what it holds goes on to the multipliers: as
    the innermost loops of the next level out they leave its tiles in place all the same, and those of the others
    are moved no sooner. Not so where the dim also unrolls in between, or where the window slides in an inner memory.
    """
    if allowed[level - 1, dim] == 0 or lanes[level - 1, dim] != lanes[level, dim]:
        return True
    for operand in range(3):
        deeper = False
        for below in range(level + 1, machine.shape[1]):
            deeper = deeper or machine[MEMORY, below, operand] >= 0
        if machine[MEMORY, level, operand] >= 0:
            if MOVES[operand, dim] or deeper:
                return True
            if level - 1 == rules[FEED] and rules[DATAFLOW] < 3 and rules[DATAFLOW] != operand:
                return True
        elif operand == I and deeper and dim >= P:
            return True
    return False


@inner
def _hopeless(near: Floats, count: int, rules: Floats, figures: Floats, limit: float) -> bool:
    """Whether no chain could win, whatever the level 1 tile."""
    for stays in range(4):
        more = figures[BASE, 3]
        if stays < 3:
            more += figures[UNIT + stays, 2] * figures[ONCE + stays, 2]
        for i in range(count):
            cycles = max(near[i, 4 + stays], figures[BASE, 4])
            if _bound(near[i, stays] + more, figures[BASE, 2], cycles, rules) < limit * SURE:
                return False
    return True


@inner
def _unrolled(
    lanes: Floats,
    allowed: Ints,
    layer: Floats,
    machine: Floats,
    extra: Floats,
    bits: Floats,
    room: Floats,
    rules: Floats,
    figures: Floats,
    parts: Floats,
    busy: Floats,
    orders: Ints,
    options: Ints,
    best: Floats,
    best_tiles: Floats,
    best_orders: Ints,
) -> bool:
    """Searches all tiles and orders of one unrolling; returns whether it found a better mapping."""
    levels = machine.shape[1]
    whole = figures[WHOLE, :8]
    tiles = np.ones((levels + 1, 8))
    tiles[0] = whole
    if not fits(0, tiles, lanes, layer, machine, bits, room):
        return False
    if levels == 1:
        return _price(
            tiles,
            lanes,
            3,
            layer,
            machine,
            extra,
            rules,
            figures,
            parts,
            busy,
            orders,
            options,
            best,
            best_tiles,
            best_orders,
        )
    chains, inward = np.ones((1, levels + 1, 8)), 1
    everywhere, here = allowed[1].copy(), allowed[1].copy()
    for level in range(levels - 1, 1, -1):
        everywhere |= allowed[level]
        for dim in range(8):
            needed = allowed[level, dim] > 0 and _needed(level, dim, lanes, allowed, machine, rules)
            here[dim] = 1 if needed else 0
        chains, inward = _tiles_at(level, chains, inward, whole, here, lanes, layer, machine, bits, room)
    near, work = np.empty((inward, 8)), np.empty((5, 11))
    for i in range(inward):
        set_inside(chains[i], lanes, layer, machine, extra, figures, near[i], work)
    if _hopeless(near, inward, rules, figures, best[0]):
        return False
    outer, outward = _tiles_at(1, np.ones((1, levels + 1, 8)), 1, whole, everywhere, lanes, layer, machine, bits, room)
    outward = _keep_allowed(outer, outward, whole, allowed[0])
    far = np.empty((outward, 5))
    for j in range(outward):
        set_outside(outer[j], lanes, layer, machine, figures, far[j], work)
    power = figures[BASE, 2]
    ins, outs = np.empty(inward, dtype=np.int64), np.empty(outward, dtype=np.int64)
    in_keys, out_keys = np.empty(inward), np.empty(outward)
    better = False
    for stays in range(4):
        near_pj, near_cycles, far_pj, far_cycles = np.inf, np.inf, np.inf, np.inf
        for i in range(inward):
            near_pj, near_cycles = min(near_pj, near[i, stays]), min(near_cycles, near[i, 4 + stays])
        for j in range(outward):
            far_pj, far_cycles = min(far_pj, far[j, stays]), min(far_cycles, far[j, 4])
        out_count = _below(far, stays, 4, outward, near_pj, near_cycles, rules, power, best[0], outs, out_keys)
        if out_count == 0:
            continue
        in_count = _below(near, stays, 4 + stays, inward, far_pj, far_cycles, rules, power, best[0], ins, in_keys)
        for a in range(out_count):
            j = outs[a]
            slowest = max(far[j, 4], near_cycles)
            for b in range(in_count):
                i = ins[b]
                energy = far[j, stays] + near[i, stays]
                if _bound(energy, power, slowest, rules) >= best[0] * SURE:
                    break
                cycles = max(slowest, near[i, 4 + stays])
                if _bound(energy, power, cycles, rules) >= best[0] * SURE:
                    continue
                for level in range(2, levels + 1):
                    tiles[level] = chains[i, level]
                tiles[1] = outer[j, 1]
                if _joins(tiles, allowed[1], stays):
                    better |= _price(
                        tiles, lanes, stays, layer, machine, extra, rules, figures, parts, busy, orders, options,
                        best, best_tiles, best_orders,
                    )  # fmt: skip
    return better


@inner
def _search(
    bounds: Ints,
    fans: Ints,
    sizes: Ints,
    over: Ints,
    allowed: Ints,
    layer: Floats,
    machine: Floats,
    extra: Floats,
    bits: Floats,
    room: Floats,
    rules: Floats,
    best: Floats,
    best_tiles: Floats,
    best_lanes: Floats,
    best_orders: Ints,
    best_option: Ints,
) -> None:
    """Finds the best mapping of one pair; see `search`."""
    levels = machine.shape[1]
    found, count = unrollings(bounds, fans, sizes, over)
    lanes = np.ones((levels + 1, 8))
    figures = np.zeros((17, max(levels + 1, 8)))
    busy = np.zeros((3, room.shape[0]))
    parts = np.ones((levels + 1, 17))
    orders = np.zeros((3, levels), dtype=np.int64)
    options = np.zeros((levels, 13), dtype=np.int64)
    keys, order, again = np.empty(count), np.empty(count, dtype=np.int64), np.empty(3)
    for i in range(count):
        set_lanes(found[i], fans, lanes)
        for dim in range(8):
            figures[WHOLE, dim] = np.ceil(bounds[dim] / lanes[0, dim])
        set_figures(lanes, layer, machine, extra, bits, room, figures, busy)
        energy, cycles = least_of_all(lanes, layer, machine, bits, room, figures, again)
        keys[i], order[i] = _bound(energy, figures[BASE, 2], cycles, rules), i
    _sort(keys, order, count)
    for k in range(count):
        i = order[k]
        if keys[i] >= best[0] * SURE:
            break
        set_lanes(found[i], fans, lanes)
        for dim in range(8):
            figures[WHOLE, dim] = np.ceil(bounds[dim] / lanes[0, dim])
        set_figures(lanes, layer, machine, extra, bits, room, figures, busy)
        least_of_all(lanes, layer, machine, bits, room, figures, again)
        if _unrolled(
            lanes, allowed, layer, machine, extra, bits, room, rules, figures, parts, busy, orders, options,
            best, best_tiles, best_orders,
        ):  # fmt: skip
            best_lanes[:] = lanes
            best_option[:] = found[i]


@compiled
def search(
    bounds: Ints,
    layers: Floats,
    bits: Floats,
    which: Ints,
    fans: Ints,
    over: Ints,
    allowed: Ints,
    sizes: Ints,
    memory: Floats,
    per_bit: Floats,
    extra: Floats,
    room: Floats,
    rules: Floats,
    best: Floats,
    tiles: Floats,
    lanes: Floats,
    orders: Ints,
    options: Ints,
) -> None:
    """Finds the best mapping of every pair of a layer and a machine; the machines are alike in form.

    Args:
        bounds: Loop bounds of the pairs' layers ``(pair, dim)``.
        layers: See `coevo.cost.exact` ``(pair, 6)``.
        bits: Of a word ``(pair, operand)``.
        which: The pairs' machines ``(pair,)``.
        fans: Levels with a fan-out.
        over: 1 where a dim may unroll over columns, over rows ``(2, dim)``.
        allowed: 1 where a level may run temporal loops over a dim ``(level, dim)``.
        sizes: (columns, rows) of every level's fan-out ``(machine, level, 2)``.
        memory: Index of the memory that holds an operand, -1 if none does ``(level, operand)``.
        per_bit: Energy per bit read, updated, written [pJ], and cycles per bit read, written, either
            ``(machine, 6, level, operand)``.
        extra: See `coevo.cost.exact` ``(machine, 3, max(level + 1, 3))``; the last row per bit.
        room: Usable bits of the memories ``(machine, memory)``.
        rules: What to minimise (see `score`); bound that the cycles must stay under; the level that the dataflow
            orders, and the operand that it keeps in place there (3 if none).
        best: Filled with (score, energy [pJ], cycles, mappings priced) ``(pair, 4)``; the score is infinite if no
            mapping is valid.
        tiles: Filled with the mappings, see `coevo.cost.exact`, with the following.
        lanes: Ditto.
        orders: Ditto.
        options: Filled with the unrollings ``(pair, axis x dim)``.
    """
    levels = memory.shape[0]
    machine = np.empty((7, levels, 3))
    own = np.empty((3, extra.shape[2]))
    for pair in range(bounds.shape[0]):
        at = which[pair]
        own[:] = extra[at]
        for operand in range(3):
            own[2, operand] *= bits[pair, operand]
            for level in range(levels):
                machine[0, level, operand] = memory[level, operand]
                for row in range(6):
                    machine[1 + row, level, operand] = per_bit[at, row, level, operand] * bits[pair, operand]
        best[pair, 0], best[pair, 1], best[pair, 2], best[pair, 3] = np.inf, np.inf, np.inf, 0.0
        _search(
            bounds[pair], fans, sizes[at], over, allowed, layers[pair], machine, own, bits[pair], room[at], rules,
            best[pair], tiles[pair], lanes[pair], orders[pair], options[pair],
        )  # fmt: skip
