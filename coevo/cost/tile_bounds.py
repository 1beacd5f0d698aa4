"""Lower bounds on what given tiles cost, in whatever order their loops run, compiled.

They follow from three facts. A tile of weights or outputs is replaced at least as often as the loops that move it
advance, times those loops that do not and lie outside one that does. A tile of inputs brings in at least its fresh
rim with every step, as if the window slid throughout. And every word that is needed is brought in once.
"""

from __future__ import annotations

from coevo.cost.compiled import inner
from coevo.cost.exact import (
    BASE,
    DILATION,
    FAN,
    FANNED,
    FIRST,
    LEAST_FAN,
    MEMORY,
    MOVES,
    ONCE,
    READ_TIME,
    SHARED_TIME,
    STRIDE,
    UNIT,
    WHOLE,
    WRITE_TIME,
    C,
    Floats,
    G,
    I,
    M,
    N,
    O,
    P,
    Q,
    R,
    S,
    W,
    diagonals,
    home_in_array,
    refill,
    span,
)


@inner
def _set_rest(level: int, tiles: Floats, figures: Floats, rest: Floats) -> None:
    """Fills the iterations outside a level's tile (8), then those that leave an operand in place, multiplied (3)."""
    for dim in range(8):
        rest[dim] = 1.0
        if figures[WHOLE, dim] != tiles[level, dim]:
            rest[dim] = figures[WHOLE, dim] / tiles[level, dim]
    rest[8] = rest[N] * rest[P] * rest[Q]
    rest[9] = rest[M]
    rest[10] = rest[C] * rest[R] * rest[S]


@inner
def _least_taken(
    operand: int, child: int, tile: int, rest: Floats, tiles: Floats, lanes: Floats, layer: Floats, figures: Floats
) -> float:
    """Least words that an instance of a level takes in at one visit, if it holds another level's iterations."""
    once = figures[ONCE + operand, child]
    if operand != I:
        return once
    channels = tiles[tile, N] * lanes[child, N] * tiles[tile, G] * lanes[child, G] * tiles[tile, C] * lanes[child, C]
    if tile != child and _leaves_out(child, lanes, layer):
        return once
    height = span(tiles[tile, P] * lanes[child, P], tiles[tile, R] * lanes[child, R], layer[0], layer[2])
    width = span(tiles[tile, Q] * lanes[child, Q], tiles[tile, S] * lanes[child, S], layer[1], layer[3])
    steps = rest[N] * rest[G] * rest[C] * rest[P] * rest[Q] * rest[R] * rest[S]
    kept, hidden = 0.0, 1.0
    for axis in range(2):
        length, across = (height, width) if axis == 0 else (width, height)
        outs, taps = rest[P + axis], rest[R + axis]
        if outs * taps == 1:
            continue
        out_step = layer[STRIDE + axis] * tiles[tile, P + axis] * lanes[child - 1, P + axis]
        tap_step = layer[DILATION + axis] * tiles[tile, R + axis] * lanes[child - 1, R + axis]
        meet = outs > 1 and taps > 1 and _tap_reach(axis, taps, tile, tiles, lanes, layer, figures) >= out_step
        if outs > 1 and out_step < length:
            kept = max(kept, across * (length - out_step) * (1 - 1 / (outs * taps if meet else outs)))
        if taps > 1 and tap_step < length:
            kept = max(kept, across * (length - tap_step) * (1 - 1 / (outs * taps)))
        if meet:  # two loops may meet where they stand: every second step may bring in nothing
            hidden = 0.5
    return max(once, hidden * steps * channels * (height * width - kept))


@inner
def _leaves_out(child: int, lanes: Floats, layer: Floats) -> bool:
    """Whether an instance may skip words of a larger tile: strides, or positions that other instances work on."""
    for axis in range(2):
        if layer[STRIDE + axis] != 1 or layer[DILATION + axis] != 1:
            return True
        if lanes[0, P + axis] != lanes[child, P + axis] or lanes[0, R + axis] != lanes[child, R + axis]:
            return True
    return False


@inner
def _tap_reach(
    axis: int, taps: float, tile: int, tiles: Floats, lanes: Floats, layer: Floats, figures: Floats
) -> float:
    """Most that one step of each loop over the taps can come to [word].

    Loops over output positions, each at least twice as long a step as the one inside it, can make up for it, and so
    leave the window where it was or slide it on, only if it reaches their shortest step.
    """
    reach = tiles[tile, R + axis] if taps <= 3 else figures[WHOLE, R + axis]  # up to 3: a single loop
    return layer[DILATION + axis] * reach * lanes[0, R + axis]


@inner
def _known_fan(child: int, tiles: Floats, lanes: Floats, layer: Floats, machine: Floats, figures: Floats) -> float:
    """How much larger the inputs' fan-outs above a level are than at least, level 0's aside."""
    ratio = 1.0
    level = child - 1
    while level >= 1:
        if figures[LEAST_FAN + I, level] < figures[FAN + I, level]:
            ratio *= diagonals(level, tiles, lanes, layer) * figures[FAN + I, level] / figures[LEAST_FAN + I, level]
        if machine[MEMORY, level, I] >= 0:
            break
        level -= 1
    return ratio


@inner
def _slowest(level: int, stays: int, words: Floats, again: Floats, machine: Floats, figures: Floats) -> float:
    """Least cycles in which a level's memories feed what takes ``words`` ``(operand,)``, ``again`` times each."""
    cycles = 0.0
    for first in range(3):
        at = machine[MEMORY, level, first]
        if at < 0 or words[first] == 0 or (first > 0 and at == machine[MEMORY, level, 0] and words[0] > 0):
            continue
        reads, writes, both = 0.0, 0.0, 0.0
        for operand in range(3):
            if machine[MEMORY, level, operand] != at or words[operand] == 0:
                continue
            out, back = words[operand], 0.0
            if stays != operand:
                out *= again[operand]
            if operand == O:
                back = out
                out -= figures[FIRST, level]
            reads += out * machine[READ_TIME, level, operand]
            writes += back * machine[WRITE_TIME, level, operand]
            both += (out + back) * machine[SHARED_TIME, level, operand]
        cycles = max(cycles, reads, writes, both)
    return cycles


@inner
def set_inside(
    tiles: Floats,
    lanes: Floats,
    layer: Floats,
    machine: Floats,
    extra: Floats,
    figures: Floats,
    near: Floats,
    work: Floats,
) -> None:
    """Bounds of a chain of tiles, from level 2 inwards, by what stays put at level 1.

    ``near`` ``(8,)`` takes energies and then cycles if the weights, inputs or outputs stay over level 1's innermost
    loops, or level 1 has no loops; the share of what stays is left to `set_outside` if its child is level 2.
    ``work`` ``(5, 11)`` is scratch.
    """
    levels = machine.shape[1]
    for stays in range(4):
        near[stays], near[4 + stays] = figures[BASE, 0], figures[BASE, 1]
    asked, again, rest = work[0], work[1], work[4]
    for operand in range(3):
        asked[operand] = 0.0
        for child in range(2, levels):
            unit = figures[UNIT + operand, child]
            if unit == 0:
                continue
            _set_rest(child, tiles, figures, rest)
            words = _least_taken(operand, child, child, rest, tiles, lanes, layer, figures)
            fan = 1.0
            if operand == I:  # with the tiles known, so are the diagonals
                fan = _known_fan(child, tiles, lanes, layer, machine, figures)
                unit += figures[FANNED, child] * (fan - 1)
            # Where do loops first move the tile? Up to there it may stay for nothing.
            level, moved = child, False
            while level > 2 and not moved:
                level -= 1
                for dim in range(8):
                    moved = moved or (MOVES[operand, dim] and tiles[level, dim] > tiles[level + 1, dim])
            if level != child:
                _set_rest(level, tiles, figures, rest)
            often = rest[8 + operand]
            for stays in range(4):
                if moved or stays not in (operand, 3):
                    near[stays] += unit * words * often
                elif child > 2:
                    near[stays] += unit * words
            if child == 2:
                asked[operand] = words * fan * figures[LEAST_FAN + operand, 1]
                again[operand] = often
    if extra[1, 0] >= 1:  # then all tiles inside the array are known
        kept = int(extra[1, 2])
        home = home_in_array(kept, machine, extra)
        compute, folds = 1.0, 1.0
        for dim in range(8):
            compute *= figures[WHOLE, dim]
            if MOVES[kept, dim]:
                folds *= figures[WHOLE, dim] / tiles[home, dim]
        compute += folds * refill(tiles, lanes, layer, machine, extra) - (1.0 if extra[1, 1] > 0 else 0.0)
        for stays in range(4):
            near[4 + stays] = max(near[4 + stays], compute)
    if levels > 2 and _limited(1, machine):
        for stays in range(4):
            alone = 0 if stays == 3 else stays
            if stays == 3:
                for operand in range(3):
                    again[operand] = 1.0
            near[4 + stays] = max(near[4 + stays], _slowest(1, alone, asked, again, machine, figures))


@inner
def _limited(level: int, machine: Floats) -> bool:
    total = 0.0
    for operand in range(3):
        total += machine[READ_TIME, level, operand] + machine[WRITE_TIME, level, operand]
        total += machine[SHARED_TIME, level, operand]
    return total > 0


@inner
def _passed_over(stays: int, loops: bool, again: Floats) -> bool:
    """Whether level 0 has no loops over which an operand stays; with no loops that move anything, case 3 stands."""
    return (stays == 3 or again[stays] == 1) if loops else stays < 3


@inner
def set_outside(
    tiles: Floats,
    lanes: Floats,
    layer: Floats,
    machine: Floats,
    figures: Floats,
    most_pj: Floats,
    far: Floats,
    work: Floats,
) -> bool:
    """Bounds of level 1's tile, to be added to those of `set_inside`; ``far`` ``(5,)`` as there, one for cycles.

    Returns:
        Whether it could cost less than ``most_pj`` ``(4,)`` in any case; if not, ``far`` lacks the cycles.
    """
    levels = machine.shape[1]
    asked, again, own, below, rest = work[0], work[1], work[2], work[3], work[4]
    _set_rest(1, tiles, figures, rest)
    for operand in range(3):
        asked[operand], own[operand], below[operand] = 0.0, 0.0, 0.0
        again[operand] = rest[8 + operand]
        child = 1
        while child < levels and figures[UNIT + operand, child] == 0:
            child += 1
        if child == levels:
            continue
        words = _least_taken(operand, child, 1, rest, tiles, lanes, layer, figures)
        if child == 1:
            own[operand] = figures[UNIT + operand, 1] * words
        elif child == 2:
            below[operand] = figures[UNIT + operand, 2] * words
        if child == 1 and levels > 2 and figures[UNIT + operand, 2] > 0:
            below[operand] = figures[UNIT + operand, 2] * _least_taken(
                operand, 2, 1, rest, tiles, lanes, layer, figures
            )
        asked[operand] = words
        for level in range(child):
            asked[operand] *= figures[LEAST_FAN + operand, level]
    for i in range(5):
        far[i] = 1e300
    loops = again[0] * again[1] * again[2] > 1
    for stays in range(4):
        if _passed_over(stays, loops, again):
            continue
        held, every = 0.0, 0.0
        for operand in range(3):
            count = 1.0 if stays == operand else again[operand]
            held += own[operand] * count
            every += below[operand] * count
        for case in range(3):
            count = 1.0 if stays == case else again[case]
            far[case] = min(far[case], held + below[case] * count)
        far[3] = min(far[3], held + every)
    if far[W] >= most_pj[W] and far[I] >= most_pj[I] and far[O] >= most_pj[O] and far[3] >= most_pj[3]:
        return False
    if not _limited(0, machine):
        far[4] = 0.0
        return True
    for stays in range(4):
        if not _passed_over(stays, loops, again):
            far[4] = min(far[4], _slowest(0, stays, asked, again, machine, figures))
    return True


@inner
def may_win(tiles: Floats, machine: Floats, figures: Floats, most_pj: Floats) -> bool:
    """Whether level 1's tile could cost less than ``most_pj`` in any case of `set_outside`, by its visits alone."""
    levels = machine.shape[1]
    whole = figures[WHOLE]
    w = whole[N] * whole[P] * whole[Q] / (tiles[1, N] * tiles[1, P] * tiles[1, Q])
    i = whole[M] / tiles[1, M]
    o = whole[C] * whole[R] * whole[S] / (tiles[1, C] * tiles[1, R] * tiles[1, S])
    own_w, own_i, own_o = _paid(W, 1, figures), _paid(I, 1, figures), _paid(O, 1, figures)
    below_w, below_i, below_o = 0.0, 0.0, 0.0
    if levels > 2:
        below_w, below_i, below_o = _paid(W, 2, figures), _paid(I, 2, figures), _paid(O, 2, figures)
    for stays in range(3):  # of level 0
        x, y, z = w, i, o
        if stays == W:
            x = 1.0
        elif stays == I:
            y = 1.0
        else:
            z = 1.0
        held = own_w * x + own_i * y + own_o * z
        every = held + below_w * x + below_i * y + below_o * z
        if (
            held + below_w * x < most_pj[W]
            or held + below_i * y < most_pj[I]
            or held + below_o * z < most_pj[O]
            or every < most_pj[3]
        ):
            return True
    return False


@inner
def _paid(operand: int, child: int, figures: Floats) -> float:
    """Least energy of what a child takes in of an operand, visited once [pJ]."""
    if figures[UNIT + operand, child] == 0:
        return 0.0
    return figures[UNIT + operand, child] * figures[ONCE + operand, child]
