"""The search for the best mapping of one layer on one machine, compiled: exact branch and bound.

Unrollings are taken in the order of their least possible cost, until that is no better than the best mapping known.
For each, tiles are split in two: those of level 2 and further in (chains), and that of level 1. What a pair of
both costs is bounded from below by a sum of one term of each (`coevo.cost.tile_bounds`), so the two lists are filtered
and walked in the order of their terms, and only the pairs whose sum could still win are priced, in every loop
order that may differ (`coevo.cost.pairs`).

Two equalities keep the lists short (`coevo.cost.tiles`). Where no window slides, batch and output positions are one
dim. And a level 1 tile that could grow along a dim is no better than the grown one.
"""

from __future__ import annotations

import numpy as np

from coevo.cost.bounds import least_anywhere, least_of_all, set_figures
from coevo.cost.compiled import compiled, inner, inner_with_arrays
from coevo.cost.exact import BASE, MEMORY, MOVES, ONCE, UNIT, WHOLE, Floats, I, Ints, P, fits
from coevo.cost.pairs import DATAFLOW, FEED, SURE, bound, energy_left, price_orders, price_pairs
from coevo.cost.ranking import pop, push, sort
from coevo.cost.tile_bounds import may_win, set_inside, set_outside
from coevo.cost.tiles import (
    EXACT,
    MOST,
    begin,
    grows,
    merges,
    set_divisors,
    set_growing,
    split,
    tiles_at,
    without_window,
)
from coevo.cost.unroll import place, set_lanes, unrollings


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
            if bound(near[i, stays] + more, figures[BASE, 2], cycles, rules) < limit * SURE:
                return False
    return True


@inner
def _keep_ungrown(
    outer: Floats,
    codes: Ints,
    growing: Ints,
    count: int,
    exact: bool,
    allowed: Ints,
    able: Ints,
    lanes: Floats,
    layer: Floats,
    machine: Floats,
    bits: Floats,
    room: Floats,
    rules: Floats,
    figures: Floats,
    most_pj: Floats,
) -> int:
    """Keeps the level 1 tiles that may win (see `may_win`) and need not be grown, at the front; returns how many.

    ``growing`` is filled with the dims, a bit each, along which they could grow.
    """
    kept = 0
    ruled = rules[FEED] == 1 and rules[DATAFLOW] < 3
    for i in range(count):
        tiles = outer[i]
        if not may_win(tiles, machine, figures, most_pj):
            continue
        can_run, alive, loops = True, False, False
        could = grows(tiles, figures[WHOLE], able, lanes, layer, machine, bits, room) if exact else 0
        for dim in range(8):
            if tiles[1, dim] != figures[WHOLE, dim]:
                can_run = can_run and allowed[0, dim] > 0
                loops = True
                # what the dataflow wants innermost at level 1 cannot become its outermost loop
                alive = alive or could >> dim & 1 == 0 or (ruled and not MOVES[int(rules[DATAFLOW]), dim])
        if can_run and (alive or not loops):
            for dim in range(8):
                outer[kept, 1, dim] = tiles[1, dim]
            codes[kept], growing[kept] = codes[i], could
            kept += 1
    return kept


@inner
def _set_far(
    outer: Floats,
    codes: Ints,
    growing: Ints,
    count: int,
    lanes: Floats,
    layer: Floats,
    machine: Floats,
    figures: Floats,
    most_pj: Floats,
    far: Floats,
    work: Floats,
) -> int:
    """Fills the bounds of level 1's tiles and keeps those that could win, at the front; returns how many."""
    kept = 0
    for j in range(count):
        if set_outside(outer[j], lanes, layer, machine, figures, most_pj, far[kept], work):
            for dim in range(8):
                outer[kept, 1, dim] = outer[j, 1, dim]
            codes[kept], growing[kept] = codes[j], growing[j]
            kept += 1
    return kept


@inner
def _set_near(
    chains: Floats,
    count: int,
    lanes: Floats,
    layer: Floats,
    machine: Floats,
    extra: Floats,
    figures: Floats,
    power: float,
    rules: Floats,
    limit: float,
    near: Floats,
    most_pj: Floats,
    work: Floats,
) -> None:
    """Fills the bounds of chains, and what level 1's tile may cost at most by what stays ``most_pj`` ``(4,)``."""
    for i in range(count):
        set_inside(chains[i], lanes, layer, machine, extra, figures, near[i], work)
    for stays in range(4):
        least, cycles = np.inf, np.inf
        for i in range(count):
            least, cycles = min(least, near[i, stays]), min(cycles, near[i, 4 + stays])
        most_pj[stays] = energy_left(cycles, power, rules, limit) - least


@inner_with_arrays
def _unrolled(
    lanes: Floats,
    allowed: Ints,
    able: Ints,
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
        return price_orders(
            tiles, lanes, 3, 0, layer, machine, extra, rules, figures, parts, busy, orders, options,
            best, best_tiles, best_orders,
        )  # fmt: skip
    divisors, codes = np.empty((8, MOST)), np.empty((8, MOST), dtype=np.int64)
    counts, masks = np.empty(8, dtype=np.int64), np.empty(10, dtype=np.int64)
    set_divisors(whole, divisors, codes, counts, masks)
    chains, chain_codes, inward = np.ones((1, levels + 1, 8)), np.zeros(1, dtype=np.int64), 1
    here, everywhere = np.zeros(8, dtype=np.int64), np.zeros(8, dtype=np.int64)
    for level in range(levels - 1, 0, -1):
        for dim in range(8):
            everywhere[dim] |= allowed[level, dim]
            if level > 1:
                needed = allowed[level, dim] > 0 and _needed(level, dim, lanes, allowed, machine, rules)
                here[dim] = 1 if needed else 0
        if level > 1:
            chains, chain_codes, inward = tiles_at(
                level, chains, inward, divisors, codes, counts, here, lanes, layer, machine, bits, room
            )
    near, most_pj, work, power = np.empty((inward, 8)), np.empty(4), np.empty((5, 11)), figures[BASE, 2]
    _set_near(
        chains, inward, lanes, layer, machine, extra, figures, power, rules, best[0], near, most_pj, work
    )  # fmt: skip
    if _hopeless(near, inward, rules, figures, best[0]):
        return False
    outer, outer_codes, outward = tiles_at(
        1, np.ones((1, levels + 1, 8)), 1, divisors, codes, counts, everywhere, lanes, layer, machine, bits, room
    )
    growing = np.empty(outward, dtype=np.int64)
    outward = _keep_ungrown(
        outer, outer_codes, growing, outward, masks[EXACT] > 0, allowed, able, lanes, layer, machine, bits, room,
        rules, figures, most_pj,
    )  # fmt: skip
    far = np.empty((outward + 1, 5))
    outward = _set_far(
        outer, outer_codes, growing, outward, lanes, layer, machine, figures, most_pj, far, work
    )  # fmt: skip
    ins, outs = np.empty(inward, dtype=np.int64), np.empty(outward, dtype=np.int64)
    in_keys, out_keys = np.empty(inward), np.empty(outward)
    in_pj, in_codes = np.empty(inward), np.empty(inward, dtype=np.int64)
    better = False
    for stays in range(4):
        better |= price_pairs(
            stays, outer, outer_codes, growing, far, outward, chains, chain_codes, near, inward, masks, tiles,
            outs, out_keys, ins, in_keys, in_pj, in_codes, lanes, allowed, layer, machine, extra, rules, figures,
            parts, busy, orders, options, best, best_tiles, best_orders,
        )  # fmt: skip
    return better


@inner_with_arrays
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
    merged = merges(bounds, allowed, layer)
    if merged:
        layer = without_window(layer)
    found, count = unrollings(bounds, fans, sizes, over)
    lanes, whole = np.ones((levels + 1, 8)), np.ones(8)
    figures = np.zeros((17, max(levels + 1, 8)))
    busy = np.zeros((3, room.shape[0]))
    parts = np.ones((levels + 1, 17))
    orders = np.zeros((3, levels), dtype=np.int64)
    options = np.zeros((levels, 13), dtype=np.int64)
    able, again = np.zeros(8, dtype=np.int64), np.empty(3)
    # Every unrolling has a quick bound; in its order they get their own, and in the order of that they are searched.
    quick, keys = np.empty(count), np.empty(count)
    order, heap = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    least_pj, least_cycles = least_anywhere(bounds, layer, machine, whole, lanes)
    rows = np.ones((count if merged else 1, 8 * fans.shape[0] + 1), dtype=np.int64)
    table = np.full(2 * count + 1 if merged else 1, -1, dtype=np.int64)
    different = 0
    for i in range(count):
        begin(found[i], bounds, fans, merged, lanes, whole)
        if merged:
            for fan in range(fans.shape[0]):
                for dim in range(8):
                    rows[different, 8 * fan + dim] = int(lanes[fans[fan], dim])
            rows[different, -1] = int(whole[P])
            if not place(rows, different, table):
                continue
        compute = 1.0
        for dim in range(8):
            compute *= whole[dim]
        quick[i], order[different] = bound(least_pj, 0.0, max(compute, least_cycles), rules), i
        different += 1
    sort(quick, order, different)
    at, ready = 0, 0
    while True:
        while at < different and (ready == 0 or quick[order[at]] <= keys[heap[0]]):
            i = order[at]
            if quick[i] >= best[0] * SURE:
                at = different
                break
            at += 1
            begin(found[i], bounds, fans, merged, lanes, figures[WHOLE, :8])
            set_figures(lanes, layer, machine, extra, bits, room, figures, busy)
            energy, cycles = least_of_all(lanes, layer, machine, bits, room, figures, again)
            keys[i] = bound(energy, figures[BASE, 2], cycles, rules)
            if keys[i] < best[0] * SURE:
                ready = push(keys, heap, ready, i)
        if ready == 0 or keys[heap[0]] >= best[0] * SURE:
            break
        i = heap[0]
        ready = pop(keys, heap, ready)
        begin(found[i], bounds, fans, merged, lanes, figures[WHOLE, :8])
        set_figures(lanes, layer, machine, extra, bits, room, figures, busy)
        least_of_all(lanes, layer, machine, bits, room, figures, again)
        if levels > 1:
            set_growing(bounds, allowed, lanes, figures[WHOLE], layer, extra, able)
        if _unrolled(
            lanes, allowed, able, layer, machine, extra, bits, room, rules, figures, parts, busy, orders, options,
            best, best_tiles, best_orders,
        ):  # fmt: skip
            best_option[:] = found[i]
    if best[0] < np.inf:
        set_lanes(best_option, fans, best_lanes)
        if merged:
            split(best_tiles, bounds, best_lanes)
    best[4] = 1.0 if merged else 0.0


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
        best: Filled with (score, energy [pJ], cycles, mappings priced, whether n, p and q are one dim: then their
            loops stand together where p's do) ``(pair, 5)``; the score is infinite if no mapping is valid.
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
        best[pair, :3], best[pair, 3:] = np.inf, 0.0
        _search(
            bounds[pair], fans, sizes[at], over, allowed, layers[pair], machine, own, bits[pair], room[at], rules,
            best[pair], tiles[pair], lanes[pair], orders[pair], options[pair],
        )  # fmt: skip
