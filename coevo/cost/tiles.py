"""The tiles that a level may hold, compiled: by divisors of what there is, as far as they fit.

A tile's code holds the exponents of its primes, dim by dim, in fields of one integer, each with a spare bit on top.
So one tile divides another in every dim if ``(other | spare bits) - tile`` leaves every spare bit set, and the other
bits then show the dims over which loops run between the two.
"""

from __future__ import annotations

import numpy as np

from coevo.cost.compiled import inner, inner_with_arrays
from coevo.cost.exact import DILATION, STRIDE, C, Floats, G, Ints, M, N, P, Q, R, S, fits
from coevo.cost.unroll import set_lanes

MOST = 1344
"""No number below 10^9 has more divisors."""

SPARE, EXACT = 8, 9
"""Where the fields' spare bits stand among the masks, and whether all primes have found a field."""


@inner
def merges(bounds: Ints, allowed: Ints, layer: Floats) -> bool:
    """Whether batch and output positions are one dim: they are alike to all operands where no window slides."""
    if bounds[R] * bounds[S] > 1:
        return False
    for axis in range(2):
        if bounds[P + axis] > 1 and layer[STRIDE + axis] != 1:
            return False
    for level in range(allowed.shape[0]):
        if allowed[level, N] != allowed[level, P] or allowed[level, Q] != allowed[level, P]:
            return False
    return True


@inner
def begin(option: Ints, bounds: Ints, fans: Ints, merged: bool, lanes: Floats, whole: Floats) -> None:
    """Fills an unrolling's lanes ``(level + 1, dim)`` and temporal iterations; if merged, n, p, q stand as p."""
    set_lanes(option, fans, lanes)
    for dim in range(8):
        whole[dim] = np.ceil(bounds[dim] / lanes[0, dim])
    if merged:
        whole[P] *= whole[N] * whole[Q]
        whole[N], whole[Q] = 1.0, 1.0
        for level in range(lanes.shape[0]):
            lanes[level, P] *= lanes[level, N] * lanes[level, Q]
            lanes[level, N], lanes[level, Q] = 1.0, 1.0


@inner_with_arrays
def without_window(layer: Floats) -> Floats:
    """Returns a layer whose windows do not slide."""
    result = layer.copy()
    for axis in range(2):
        result[STRIDE + axis], result[DILATION + axis] = 1.0, 1.0
    return result


@inner
def _common(a: float, b: float) -> float:
    """Greatest common divisor."""
    while b > 0:
        a, b = b, a - b * np.floor(a / b)
    return a


@inner
def split(tiles: Floats, bounds: Ints, lanes: Floats) -> None:
    """Turns tiles of the merged dim into those of p, q and n, innermost first."""
    for level in range(tiles.shape[0] - 2, -1, -1):
        inside = tiles[level + 1, N] * tiles[level + 1, P] * tiles[level + 1, Q]
        bound = np.floor(tiles[level, P] / inside + 0.5)
        for dim in (P, Q, N):
            left = np.ceil(bounds[dim] / lanes[0, dim]) / tiles[level + 1, dim]
            factor = _common(bound, left)
            tiles[level, dim] = tiles[level + 1, dim] * factor
            bound = np.floor(bound / factor + 0.5)


@inner
def set_divisors(whole: Floats, divisors: Floats, codes: Ints, counts: Ints, masks: Ints) -> None:
    """Fills the divisors of every dim's iterations, rising, their codes ``(dim, MOST)``, and the fields' masks."""
    masks[:] = 0
    masks[EXACT] = 1
    shift = 0
    for dim in range(8):
        total = int(whole[dim] + 0.5)
        count, low = 0, 1
        while low * low <= total:
            if total % low == 0:
                divisors[dim, count] = low
                count += 1
            low += 1
        for i in range(count - 1, -1, -1):
            partner = total // int(divisors[dim, i])
            if partner != int(divisors[dim, i]):
                divisors[dim, count] = partner
                count += 1
        counts[dim] = count
        for i in range(count):
            codes[dim, i] = 0
        rest, prime = total, 2
        while rest > 1:
            if prime * prime > rest:
                prime = rest
            power, width = 0, 0
            while rest % prime == 0:
                rest //= prime
                power += 1
            while power >> width > 0:
                width += 1
            if width > 0 and shift + width >= 62:
                masks[EXACT] = 0
            elif width > 0:
                for i in range(count):
                    value, exponent = int(divisors[dim, i]), 0
                    while value % prime == 0:
                        value //= prime
                        exponent += 1
                    codes[dim, i] |= exponent << shift
                masks[dim] |= ((1 << width) - 1) << shift
                masks[SPARE] |= 1 << (shift + width)
                shift += width + 1
            prime += 1


@inner
def _next_tile(level: int, tiles: Floats, fitted: bool, at: Ints, options: Floats, counts: Ints) -> bool:
    """Sets a level's next combination; one that does not fit skips those with more of the dim that was raised last."""
    dim = 0
    if not fitted:
        while dim < 8 and at[dim] == 0:
            dim += 1
        if dim == 8:
            return False
        at[dim], tiles[level, dim] = 0, options[dim, 0]
        dim += 1
    while dim < 8 and at[dim] + 1 == counts[dim]:
        at[dim], tiles[level, dim] = 0, options[dim, 0]
        dim += 1
    if dim == 8:
        return False
    at[dim] += 1
    tiles[level, dim] = options[dim, at[dim]]
    return True


@inner
def _start(
    level: int,
    tiles: Floats,
    divisors: Floats,
    codes: Ints,
    counts: Ints,
    allowed: Ints,
    at: Ints,
    options: Floats,
    marks: Ints,
    ways: Ints,
) -> None:
    """Lists by dim what a level's tile may hold around the next one's, and sets the first combination."""
    for dim in range(8):
        start, many = tiles[level + 1, dim], 0
        for j in range(counts[dim]):
            value = divisors[dim, j]
            bound = value / start
            if value == start or (allowed[dim] > 0 and value > start and bound == np.floor(bound)):
                options[dim, many], marks[dim, many] = value, codes[dim, j]
                many += 1
        ways[dim], at[dim], tiles[level, dim] = many, 0, options[dim, 0]


@inner
def _fill(
    level: int,
    tiles: Floats,
    at: Ints,
    options: Floats,
    marks: Ints,
    ways: Ints,
    lanes: Floats,
    layer: Floats,
    machine: Floats,
    bits: Floats,
    room: Floats,
    found: Floats,
    found_codes: Ints,
    count: int,
) -> tuple[int, bool]:
    """Adds the combinations that fit until there are no more, or no more room; returns how many, and if some remain."""
    going = True
    while going and count < found.shape[0]:
        fitted = fits(level, tiles, lanes, layer, machine, bits, room)
        if fitted:
            found_codes[count] = 0
            for dim in range(8):
                found_codes[count] |= marks[dim, at[dim]]
                for row in range(level, tiles.shape[0]):
                    found[count, row, dim] = tiles[row, dim]
            count += 1
        going = _next_tile(level, tiles, fitted, at, options, ways)
    return count, going


@inner_with_arrays
def tiles_at(
    level: int,
    chains: Floats,
    number: int,
    divisors: Floats,
    codes: Ints,
    counts: Ints,
    allowed: Ints,
    lanes: Floats,
    layer: Floats,
    machine: Floats,
    bits: Floats,
    room: Floats,
) -> tuple[Floats, Ints, int]:
    """Extends chains ``(chain, level + 1, dim)`` by every tile of the next level out that fits; and those tiles' codes.

    The chains' rows further in than ``level`` are set. A dim without loops at the level (``allowed``) stays as it is.
    """
    options, marks = np.empty((8, MOST)), np.empty((8, MOST), dtype=np.int64)
    ways, at = np.ones(8, dtype=np.int64), np.zeros(8, dtype=np.int64)
    found, found_codes = np.ones((64, chains.shape[1], 8)), np.empty(64, dtype=np.int64)
    count = 0
    for i in range(number):
        _start(level, chains[i], divisors, codes, counts, allowed, at, options, marks, ways)
        going = True
        while going:
            if count == found.shape[0]:
                more, more_codes = np.empty((4 * count, chains.shape[1], 8)), np.empty(4 * count, dtype=np.int64)
                more[:count], more_codes[:count] = found, found_codes
                found, found_codes = more, more_codes
            count, going = _fill(
                level, chains[i], at, options, marks, ways, lanes, layer, machine, bits, room, found, found_codes, count
            )
    return found, found_codes, count


@inner
def set_growing(
    bounds: Ints, allowed: Ints, lanes: Floats, whole: Floats, layer: Floats, extra: Floats, able: Ints
) -> None:
    """Marks the dims along which a level 1 tile that can grow is no better than the grown one (see `grows`).

    1: groups, batch, channels, every step over which brings in new tiles; where no window slides also output channels,
    and positions if there is nothing between them. 2: positions along an axis whose window slides, but without loops
    over its taps, if windows leave nothing out.
    """
    able[:] = 0
    if extra[1, 0] == 0:  # the tile may be what the array takes in when it is refilled
        return
    able[N], able[G], able[C] = allowed[1, N], allowed[1, G], allowed[1, C]
    still = bounds[R] * bounds[S] == 1
    if still:
        able[M] = allowed[1, M]
    for axis in range(2):
        out, tap = P + axis, R + axis
        reach = (bounds[tap] - 1) * layer[DILATION + axis] + 1
        if still and layer[STRIDE + axis] == 1:
            able[out] = allowed[1, out]
        elif (
            whole[tap] == 1
            and reach >= layer[STRIDE + axis]
            and lanes[0, out] == lanes[1, out]
            and lanes[0, tap] == lanes[1, tap]
        ):
            able[out] = 2 * allowed[1, out]


@inner
def grows(
    tiles: Floats, whole: Floats, able: Ints, lanes: Floats, layer: Floats, machine: Floats, bits: Floats, room: Floats
) -> int:
    """The dims, a bit each, along which level 1's tile could grow by a prime and still fit.

    Let level 0 leave that prime of its loop over the dim to level 1. Where level 1 has a loop over the dim already,
    it takes the prime up: every operand that the dim moves comes as often as before, every other at most as often, and
    a window slides on at least as often. Where it has none, the prime becomes its outermost loop: if it was level 0's
    innermost, no order has changed. So of both mappings the second needs no more words anywhere. (Timeloop's rule
    finds that a window slides on from one loop over an axis to the next only if the inner one has the bound 2: so such
    a loop is left whole or halved.)
    """
    found = 0
    for dim in range(8):
        if able[dim] == 0 or tiles[1, dim] == whole[dim]:
            continue
        before = tiles[1, dim]
        rest, prime = int(whole[dim] / before + 0.5), 2
        while rest % prime > 0:
            prime += 1
        if able[dim] == 2 and prime not in (2, rest):
            continue
        tiles[1, dim] = before * prime
        if fits(1, tiles, lanes, layer, machine, bits, room):
            found |= 1 << dim
        tiles[1, dim] = before
    return found
