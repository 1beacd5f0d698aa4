"""Pairs of a level 1 tile and the tiles inside it, compiled: which could be best, and what they cost in all orders."""

from __future__ import annotations

import numpy as np

from coevo.cost.compiled import inner
from coevo.cost.exact import BASE, MOVES, ORDERS, SEQUENCES, Floats, G, Ints, home_in_array, price, set_parts
from coevo.cost.ranking import sort
from coevo.cost.tiles import EXACT, SPARE
from coevo.workload import DIMS

GOAL, LIMIT, FEED, DATAFLOW = range(4)
"""What the rules of a search say: see `coevo.cost.search.search`."""

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
def bound(energy: float, power: float, cycles: float, rules: Floats) -> float:
    """The score of lower bounds: energy without leakage [pJ], leakage [pJ/cycle], cycles, which are whole."""
    whole = np.ceil(cycles * (1 - 1e-12))
    return score(energy + power * whole, whole, rules)


@inner
def energy_left(cycles: float, power: float, rules: Floats, limit: float) -> float:
    """The energy without leakage [pJ] from which on a mapping of so many cycles is no better than the best."""
    whole = np.ceil(cycles * (1 - 1e-12))
    if whole >= rules[LIMIT]:
        return -np.inf
    if rules[GOAL] == 0:
        return limit * SURE / whole - power * whole
    if rules[GOAL] == 1:
        return (limit * SURE / whole) ** 1e9 - power * whole
    return limit * SURE / whole**1e-9 - power * whole


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
def _leave_out(present: int, growing: int, options: Ints, count: int) -> int:
    """Keeps the loop orders whose innermost dim is none of ``growing``, at the front; returns how many."""
    kept = 0
    for i in range(count):
        if growing >> SEQUENCES[present, options[i], 0] & 1 == 0:
            options[kept] = options[i]
            kept += 1
    return kept


@inner
def price_orders(
    tiles: Floats,
    lanes: Floats,
    stays: int,
    growing: int,
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
    """Prices a choice of tiles in all loop orders and keeps what is better than the best.

    ``growing``: the dims, a bit each, that are not to be innermost at level 0 (see `coevo.cost.tiles.grows`).
    """
    levels = machine.shape[1]
    counts, at = orders[1], orders[2]
    set_parts(tiles, lanes, layer, machine, figures, parts)
    for level in range(levels):
        options[level, 0], counts[level], at[level] = 0, 1, 0
        # Inside the innermost level no tile is held: its order matters only if an array's operand comes from there.
        if level < levels - 1 or (extra[1, 0] >= 0 and home_in_array(int(extra[1, 2]), machine, extra) == levels):
            dataflow = int(rules[DATAFLOW]) if level == rules[FEED] else 3
            for i in range(options.shape[1]):
                options[level, i] = CHOICES[int(parts[level, 16]), stays if level == 1 else 3, dataflow, i]
            counts[level] = options[level, 12]
            if level == 0 and growing > 0:
                counts[0] = _leave_out(int(parts[0, 16]), growing, options[0], counts[0])
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
            for i in range(levels):
                best_orders[i] = orders[0, i]
                for dim in range(8):
                    best_tiles[i, dim] = tiles[i, dim]
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
        if bound != np.floor(bound) or (bound > 1 and (stays == 3 or not allowed[1, dim])):
            return False
        if bound > 1:
            loops = loops or dim != G
            held = held or not MOVES[stays, dim]
    # Loops over groups alone move everything: one of the cases will do for them.
    return stays == 3 or held or (not loops and stays == 0)


@inner
def _innermost_elsewhere(growing: int, tiles: Floats, rules: Floats) -> int:
    """Of the dims along which level 1 could grow, those that need not be innermost at level 0."""
    if growing == 0 or rules[FEED] != 1 or rules[DATAFLOW] == 3:
        return growing
    flow = int(rules[DATAFLOW])
    for dim in range(8):
        if tiles[1, dim] > tiles[2, dim] and MOVES[flow, dim]:
            # outside that loop, level 1 can have none that leaves the dataflow's operand in place
            for other in range(8):
                if not MOVES[flow, other]:
                    growing &= ~(1 << other)
            return growing
    return growing


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
        if bound(keys[i] + energy, power, slowest, rules) < limit * SURE:
            kept[number] = i
            number += 1
    sort(keys, kept, number)
    return number


@inner
def price_pairs(
    stays: int,
    outer: Floats,
    outer_codes: Ints,
    growing: Ints,
    far: Floats,
    outward: int,
    chains: Floats,
    chain_codes: Ints,
    near: Floats,
    inward: int,
    masks: Ints,
    tiles: Floats,
    outs: Ints,
    out_keys: Floats,
    ins: Ints,
    in_keys: Floats,
    in_pj: Floats,
    in_codes: Ints,
    lanes: Floats,
    allowed: Ints,
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
    """Prices the pairs of level 1 tiles and chains that could win, if an operand stays over level 1's loops."""
    levels, power, better = machine.shape[1], figures[BASE, 2], False
    near_pj, near_cycles, far_pj, far_cycles = np.inf, np.inf, np.inf, np.inf
    for i in range(inward):
        near_pj, near_cycles = min(near_pj, near[i, stays]), min(near_cycles, near[i, 4 + stays])
    for j in range(outward):
        far_pj, far_cycles = min(far_pj, far[j, stays]), min(far_cycles, far[j, 4])
    out_count = _below(far, stays, 4, outward, near_pj, near_cycles, rules, power, best[0], outs, out_keys)
    if out_count == 0:
        return False
    in_count = _below(near, stays, 4 + stays, inward, far_pj, far_cycles, rules, power, best[0], ins, in_keys)
    for b in range(in_count):
        in_pj[b], in_codes[b] = in_keys[ins[b]], chain_codes[ins[b]]
    # Level 1 has loops that leave the operand in place; those over groups alone, none of which does, count once.
    wanted, others, blocked, spare = 0, 0, 0, masks[SPARE]
    for dim in range(8):
        if allowed[1, dim] == 0:
            blocked |= masks[dim]
        if stays < 3 and not MOVES[stays, dim]:
            wanted |= masks[dim]
        elif dim != G:
            others |= masks[dim]
    for a in range(out_count):
        j = outs[a]
        slowest = max(far[j, 4], near_cycles)
        most = energy_left(slowest, power, rules, best[0]) - far[j, stays]
        unwanted, code = blocked, outer_codes[j] | spare
        for dim in range(8):
            if growing[j] >> dim & 1:
                unwanted |= masks[dim]
        for b in range(in_count):
            if in_pj[b] >= most:
                break
            between = code - in_codes[b]
            if between & spare != spare:
                continue
            between ^= spare
            if masks[EXACT]:
                if between & unwanted != 0:
                    continue
                if stays == 3:
                    if between != 0:
                        continue
                elif between & wanted == 0 and (stays > 0 or between == 0 or between & others != 0):
                    continue
            i = ins[b]
            energy, cycles = far[j, stays] + in_pj[b], max(slowest, near[i, 4 + stays])
            if bound(energy, power, cycles, rules) >= best[0] * SURE:
                continue
            for dim in range(8):
                tiles[1, dim] = outer[j, 1, dim]
                for level in range(2, levels + 1):
                    tiles[level, dim] = chains[i, level, dim]
            if _joins(tiles, allowed, stays):
                still = _innermost_elsewhere(growing[j], tiles, rules)
                if price_orders(
                    tiles, lanes, stays, still, layer, machine, extra, rules, figures, parts, busy, orders,
                    options, best, best_tiles, best_orders,
                ):  # fmt: skip
                    better = True
                    most = energy_left(slowest, power, rules, best[0]) - far[j, stays]
    return better
