"""The cost of one mapping, compiled: the formulas of `coevo.cost.formulas` over plain numbers.

`coevo.cost.nest` and `coevo.cost.price` say the same over whole arrays; a test holds the two together to the last
digits. Indices: level 0 is the outermost, ``L`` stands for the multipliers; operands and dims as in
`coevo.workload`. The style is that of compiled code: no array is made where mappings are counted in millions.

A mapping is held as ``tiles`` ``(L + 1, dim)``, temporal iterations inside each level's tile (``tiles[0]`` all of
them, ``tiles[L]`` ones), ``lanes`` ``(L + 1, dim)``, lanes at a level's fan-out and further in (``lanes[L]`` ones),
and ``orders`` ``(L,)``, rows of `ORDERS`. So a level's temporal loop over a dim has the bound
``tiles[l, d] / tiles[l + 1, d]``, and its tile spans ``tiles[l, d] * lanes[l, d]``.

What a layer and a machine are: ``layer`` ``(6,)``: strides and dilations of height and width, 1 if it has weights,
energy of its multiplications [pJ]. ``machine`` ``(7, level, operand)``: index of the memory that holds the operand
(-1 if none does), energy per word read, updated, written [pJ], cycles per word read, written, and either.
``extra`` ``(3, max(L + 1, 3))``: leakage of each level, the multipliers' last [pJ/cycle and instance]; then, for an
array that runs empty when its stationary operand changes, the level of its fan-out (-1 if none), cycles that this
costs, and the operand; then cycles per word that fills or leaves it on the way (operand).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coevo.cost import formulas
from coevo.cost.compiled import inner
from coevo.workload import DIMS, OPERANDS, RELEVANT

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

N, G, M, C, P, Q, R, S = range(len(DIMS))
W, I, O = range(len(OPERANDS))  # noqa: E741
STRIDE, DILATION, WEIGHTS, MAC_PJ = 0, 2, 4, 5
MEMORY, READ_PJ, UPDATE_PJ, WRITE_PJ, READ_TIME, WRITE_TIME, SHARED_TIME = range(7)

MOVES = np.array([[dim in RELEVANT[operand] for dim in DIMS] for operand in OPERANDS])
"""Whether a loop over a dim moves an operand's tile ``(operand, dim)``."""

ORDERS = np.array(
    [
        [DIMS.index(dim) for dim in order]
        for order in (
            # what the weights, the inputs, the outputs stay over lies innermost; among those loops, the one that
            # slides the inputs' window first; then the other loop of the same axis, which may take the slide up
            "pqnrscmg", "qpnsrcmg", "prqnscmg", "qspnrcmg",
            "mprqscng", "mqspcrng", "mrpqscng", "msqprcng",
            "rscpqmng", "srcqpmng", "rpscqmng", "sqrcpmng",
        )
    ]
)  # fmt: skip
"""Loop orders of a level, innermost dim first ``(order, dim)``, four for each operand that may stay."""


def _sequences() -> NDArray[np.int64]:
    """Returns the loops of every order by the set of dims whose bound exceeds 1 ``(set, order, 9)``, then how many."""
    table = np.zeros((1 << len(DIMS), len(ORDERS), 9), dtype=np.int64)
    for present in range(1 << len(DIMS)):
        for order, dims in enumerate(ORDERS):
            loops = [dim for dim in dims if present >> dim & 1]
            table[present, order, : len(loops)] = loops
            table[present, order, 8] = len(loops)
    return table


SEQUENCES = _sequences()

span, overlap, meetings = inner(formulas.span), inner(formulas.overlap), inner(formulas.meetings)
_repeat, _jump, _slide = inner(formulas.repeat), inner(formulas.jump), inner(formulas.slide)
START = formulas.START

INSTANCES, FIRST, FAN, UNIT, ONCE, BASE, WHOLE, FANNED, LEAST_FAN = 0, 1, 2, 5, 8, 11, 12, 13, 14
"""Rows of an unrolling's figures ``(17, max(L + 1, 8))``, which hold whatever the tiles are:

by level, its instances in use; output words of one instance, whose first visit needs no read; (by operand) lanes
below a fan-out with different tiles, diagonals aside; (operand) lower bound of the energy per word that an instance
of a child takes in; (operand) least words that it takes in; then (energy [pJ], cycles, leakage [pJ/cycle]) whatever
the tiles; all temporal iterations by dim; what of the inputs' energy per word goes with the fan-outs above;
and (operand) the least lanes below a fan-out with different tiles, as if they met on every diagonal.
"""


@inner
def box(operand: int, level: int, tiles: Floats, lanes: Floats, layer: Floats) -> float:
    """Words of an operand in a level's tile."""
    if operand == W:
        words = 1.0
        for dim in (G, M, C, R, S):
            words *= tiles[level, dim] * lanes[level, dim]
        return words
    if operand == O:
        words = 1.0
        for dim in (N, G, M, P, Q):
            words *= tiles[level, dim] * lanes[level, dim]
        return words
    words = 1.0
    for dim in (N, G, C):
        words *= tiles[level, dim] * lanes[level, dim]
    height = span(tiles[level, P] * lanes[level, P], tiles[level, R] * lanes[level, R], layer[0], layer[2])
    width = span(tiles[level, Q] * lanes[level, Q], tiles[level, S] * lanes[level, S], layer[1], layer[3])
    return words * height * width


@inner
def loads(operand: int, child: int, orders: Ints, parts: Floats) -> float:
    """How often weights or outputs of a level are replaced over the whole layer."""
    count, moved = 1.0, False
    for level in range(child - 1, -1, -1):
        present = int(parts[level, 16])
        for i in range(SEQUENCES[present, orders[level], 8]):
            dim = SEQUENCES[present, orders[level], i]
            moved = moved or MOVES[operand, dim]
            if moved:
                count *= parts[level, dim]
    return count


@inner
def inputs(child: int, tiles: Floats, lanes: Floats, orders: Ints, layer: Floats, parts: Floats) -> float:
    """Input words that one instance of a level takes in over the whole layer."""
    fold = START
    for level in range(child - 1, -1, -1):
        present = int(parts[level, 16])
        for i in range(SEQUENCES[present, orders[level], 8]):
            dim = SEQUENCES[present, orders[level], i]
            bound = parts[level, dim]
            if dim == M:
                fold = _repeat(fold, bound)
            elif dim >= P:
                axis = (dim - P) % 2
                rate = layer[(STRIDE if dim < R else DILATION) + axis]
                step = rate * tiles[level + 1, dim] * lanes[level, dim]
                fold = _slide(fold, bound, 1.0, step * (1 - axis), step * axis)
            else:
                fold = _jump(fold, bound, 1.0)
    steps, slides, _, _, _, _, lead_h, lead_w = fold
    words = parts[child, 8 + I]
    if slides == 0:
        return words * steps
    height, width = parts[child, 14], parts[child, 15]
    return words * steps - overlap(words / (height * width), height, width, lead_h, lead_w) * slides


@inner
def gcd(a: int, b: int) -> int:
    """Greatest common divisor."""
    while b:
        a, b = b, a % b
    return a


@inner
def diagonals(level: int, tiles: Floats, lanes: Floats, layer: Floats) -> float:
    """Share of the lanes below a fan-out that do not meet another one's inputs on a diagonal."""
    share = 1.0
    for axis in range(2):
        rows = lanes[level, P + axis] / lanes[level + 1, P + axis]
        taps = lanes[level, R + axis] / lanes[level + 1, R + axis]
        if rows > 1 and taps > 1:
            a = layer[STRIDE + axis] * tiles[level + 1, P + axis] * lanes[level + 1, P + axis]
            b = layer[DILATION + axis] * tiles[level + 1, R + axis] * lanes[level + 1, R + axis]
            common = gcd(int(a + 0.5), int(b + 0.5))
            share *= 1 - meetings(rows, taps, a, b, common) / (rows * taps)
    return share


@inner
def set_parts(tiles: Floats, lanes: Floats, layer: Floats, machine: Floats, figures: Floats, parts: Floats) -> None:
    """Fills what holds for a choice of tiles in whatever order its loops run ``parts`` ``(L + 1, 17)``.

    By level: bounds of the temporal loops (8); words of each operand's tile (3); different tiles of each operand
    below the fan-out (3); height and width of the inputs' tile; the set of dims with loops, a bit each.
    """
    levels = machine.shape[1]
    for level in range(levels + 1):
        for operand in range(3):
            parts[level, 8 + operand] = box(operand, level, tiles, lanes, layer)
        for axis in range(2):
            outs = tiles[level, P + axis] * lanes[level, P + axis]
            taps = tiles[level, R + axis] * lanes[level, R + axis]
            parts[level, 14 + axis] = span(outs, taps, layer[STRIDE + axis], layer[DILATION + axis])
        if level < levels:
            present = 0
            for dim in range(8):
                parts[level, dim] = 1.0
                if tiles[level, dim] != tiles[level + 1, dim]:
                    parts[level, dim] = tiles[level, dim] / tiles[level + 1, dim]
                    present |= 1 << dim
            parts[level, 16] = present
            for operand in range(3):
                parts[level, 11 + operand] = figures[FAN + operand, level]
            if figures[FAN + I, level] > 1:
                parts[level, 11 + I] *= diagonals(level, tiles, lanes, layer)


@inner
def price(
    tiles: Floats,
    lanes: Floats,
    orders: Ints,
    layer: Floats,
    machine: Floats,
    extra: Floats,
    figures: Floats,
    parts: Floats,
    busy: Floats,
) -> tuple[float, float]:
    """Energy [pJ] and cycles of a mapping whose parts are set; ``busy`` ``(3, memory)`` is scratch."""
    levels = machine.shape[1]
    energy = layer[MAC_PJ]
    compute = 1.0
    for dim in range(8):
        compute *= tiles[0, dim]
    cycles = compute
    for row in range(3):
        for at in range(busy.shape[1]):
            busy[row, at] = 0.0
    for operand in range(3):
        if operand == W and layer[WEIGHTS] == 0:
            continue
        top = 0
        while machine[MEMORY, top, operand] < 0:
            top += 1
        asked = compute
        for level in range(levels - 1, top - 1, -1):
            asked *= parts[level, 11 + operand]
            at = int(machine[MEMORY, level, operand])
            if at < 0:
                continue
            out, back, fills, own = asked, 0.0, 0.0, 0.0
            if operand == O:
                out, back = asked - figures[FIRST, level], asked
            if level > top:
                if operand == I:
                    own = inputs(level, tiles, lanes, orders, layer, parts)
                else:
                    own = parts[level, 8 + operand] * loads(operand, level, orders, parts)
                fills = own - figures[FIRST, level] if operand == O else own
            energy += figures[INSTANCES, level] * (
                out * machine[READ_PJ, level, operand]
                + back * machine[UPDATE_PJ, level, operand]
                + fills * machine[WRITE_PJ, level, operand]
            )
            busy[0, at] += out * machine[READ_TIME, level, operand]
            busy[1, at] += (back + fills) * machine[WRITE_TIME, level, operand]
            busy[2, at] += (out + back + fills) * machine[SHARED_TIME, level, operand]
            asked = own
    if extra[1, 0] >= 0:
        stays = int(extra[1, 2])
        folds = loads(stays, home_in_array(stays, machine, extra), orders, parts)
        # A systolic array's cycles are counted from 0 (`coevo.cost.systolic`).
        cycles += folds * refill(tiles, lanes, layer, machine, extra) - (1.0 if extra[1, 1] > 0 else 0.0)
    for at in range(busy.shape[1]):
        cycles = max(cycles, busy[0, at], busy[1, at], busy[2, at])
    cycles = math.ceil(cycles * (1 - 1e-12))
    return energy + figures[BASE, 2] * cycles, cycles


@inner
def home_in_array(operand: int, machine: Floats, extra: Floats) -> int:
    """The innermost level inside the refilled array that holds an operand; L if none does."""
    home = machine.shape[1]
    for level in range(int(extra[1, 0]) + 1, machine.shape[1]):
        if machine[MEMORY, level, operand] >= 0:
            home = level
    return home


@inner
def refill(tiles: Floats, lanes: Floats, layer: Floats, machine: Floats, extra: Floats) -> float:
    """Cycles that an array loses once while its stationary operand changes (`coevo.cost.refill`)."""
    once = extra[1, 1]
    for operand in range(3):
        if extra[2, operand] > 0:
            home = home_in_array(operand, machine, extra)
            once += extra[2, operand] * spread(operand, int(extra[1, 0]), home, tiles, lanes, layer)
    return once


@inner
def spread(operand: int, array: int, home: int, tiles: Floats, lanes: Floats, layer: Floats) -> float:
    """Different words of an operand that all lanes of an array hold together."""
    words = 1.0
    if operand == I:
        for dim in (N, G, C):
            words *= tiles[home, dim] * lanes[array, dim]
        height = span(tiles[home, P] * lanes[array, P], tiles[home, R] * lanes[array, R], layer[0], layer[2])
        return (
            words
            * height
            * span(tiles[home, Q] * lanes[array, Q], tiles[home, S] * lanes[array, S], layer[1], layer[3])
        )
    for dim in range(8):
        if MOVES[operand, dim]:
            words *= tiles[home, dim] * lanes[array, dim]
    return words


@inner
def fits(level: int, tiles: Floats, lanes: Floats, layer: Floats, machine: Floats, bits: Floats, room: Floats) -> bool:
    """Whether a level's memories hold its tile; ``bits`` of a word ``(operand,)``, ``room`` ``(memory,)``."""
    n, g, m = tiles[level, N] * lanes[level, N], tiles[level, G] * lanes[level, G], tiles[level, M] * lanes[level, M]
    c, p, q = tiles[level, C] * lanes[level, C], tiles[level, P] * lanes[level, P], tiles[level, Q] * lanes[level, Q]
    r, s = tiles[level, R] * lanes[level, R], tiles[level, S] * lanes[level, S]
    used = (
        layer[WEIGHTS] * g * m * c * r * s * bits[W],
        n * g * c * span(p, r, layer[0], layer[2]) * span(q, s, layer[1], layer[3]) * bits[I],
        n * g * m * p * q * bits[O],
    )
    for first in range(3):
        at = machine[MEMORY, level, first]
        if at < 0:
            continue
        total = 0.0
        for operand in range(3):
            if machine[MEMORY, level, operand] == at:
                total += used[operand]
        if total > room[int(at)]:
            return False
    return True
