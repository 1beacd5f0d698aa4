"""The loop-nest formulas: tiles, and the words that move between memories.

The rules are Timeloop's (Parashar et al., ISPASS 2019, sec. V-VI; NVlabs/timeloop's nest analysis):

* a tile is the axis-aligned box that the loops inside it touch; the inputs' extent along an axis is
  ``(p - 1) stride + (r - 1) dilation + 1``;
* a memory remembers one tile. Between two steps in time it takes in only the words it did not hold: none if no
  loop that moves the operand advanced, the fresh rim if the innermost moving loop slides the window, else the
  whole tile;
* children of one parent that need the same words in the same step share one read (multicast), or are summed
  into one update (reduction);
* a memory that does not hold an operand is transparent to it;
* every multiplier takes every operand from the innermost memory that holds it, every cycle.

All functions are elementwise over arrays of one shape, numpy or torch; `coevo.cost.mapper` gives them
``(pair, candidate)``. A loop is left out of a nest where its bound is 1 throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from coevo.arrays import namespace, positive, whole
from coevo.workload import OPERANDS, RELEVANT

Array = Any
"""A numpy array, a torch tensor, or a plain number; all of one nest broadcast together."""

AXES = {"p": ("p", "r", 0), "r": ("p", "r", 0), "q": ("q", "s", 1), "s": ("q", "s", 1)}
"""The sliding axis of a dim: (output dim, filter dim, index into stride and dilation)."""


@dataclass(frozen=True)
class Loop:
    """One loop of a nest.

    Attributes:
        dim: What it runs over.
        bound: Its iterations.
        level: Index of the level it belongs to, 0 outermost.
        spatial: Whether it spreads over the level's fan-out instead of time.
    """

    dim: str
    bound: Array
    level: int
    spatial: bool = False


Nest = Sequence[Loop]
"""All loops of a mapping, innermost first; a level's spatial loops lie inside its temporal ones."""

Extent = Mapping[str, Array]
"""Iterations per dim that a tile spans; a dim that is left out spans one."""


@dataclass(frozen=True)
class Window:
    """What a layer is besides its loop bounds.

    Attributes:
        stride, dilation: (height, width).
        has_weights: 1 or 0.
    """

    stride: tuple[Array, Array]
    dilation: tuple[Array, Array]
    has_weights: Array


def product(factors: Iterable[Array | None]) -> Array:
    """Returns the product of the factors that are not None; 1.0 of none."""
    result: Array | None = None
    for factor in factors:
        if factor is not None:
            result = factor if result is None else result * factor
    return 1.0 if result is None else result


def extend(extent: Extent, loops: Iterable[Loop]) -> dict[str, Array]:
    """Returns the extent that ``loops`` around a tile of ``extent`` span."""
    grown = dict(extent)
    for loop in loops:
        grown[loop.dim] = grown[loop.dim] * loop.bound if loop.dim in grown else loop.bound
    return grown


@dataclass(frozen=True)
class Tile:
    """The box of words that a memory holds of each operand.

    Attributes:
        extent: Iterations it spans.
        window: The layer's.
    """

    extent: Extent
    window: Window

    @cached_property
    def channels(self) -> Array:
        """Product of the inputs' extents that do not slide: batch, groups, input channels."""
        return product(self.extent.get(dim) for dim in "ngc")

    @cached_property
    def spans(self) -> tuple[Array, Array]:
        """The inputs' extents along height and width [word], what a stride skips included."""
        return self._span("p", "r", 0), self._span("q", "s", 1)

    def _span(self, out: str, tap: str, axis: int) -> Array:
        length: Array = 1.0
        if out in self.extent:
            length = length + (self.extent[out] - 1) * self.window.stride[axis]
        if tap in self.extent:
            length = length + (self.extent[tap] - 1) * self.window.dilation[axis]
        return length

    @cached_property
    def words(self) -> Mapping[str, Array]:
        """Words of each operand (Timeloop's bounding box)."""
        return {
            "weights": self.window.has_weights * product(self.extent.get(dim) for dim in "gmcrs"),
            "inputs": self.channels * self.spans[0] * self.spans[1],
            "outputs": product(self.extent.get(dim) for dim in "ngmpq"),
        }

    def step(self, dim: str, spread: Array = 1.0) -> Array:
        """How far the inputs' box slides when a loop over p, q, r or s around it advances [word].

        Args:
            dim: The loop's dim.
            spread: Lanes over the same dim between the tile and the loop.
        """
        out, _, axis = AXES[dim]
        return (self.window.stride if dim == out else self.window.dilation)[axis] * self.extent.get(dim, 1.0) * spread

    def overlap(self, dim: str, spread: Array = 1.0) -> Array:
        """Input words that stay in the box when it slides by `step`."""
        axis = AXES[dim][2]
        return self.channels * self.spans[1 - axis] * positive(self.spans[axis] - self.step(dim, spread))


def sweep(operand: str, tile: Tile, outside: Nest) -> Array:
    """Returns the words that one instance takes in over all time.

    Args:
        operand: Which operand.
        tile: The instance's tile.
        outside: The loops outside it, innermost first.
    """
    words = tile.words[operand]
    trips: Array | None = None  # product of the loops so far that move the tile; above 1, it has moved
    idle: Array | None = None  # product of the latest loops that do not
    spread: dict[str, Array] = {}
    for loop in outside:
        if loop.spatial:
            spread[loop.dim] = spread.get(loop.dim, 1.0) * loop.bound
        elif loop.dim not in RELEVANT[operand]:
            idle = product((idle, loop.bound))
        else:
            words, idle = _repeat(words, trips, idle), None
            if operand == "inputs" and loop.dim in AXES:
                # Until something has moved the tile, loops over dim so far had bound 1: `overlap` needs no extent.
                kept = (loop.bound - 1) * tile.overlap(loop.dim, spread.get(loop.dim, 1.0))
                words = words * loop.bound - (kept if trips is None else (trips <= 1) * kept)
            else:
                words = words * loop.bound
            trips = product((trips, loop.bound))
    return _repeat(words, trips, idle)


def _repeat(words: Array, trips: Array | None, idle: Array | None) -> Array:
    """Repeats what was taken in ``idle`` times, unless the tile never moved and so stayed."""
    if idle is None or trips is None:
        return words
    return words * (1 + (trips > 1) * (idle - 1))


def distinct(operand: str, spatial: Sequence[Loop], inside: Tile) -> Array:
    """Returns how many different tiles of an operand the children of one fan-out hold.

    Children at the same offset share a read (multicast) or an update (reduction). Output rows and filter rows
    that both unroll meet on diagonals: offsets ``a i + b j`` (``i < I``, ``j < J``) take
    ``I J - max(0, I - b/g) max(0, J - a/g)`` values, ``g = gcd(a, b)``, since (i, j) and (i + b/g, j - a/g)
    coincide.

    Args:
        operand: Which operand.
        spatial: The fan-out's loops.
        inside: One child's tile.
    """
    bounds: dict[str, Array] = extend({}, spatial)
    if operand != "inputs":
        return product(bounds.get(dim) for dim in bounds if dim in RELEVANT[operand])
    count = product(bounds.get(dim) for dim in "ngc")
    for out, tap in (("p", "r"), ("q", "s")):
        rows, taps = bounds.get(out), bounds.get(tap)
        offsets = product((rows, taps))
        if rows is not None and taps is not None:
            a, b = whole(inside.step(out) + 0.0 * taps), whole(inside.step(tap) + 0.0 * rows)
            g = namespace(a).gcd(a, b)
            offsets = offsets - positive(rows - b // g) * positive(taps - a // g)
        count = count * offsets
    return count


@dataclass(frozen=True)
class Traffic:
    """Words that one instance of a memory moves for one operand.

    Attributes:
        reads: Words read, for children and for partial sums that are added to.
        fills: Words written from the parent.
        updates: Words written from children (outputs only).
        tile: Words the instance holds at a time.
    """

    reads: Array
    fills: Array
    updates: Array
    tile: Array

    @property
    def writes(self) -> Array:
        """Fills and updates."""
        return self.fills + self.updates


def traffic(
    nest: Nest, homes: Mapping[str, Sequence[int]], levels: int, window: Window
) -> dict[tuple[int, str], Traffic]:
    """Returns the words moved at every (level, operand) that holds the operand, per instance.

    Outputs follow Timeloop: every departure of a child's tile is an update, every later arrival needs a read;
    the first visit needs none (first-read elision), and a child is not charged a read for what it drains.

    Args:
        nest: The mapping's loops, innermost first.
        homes: The levels that hold each operand, outermost first.
        levels: Number of levels.
        window: The layer's.
    """
    tiles = _tiles(nest, levels, window)
    fans = [[loop for loop in nest if loop.spatial and loop.level == level] for level in range(levels)]
    result: dict[tuple[int, str], Traffic] = {}
    for operand in OPERANDS:
        own: Array = 0.0  # what the instance takes from its parent; the outermost has none
        for level, child in zip(homes[operand], [*homes[operand][1:], levels], strict=True):
            taken = _taken(operand, nest, tiles, child)
            asked = taken
            for between in range(level, child):
                if fans[between]:
                    asked = asked * distinct(operand, fans[between], tiles[between + 1])
            tile = tiles[level].words[operand]
            if operand == "outputs":
                share = _share(nest, tiles[0], level)
                fills = own - share if level != homes[operand][0] else 0.0
                result[level, operand] = Traffic(asked - share, fills, asked, tile)
            else:
                result[level, operand] = Traffic(asked, own, 0.0, tile)
            own = taken
    return result


def _tiles(nest: Nest, levels: int, window: Window) -> list[Tile]:
    """Every level's tile, then the single point that a multiplier works on."""
    tiles = [Tile({}, window)]
    for level in reversed(range(levels)):
        tiles.append(Tile(extend(tiles[-1].extent, (loop for loop in nest if loop.level == level)), window))
    return tiles[::-1]


def _taken(operand: str, nest: Nest, tiles: Sequence[Tile], child: int) -> Array:
    """Words that one instance of ``child`` (a level, or one past the last for a multiplier) takes in over all time."""
    if child < len(tiles) - 1:
        return sweep(operand, tiles[child], [loop for loop in nest if loop.level < child])
    cycles = product(loop.bound for loop in nest if not loop.spatial)
    return cycles * tiles[0].window.has_weights if operand == "weights" else cycles


def _share(nest: Nest, everything: Tile, level: int) -> Array:
    """Output words that one instance of ``level`` is responsible for over the whole layer."""
    spread = product(
        loop.bound for loop in nest if loop.spatial and loop.level < level and loop.dim in RELEVANT["outputs"]
    )
    return everything.words["outputs"] / spread
