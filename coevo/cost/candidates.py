"""Candidate mappings, as arrays: ways to fill a fan-out, and ways to grow a tile to its memory's size.

A candidate's factors are ``(slot, dim, pair, candidate)``: for every level a temporal slot, then for every level
a slot of its fan-out's columns (x), then one of its rows (y).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from coevo.cost.batch import Batch
from coevo.cost.nest import AXES, Loop, Tile, Window
from coevo.workload import DIMS, OPERANDS, RELEVANT

Array = NDArray[np.float64]

ORDERS = tuple(itertools.permutations(("pixels", "filters", "taps")))
"""Orders of a level's temporal loops, outermost group first. A group leaves one operand where it is when it is
innermost: pixels the weights, filters the inputs, taps the outputs."""

GROUPS = {"pixels": ("n", "p", "q"), "filters": ("m",), "taps": ("c", "r", "s")}
STILL = {"weights": "pixels", "inputs": "filters", "outputs": "taps"}
"""The group whose loops do not move an operand (sliding windows aside)."""

_TABLE = 1024  # bounds up to here look their divisors up; larger ones are rare (wide linear layers)


def x_slot(levels: int, level: int) -> int:
    """Index of a level's column slot."""
    return levels + level


def y_slot(levels: int, level: int) -> int:
    """Index of a level's row slot."""
    return 2 * levels + level


def loops(batch: Batch, factors: Array, orders: Sequence[int], outermost: int, rest: Array) -> list[Loop]:
    """Returns the nest of candidates, innermost loop first.

    Args:
        batch: The pairs.
        factors: ``(slot, dim, pair, candidate)``.
        orders: Index into `ORDERS` per level.
        outermost: The outermost level with temporal loops; what remains goes there.
        rest: The iterations that remain, ``(dim, pair, candidate)``.
    """
    count = len(batch.structure.levels)
    flow = batch.structure.dataflow
    present = batch.layers.present
    nest = []
    for level in reversed(range(count)):
        if level in batch.structure.fans:
            for slot, dims in ((x_slot(count, level), flow.x), (y_slot(count, level), flow.y)):
                nest += [Loop(d, factors[slot, DIMS.index(d)], level, spatial=True) for d in dims if d in present]
        if level >= outermost:
            bounds = rest if level == outermost else factors[level]
            nest += [Loop(d, bounds[DIMS.index(d)], level) for d in inner_first(orders[level]) if d in present]
    return nest


def inner_first(order: int) -> list[str]:
    """Dims of a level's temporal loops, innermost first; groups are outermost, as every operand moves with them."""
    return [dim for group in reversed(ORDERS[order]) for dim in reversed(GROUPS[group])] + ["g"]


# -- fan-outs --------------------------------------------------------------------------------------------------


def unrollings(batch: Batch, keep: int, shrink: int = 1) -> Array:
    """Returns the best ways to fill the fan-outs, ``(slot, dim, pair, candidate)`` with temporal slots all 1.

    Each axis is filled greedily in every order of the dims that the dataflow allows it: a dim takes the least
    factor that needs as few steps as the largest that fits. Of all combinations, those with the fewest compute
    cycles stay.

    Args:
        batch: The pairs.
        keep: How many candidates to keep per pair.
        shrink: Uses only 1/shrink of every axis.
    """
    count, structure = len(batch.structure.levels), batch.structure
    start = np.ones((3 * count, len(DIMS), batch.pairs, 1))
    for level in structure.fans:
        x, y = batch.machines.fanout[structure.levels[level][-1]]
        options = []
        for y_dims in _fill_orders(structure.dataflow.y, batch.layers.present):
            rows = _fill(batch, start, y_slot(count, level), y_dims, y // shrink)
            options += [
                _fill(batch, rows, x_slot(count, level), x_dims, x // shrink)
                for x_dims in _fill_orders(structure.dataflow.x, batch.layers.present)
            ]
        start = _fewest_cycles(batch, np.concatenate(options, axis=-1), keep)
    return start


def _fill_orders(dims: Sequence[str], present: Sequence[str]) -> list[tuple[str, ...]]:
    """Orders in which to fill an axis: all of up to three dims, else all ordered pairs.

    Where the dataflow allows more than four dims it is always pairs, whatever else is in the batch: a pair's
    candidates must not depend on its company.
    """
    usable = [dim for dim in dims if dim in present]
    return list(itertools.permutations(usable, min(len(usable), 3 if len(usable) <= 3 and len(dims) <= 4 else 2)))


def _fill(batch: Batch, factors: Array, slot: int, dims: Sequence[str], size: Array) -> Array:
    filled = factors.copy()
    left = np.maximum(size, 1) * np.ones(filled.shape[2:])
    for dim in dims:
        i = DIMS.index(dim)
        rest = np.ceil(batch.layers.bounds[i] / filled[:, i].prod(axis=0))
        factor = np.ceil(rest / np.ceil(rest / left))
        filled[slot, i] = factor
        left = left // factor
    return filled


def remaining(batch: Batch, factors: Array) -> Array:
    """Returns the iterations per dim that no loop covers yet ``(dim, pair, candidate)``, rounded up."""
    rest: Array = np.ceil(batch.layers.bounds / factors.prod(axis=0))
    return rest


def _fewest_cycles(batch: Batch, factors: Array, keep: int) -> Array:
    cycles = remaining(batch, factors).prod(axis=0)
    # Different orders often end in the same unrolling; a weighted sum of the factors tells them apart.
    weights = np.sqrt(np.arange(2, 2 + factors.shape[0] * factors.shape[1])).reshape(factors.shape[:2])
    signature = np.einsum("sdpk,sd->pk", factors, weights)
    return take(factors, best(cycles, keep, signature))


def best(score: Array, keep: int, signature: Array | None = None) -> NDArray[np.intp]:
    """Returns the indices of the ``keep`` lowest scores per pair ``(pair, keep)``, distinct ones first.

    Args:
        score: ``(pair, candidate)``.
        keep: How many; fewer if there are fewer.
        signature: ``(pair, candidate)``; equal ones count as the same candidate. The score itself if None.
    """
    signature = score if signature is None else signature
    order = np.lexsort((signature, score))
    ranked = np.take_along_axis(signature, order, axis=-1)
    again = np.zeros(order.shape, dtype=np.bool_)
    again[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    front = np.argsort(again, axis=-1, kind="stable")[:, :keep]
    return np.take_along_axis(order, front, axis=-1)


def take(factors: Array, chosen: NDArray[np.intp]) -> Array:
    """Returns the chosen candidates ``(slot, dim, pair, chosen)``."""
    return np.take_along_axis(factors, chosen[None, None], axis=-1)


# -- tiles -----------------------------------------------------------------------------------------------------


def growths(batch: Batch, factors: Array, level: int) -> Array:
    """Returns candidates whose tile at ``level`` is grown in many ways, candidate axis 13 times as long.

    A tile grows dim by dim, each by the largest divisor of the remaining iterations with which all operands still
    fit. The dims' order decides what it favours; each order is tried straight and by first filling a quarter of
    the memory, which gives balanced tiles. One candidate does not grow at all.
    """
    rest = remaining(batch, factors)
    tile = _tile(batch, factors, level)
    ways = [
        [(dim, share) for share in shares for dim in dims]
        for dims in _growth_orders(batch)
        for shares in ((1.0,), (0.25, 1.0))
    ]
    count = factors.shape[-1]
    grown = np.tile(factors, len(ways) + 1)
    for i, steps in enumerate(ways, start=1):
        grown[level, ..., i * count : (i + 1) * count] = _grown(batch, tile, rest, level, steps)
    return grown


def _growth_orders(batch: Batch) -> Iterator[tuple[str, ...]]:
    """Orders in which to grow a tile: taps first, then channels and pixels in every order."""
    taps, pixels = ("s", "r"), ("q", "p")
    blocks = [taps, pixels, ("g",)] if "g" in batch.layers.present else [("c",), ("m",), pixels]
    before, after = ((), ("c", "m", "n")) if "g" in batch.layers.present else (taps, ("n",))
    for order in itertools.permutations(blocks):
        dims = (*before, *itertools.chain.from_iterable(order), *after)
        yield tuple(dim for dim in dims if dim in batch.layers.present)


def _grown(batch: Batch, tile: dict[str, Array], rest: Array, level: int, steps: Sequence[tuple[str, float]]) -> Array:
    """Returns the temporal factors at ``level`` ``(dim, pair, candidate)`` after the steps (dim, share of memory)."""
    rest, grown = rest.copy(), np.ones_like(rest)
    growing = _Growing(tile, batch.layers.window)
    for dim, share in steps:
        i = DIMS.index(dim)
        limit = _largest_factor(batch, growing, level, dim, share)
        if limit is None:
            continue
        factor = largest_divisor(rest[i], limit)
        growing.grow(dim, factor)
        grown[i] *= factor
        rest[i] /= factor
    return grown


class _Growing:
    """A tile's words while it grows, kept up to date instead of counted anew at every step."""

    def __init__(self, extent: dict[str, Array], window: Window) -> None:
        tile = Tile(extent, window)
        self.words = dict(tile.words)
        self._spans = list(tile.spans)
        self._channels = tile.channels
        self._steps = {dim: tile.step(dim) for dim in extent if dim in AXES}

    def growth(self, dim: str) -> Array:
        """Input words that one more iteration over a sliding dim adds, for the window's whole step."""
        words: Array = self._channels * self._spans[1 - AXES[dim][2]] * self._steps[dim]
        return words

    def grow(self, dim: str, factor: Array) -> None:
        """Makes the tile ``factor`` times as long over ``dim``."""
        for operand in OPERANDS:
            if dim in RELEVANT[operand] and not (operand == "inputs" and dim in AXES):
                self.words[operand] = self.words[operand] * factor
        if dim in AXES:
            axis = AXES[dim][2]
            self._spans[axis] = self._spans[axis] + (factor - 1) * self._steps[dim]
            self._steps[dim] = self._steps[dim] * factor
            self.words["inputs"] = self._channels * self._spans[0] * self._spans[1]
        elif dim in RELEVANT["inputs"]:
            self._channels = self._channels * factor


def _tile(batch: Batch, factors: Array, level: int) -> dict[str, Array]:
    """Extent of a level's tile: the loops of this level and of those further in, fan-outs included."""
    count = len(batch.structure.levels)
    slots = [axis * count + i for axis in range(3) for i in range(level, count)]
    return {dim: factors[slots, DIMS.index(dim)].prod(axis=0) for dim in batch.layers.present}


def _largest_factor(batch: Batch, tile: _Growing, level: int, dim: str, share: float) -> Array | None:
    """Largest factor over ``dim``, at least 1, with which every memory of the level still fits.

    None if the dim moves no operand that is held here. The bits used are ``fixed + slope x factor``: an operand
    grows in proportion, not at all, or, along a sliding axis, by its step.
    """
    limit: Array | None = None
    machines = batch.machines
    for memory in batch.structure.levels[level]:
        holds = batch.structure.holds[memory]
        if not any(dim in RELEVANT[operand] for operand in holds):
            continue
        fixed: Array | float = 0.0
        slope: Array | float = 0.0
        for operand in holds:
            used = tile.words[operand] * machines.bits[operand]
            if dim not in RELEVANT[operand]:
                fixed = fixed + used
            elif operand == "inputs" and dim in AXES:
                growth = tile.growth(dim) * machines.bits[operand]
                fixed, slope = fixed + used - growth, slope + growth
            else:
                slope = slope + used
        room = np.maximum(machines.usable_bits[memory] * share - fixed, 0.0)
        most = np.floor(room / np.maximum(slope, 1e-9) + 1e-9)
        limit = most if limit is None else np.minimum(limit, most)
    return None if limit is None else np.maximum(limit, 1.0)


@cache
def _divisor_table() -> NDArray[np.int16]:
    """Largest divisor of n that is at most f, at ``[n, f]``."""
    table = np.ones((_TABLE + 1, _TABLE + 1), dtype=np.int16)
    for divisor in range(2, _TABLE + 1):
        table[divisor::divisor, divisor:] = divisor
    return table


def largest_divisor(number: Array, limit: Array) -> Array:
    """Returns the largest divisor of each number that is at most its limit (at least 1), elementwise."""
    whole = number.astype(np.int64)
    bound = np.minimum(limit, number).astype(np.int64)
    small = whole <= _TABLE
    result = _divisor_table()[np.where(small, whole, 1), np.where(small, bound, 1)].astype(np.float64)
    if not small.all():
        for value in np.unique(whole[~small]):
            divisors = np.array([d for d in range(1, value + 1) if value % d == 0])
            where = whole == value
            result[where] = divisors[np.searchsorted(divisors, bound[where], side="right") - 1]
    return result
