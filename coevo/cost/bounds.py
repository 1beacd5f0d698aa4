"""Lower bounds on what an unrolling costs, compiled: with them the search leaves out what cannot be best.

Whatever the tiles, every word that is needed is brought in once, and more than once if a tile of it has to leave
before all that needs it is done. `coevo.cost.tile_bounds` has the bounds of given tiles.
"""

from __future__ import annotations

import numpy as np

from coevo.cost.compiled import inner
from coevo.cost.exact import (
    BASE,
    DILATION,
    FAN,
    FANNED,
    FIRST,
    INSTANCES,
    LEAST_FAN,
    MAC_PJ,
    MEMORY,
    MOVES,
    ONCE,
    READ_PJ,
    READ_TIME,
    SHARED_TIME,
    STRIDE,
    UNIT,
    UPDATE_PJ,
    WEIGHTS,
    WHOLE,
    WRITE_PJ,
    WRITE_TIME,
    C,
    Floats,
    G,
    I,
    Ints,
    M,
    N,
    O,
    P,
    Q,
    R,
    W,
    gcd,
    home_in_array,
    meetings,
    spread,
)


@inner
def touched(operand: int, level: int, whole: Floats, lanes: Floats, layer: Floats) -> float:
    """Least different words of an operand that an instance works on."""
    words = 1.0
    if operand == I:
        for dim in (N, G, C):
            words *= whole[dim] * lanes[level, dim]
        for axis in range(2):
            rows, taps = whole[P + axis] * lanes[level, P + axis], whole[R + axis] * lanes[level, R + axis]
            if lanes[0, P + axis] == lanes[level, P + axis] and lanes[0, R + axis] == lanes[level, R + axis]:
                a, b = layer[STRIDE + axis], layer[DILATION + axis]
                words *= rows * taps - meetings(rows, taps, a, b, gcd(int(a + 0.5), int(b + 0.5)))
            else:  # other instances have words in between; sums of two sets are at least a + b - 1
                words *= rows + taps - 1
        return words
    for dim in range(8):
        if MOVES[operand, dim]:
            words *= whole[dim] * lanes[level, dim]
    return words


@inner
def set_figures(
    lanes: Floats,
    layer: Floats,
    machine: Floats,
    extra: Floats,
    bits: Floats,
    room: Floats,
    figures: Floats,
    busy: Floats,
) -> None:
    """Fills an unrolling's figures, see `coevo.cost.exact`; its temporal iterations are given."""
    levels = machine.shape[1]
    whole = figures[WHOLE]
    compute, power = 1.0, 0.0
    for dim in range(8):
        compute *= whole[dim]
    instances = 1.0
    for level in range(levels + 1):
        first = 1.0
        for dim in (N, G, M, P, Q):
            first *= whole[dim] * lanes[level, dim]
        figures[INSTANCES, level], figures[FIRST, level], figures[FANNED, level] = instances, first, 0.0
        power += extra[0, level] * instances
        fans = False
        for operand in range(3):
            figures[UNIT + operand, level], figures[FAN + operand, level] = 0.0, 1.0
            if level > 0 and (level == levels or machine[MEMORY, level, operand] >= 0):
                figures[ONCE + operand, level] = touched(operand, level, whole, lanes, layer)
        if level < levels:
            for dim in range(8):
                fans = fans or lanes[level, dim] != lanes[level + 1, dim]
        if fans:
            for dim in range(8):
                factor = lanes[level, dim] / lanes[level + 1, dim]
                instances *= factor
                for operand in range(3):
                    if MOVES[operand, dim]:
                        figures[FAN + operand, level] *= factor
        for operand in range(3):
            figures[LEAST_FAN + operand, level] = figures[FAN + operand, level]
        if fans:
            for axis in range(2):
                rows = lanes[level, P + axis] / lanes[level + 1, P + axis]
                taps = lanes[level, R + axis] / lanes[level + 1, R + axis]
                figures[LEAST_FAN + I, level] *= (rows + taps - 1) / (rows * taps)
    figures[BASE, 2] = power
    busy[:] = 0.0
    energy = layer[MAC_PJ]
    for operand in range(3):
        if operand != W or layer[WEIGHTS] > 0:
            energy += _set_units(operand, compute, machine, figures, busy)
    cycles = compute
    if extra[1, 0] >= 0:  # every word that stays is brought in once, as many at a time as there is room for
        stays = int(extra[1, 2])
        home = home_in_array(stays, machine, extra)
        folds = figures[ONCE + stays, home]
        if home < levels:
            folds = folds / max(1.0, room[int(machine[MEMORY, home, stays])] / bits[stays])
        once, all_of_it = extra[1, 1], 0.0
        for operand in range(3):
            if operand == stays and operand != I:
                all_of_it = extra[2, operand]
                for dim in range(8):
                    if MOVES[operand, dim]:
                        all_of_it *= whole[dim] * lanes[int(extra[1, 0]), dim]
            else:
                once += extra[2, operand] * spread(operand, int(extra[1, 0]), levels, lanes, lanes, layer)
        cycles += max(1.0, folds) * once + all_of_it - (1.0 if extra[1, 1] > 0 else 0.0)
    for at in range(busy.shape[1]):
        cycles = max(cycles, busy[0, at], busy[1, at], busy[2, at])
    figures[BASE, 0], figures[BASE, 1] = energy, cycles


@inner
def _set_units(operand: int, compute: float, machine: Floats, figures: Floats, busy: Floats) -> float:
    """Fills the energies per word and the least time of the memories; returns the energy of the multipliers' words."""
    levels = machine.shape[1]
    energy, child, fan = 0.0, levels, 1.0
    top = 0
    while machine[MEMORY, top, operand] < 0:
        top += 1
    for level in range(levels - 1, top - 1, -1):
        fan *= figures[LEAST_FAN + operand, level]
        at = int(machine[MEMORY, level, operand])
        if at < 0:
            continue
        words = compute if child == levels else figures[ONCE + operand, child]
        per_word = machine[READ_PJ, level, operand]
        first, back, fills = 0.0, 0.0, 0.0
        if operand == O:
            per_word += machine[UPDATE_PJ, level, operand]
            first, back = figures[FIRST, level], words * fan
        instances = figures[INSTANCES, level]
        figures[UNIT + operand, child] += instances * fan * per_word
        if operand == I:
            figures[FANNED, child] = instances * fan * per_word
        energy -= instances * first * machine[READ_PJ, level, operand]
        if child == levels:
            energy += figures[UNIT + operand, child] * compute
        if level > top:
            figures[UNIT + operand, level] += instances * machine[WRITE_PJ, level, operand]
            energy -= instances * first * machine[WRITE_PJ, level, operand]
            fills = figures[ONCE + operand, level] - first
        out = words * fan - first
        busy[0, at] += out * machine[READ_TIME, level, operand]
        busy[1, at] += (back + fills) * machine[WRITE_TIME, level, operand]
        busy[2, at] += (out + back + fills) * machine[SHARED_TIME, level, operand]
        child, fan = level, 1.0
    return energy


@inner
def _least_visits(
    operand: int, child: int, lanes: Floats, layer: Floats, machine: Floats, bits: Floats, room: Floats, figures: Floats
) -> float:
    """Least number of visits to an operand's tiles at a level, by what else the level has to hold.

    Whatever dims do not move an operand do move the others: the larger its share of them in the tile, the larger
    the others' tiles, which hold at least as many words.
    """
    count, most, inside = 1.0, np.inf, 1.0
    if figures[UNIT + operand, child] == 0:
        return count
    for dim in range(8):
        if not MOVES[operand, dim]:
            count *= figures[WHOLE, dim]
            inside *= lanes[child, dim]
    for other in range(3):
        at = int(machine[MEMORY, child, other])
        if other != operand and at >= 0 and (other != W or layer[WEIGHTS] > 0):
            most = min(most, room[at] / bits[other])
    return max(1.0, count / max(1.0, np.floor(most / inside)))


@inner
def least_of_all(
    lanes: Floats, layer: Floats, machine: Floats, bits: Floats, room: Floats, figures: Floats, again: Floats
) -> tuple[float, float]:
    """Least energy [pJ], leakage aside, and least cycles of an unrolling.

    Of the three operands, the innermost loop outside a tile leaves at most one in place: the others come as often as
    their tiles are visited. ``again`` ``(operand,)`` is scratch.
    """
    energy, cycles = figures[BASE, 0], figures[BASE, 1]
    levels = machine.shape[1]
    for child in range(1, levels):
        for operand in range(3):
            again[operand] = _least_visits(operand, child, lanes, layer, machine, bits, room, figures)
        least, fastest = np.inf, np.inf
        for stays in range(3):
            total, read, write, both = 0.0, 0.0, 0.0, 0.0
            for operand in range(3):
                below = child
                if child == 1:  # what passes level 1 by comes from level 0 too
                    while below < levels and figures[UNIT + operand, below] == 0:
                        below += 1
                    if below == levels:
                        continue
                elif figures[UNIT + operand, child] == 0:
                    continue
                words = figures[ONCE + operand, below]
                if operand != stays and below == child:
                    words *= again[operand]
                if below == child:
                    total += figures[UNIT + operand, child] * words
                if child == 1 and machine[MEMORY, 0, operand] == machine[MEMORY, 0, O]:
                    asked, back = words, 0.0
                    for level in range(below):
                        asked *= figures[LEAST_FAN + operand, level]
                    if operand == O:
                        back = asked
                        asked -= figures[FIRST, 0]
                    read += asked * machine[READ_TIME, 0, operand]
                    write += back * machine[WRITE_TIME, 0, operand]
                    both += (asked + back) * machine[SHARED_TIME, 0, operand]
            least, fastest = min(least, total), min(fastest, max(read, write, both))
        energy += least
        cycles = max(cycles, fastest)
        if child == 1:
            figures[BASE, 3], figures[BASE, 4] = least, cycles
    return energy, cycles


@inner
def least_anywhere(bounds: Ints, layer: Floats, machine: Floats, whole: Floats, lanes: Floats) -> tuple[float, float]:
    """Energy [pJ] and cycles that any mapping takes: every word passes its outermost memory once."""
    lanes[:] = 1.0
    for dim in range(8):
        whole[dim] = bounds[dim]
    energy, read, write, both = layer[MAC_PJ], 0.0, 0.0, 0.0
    for operand in range(3):
        if operand == W and layer[WEIGHTS] == 0:
            continue
        top = 0
        while machine[MEMORY, top, operand] < 0:
            top += 1
        words = touched(operand, 0, whole, lanes, layer)
        energy += words * machine[UPDATE_PJ if operand == O else READ_PJ, top, operand]
        if top == 0 and machine[MEMORY, 0, operand] == machine[MEMORY, 0, O]:
            both += words * machine[SHARED_TIME, 0, operand]
            if operand == O:
                write = words * machine[WRITE_TIME, 0, operand]
            else:
                read += words * machine[READ_TIME, 0, operand]
    return energy, max(read, write, both)
