"""All ways to spread a layer over the fan-outs of a machine, compiled.

A fan-out's axis takes any dims that the dataflow allows it, each by any factor, as long as their product fits the
axis and no factor could be smaller without costing steps (``ceil(bound / lanes)``): then surplus lanes are idle.
"""

from __future__ import annotations

import numpy as np

from coevo.cost.compiled import inner, inner_with_arrays
from coevo.cost.exact import Floats, Ints


@inner_with_arrays
def grown(rows: Ints) -> Ints:
    """Returns an array with the rows of another and as many again."""
    result = np.ones((2 * rows.shape[0], rows.shape[1]), dtype=np.int64)
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            result[i, j] = rows[i, j]
    return result


@inner
def _wasteful(bound: int, lanes: int, factor: int) -> bool:
    """Whether one of ``lanes``' factors could be smaller by one without costing steps."""
    fewer = lanes // factor * (factor - 1)
    return factor > 1 and -(-bound // fewer) == -(-bound // lanes)


@inner_with_arrays
def _along_axis(bounds: Ints, allowed: Ints, size: int) -> tuple[Ints, int]:
    """Returns factors along one axis of ``size`` lanes ``(option, dim)``, and how many options there are."""
    found = np.ones((64, 8), dtype=np.int64)
    count, product, at = 1, 1, 0
    factors = np.ones(8, dtype=np.int64)
    while at < 8:
        # the next option: the first dim that can still grow does, those before it start again
        larger = factors[at] + 1
        while larger <= bounds[at] and _wasteful(bounds[at], larger, larger):
            larger += 1
        product //= factors[at]
        if allowed[at] and larger <= bounds[at] and product * larger <= size:
            factors[at] = larger
            product *= larger
            at = 0
            if count == found.shape[0]:
                found = grown(found)
            for dim in range(8):
                found[count, dim] = factors[dim]
            count += 1
        else:
            factors[at] = 1
            at += 1
    return found, count


@inner
def place(rows: Ints, row: int, table: Ints) -> bool:
    """Puts a row into a hash table, which is filled with -1 at first; returns whether it was new."""
    size = table.shape[0]
    at = 0
    for i in range(rows.shape[1]):
        at = (at * 65599 + rows[row, i]) % size
    while table[at] >= 0:
        same = True
        for i in range(rows.shape[1]):
            same = same and rows[table[at], i] == rows[row, i]
        if same:
            return False
        at = at + 1 if at + 1 < size else 0
    table[at] = row
    return True


@inner_with_arrays
def _both_axes(bounds: Ints, columns: Ints, wide: int, rows: Ints, high: int) -> tuple[Ints, Ints, int]:
    """Pairs the options of a fan-out's two axes; of those with the same lanes by dim, one will do.

    Returns:
        The factors over columns and rows ``(option, 16)``, their products ``(option, dim)``, and their number.
    """
    found, lanes = np.ones((wide * high + 1, 16), dtype=np.int64), np.ones((wide * high + 1, 8), dtype=np.int64)
    table = np.full(2 * wide * high + 1, -1, dtype=np.int64)
    count = 0
    for i in range(wide):
        for j in range(high):
            wasteful = False
            for dim in range(8):
                lanes[count, dim] = columns[i, dim] * rows[j, dim]
                wasteful = wasteful or _wasteful(bounds[dim], lanes[count, dim], columns[i, dim])
                wasteful = wasteful or _wasteful(bounds[dim], lanes[count, dim], rows[j, dim])
            if not wasteful and place(lanes, count, table):
                for dim in range(8):
                    found[count, dim], found[count, 8 + dim] = columns[i, dim], rows[j, dim]
                count += 1
    return found, lanes, count


@inner_with_arrays
def unrollings(bounds: Ints, fans: Ints, sizes: Ints, over: Ints) -> tuple[Ints, int]:
    """Returns all unrollings ``(option, axis x dim)``: for every fan-out its columns, then its rows; and their number.

    Args:
        bounds: Loop bounds ``(dim,)``.
        fans: Levels with a fan-out.
        sizes: (columns, rows) of every level ``(level, 2)``.
        over: 1 where a dim may unroll over columns, over rows ``(2, dim)``.
    """
    width = 16 * fans.shape[0]
    found, count = np.ones((1, width), dtype=np.int64), 1
    lanes = np.ones((1, 8), dtype=np.int64)
    for fan in range(fans.shape[0]):
        columns, wide = _along_axis(bounds, over[0], sizes[fans[fan], 0])
        rows, high = _along_axis(bounds, over[1], sizes[fans[fan], 1])
        options, products, number = _both_axes(bounds, columns, wide, rows, high)
        before, outside, total = found, lanes, count
        found, lanes, count = np.ones((64, width), dtype=np.int64), np.ones((64, 8), dtype=np.int64), 0
        for i in range(total):
            for j in range(number):
                if count == found.shape[0]:
                    found, lanes = grown(found), grown(lanes)
                wasteful = False
                for dim in range(8):
                    product = outside[i, dim] * products[j, dim]
                    lanes[count, dim] = product
                    for axis in range(2 * fan):
                        factor = before[i, 8 * axis + dim]
                        found[count, 8 * axis + dim] = factor
                        wasteful = wasteful or _wasteful(bounds[dim], product, factor)
                    for axis in range(2):
                        factor = options[j, 8 * axis + dim]
                        found[count, 16 * fan + 8 * axis + dim] = factor
                        wasteful = wasteful or (fan > 0 and _wasteful(bounds[dim], product, factor))
                if not wasteful:
                    count += 1
    return found, count


@inner
def set_lanes(option: Ints, fans: Ints, lanes: Floats) -> None:
    """Fills lanes at every level's fan-out and further in ``(level + 1, dim)`` from an unrolling ``(axis x dim,)``."""
    for level in range(lanes.shape[0]):
        for dim in range(8):
            lanes[level, dim] = 1.0
            for i in range(fans.shape[0]):
                if fans[i] >= level:
                    lanes[level, dim] *= option[16 * i + dim] * option[16 * i + 8 + dim]
