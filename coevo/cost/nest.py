"""The loop-nest analysis: tiles, and the words that move between memories.

The rules are Timeloop's (Parashar et al., ISPASS 2019, sec. V-VI; NVlabs/timeloop's nest analysis), the arithmetic
stands in `coevo.cost.formulas`:

* a tile is the axis-aligned box that the loops inside it touch;
* a memory remembers one tile. Between two steps in time it takes in only the words it did not hold: none if the
  tile stays, the fresh rim if it slides on as it slid before, else the whole tile;
* children of one parent that need the same words in the same step share one read (multicast), or are summed
  into one update (reduction);
* a memory that does not hold an operand is transparent to it: what is asked of it is asked of the next one out;
* every multiplier takes every operand from the innermost memory that holds it, every cycle.

What neighbours pass to each other instead (`Relay`) is counted by `coevo.cost.network`, for machines that do so.

All functions are elementwise over arrays of one shape, numpy or torch, or over plain numbers. A loop may be left
out of a nest where its bound is 1 throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from coevo.arrays import namespace, wants_gradient, whole
from coevo.cost.formulas import START, jump, meetings, moves, overlap, repeat, slide, span, still
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


@dataclass(frozen=True)
class Relay:
    """What one fan-out moves of an operand where neighbours pass words on (Timeloop's link transfers).

    Attributes:
        words: Words that the level sends into (or, outputs, takes from) its fan-out, per instance.
        received: Words of these that one child gets, on average.
        groups: Words sent per word that a child gets, times the children: the different tiles they hold, were
            nothing passed on.
        passed: Words that neighbours pass on below one instance.
    """

    words: Array
    received: Array
    groups: Array
    passed: Array


Relays = Mapping[tuple[int, str], Relay]
"""By (level, operand); absent where nothing is passed on."""


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
        p, r, q, s = (self.extent.get(dim, 1.0) for dim in "prqs")
        stride, dilation = self.window.stride, self.window.dilation
        return span(p, r, stride[0], dilation[0]), span(q, s, stride[1], dilation[1])

    @cached_property
    def words(self) -> Mapping[str, Array]:
        """Words of each operand (Timeloop's bounding box)."""
        return {
            "weights": self.window.has_weights * product(self.extent.get(dim) for dim in "gmcrs"),
            "inputs": self.channels * self.spans[0] * self.spans[1],
            "outputs": product(self.extent.get(dim) for dim in "ngmpq"),
        }

    def step(self, dim: str) -> Array:
        """How far the inputs' box slides when a loop over p, q, r or s around it advances [word]."""
        return pace(self.window, dim) * self.extent.get(dim, 1.0)


def pace(window: Window, dim: str) -> Array:
    """How far the inputs' box slides when the index of p, q, r or s advances by one [word]."""
    out, _, axis = AXES[dim]
    return (window.stride if dim == out else window.dilation)[axis]


def sweep(operand: str, tile: Tile, outside: Nest) -> Array:
    """Returns the words that one instance takes in over all time.

    Args:
        operand: Which operand.
        tile: The instance's tile.
        outside: The loops outside it, innermost first.
    """
    if operand == "inputs":
        return _sweep_inputs(tile, outside)
    steps: Array = 1.0
    moved: Array = 0.0
    for loop in outside:
        if loop.spatial:
            continue
        if loop.dim in RELEVANT[operand]:
            steps = steps * loop.bound
            moved = moved + (1 - moved) * moves(loop.bound)
        else:
            steps = still(steps, moved, loop.bound)
    return tile.words[operand] * steps


def _sweep_inputs(tile: Tile, outside: Nest) -> Array:
    fold = START
    reach = dict(tile.extent)
    for loop in outside:
        if not loop.spatial:
            if loop.dim in AXES:
                step = pace(tile.window, loop.dim) * reach.get(loop.dim, 1.0)
                steps_hw = (step, 0.0) if AXES[loop.dim][2] == 0 else (0.0, step)
                fold = slide(fold, loop.bound, moves(loop.bound), *steps_hw)
            elif loop.dim in RELEVANT["inputs"]:
                fold = jump(fold, loop.bound, moves(loop.bound))
            else:
                fold = repeat(fold, loop.bound)
        reach[loop.dim] = reach.get(loop.dim, 1.0) * loop.bound
    steps, slides, slid, _, _, _, lead_h, lead_w = fold
    share = slid + (slid == 0)
    return tile.words["inputs"] * steps - overlap(tile.channels, *tile.spans, lead_h / share, lead_w / share) * slides


def distinct(operand: str, spatial: Sequence[Loop], inside: Tile) -> Array:
    """Returns how many different tiles of an operand the children of one fan-out hold.

    Children at the same offset share a read (multicast) or an update (reduction). Output rows and filter rows
    that both unroll meet on diagonals.

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
            offsets = offsets - _met(rows, taps, inside.step(out) + 0.0 * taps, inside.step(tap) + 0.0 * rows)
        count = count * offsets
    return count


def _met(rows: Array, taps: Array, a: Array, b: Array) -> Array:
    """Lanes that meet another on a diagonal, by the steps of rows and taps.

    A common divisor is one of whole numbers: between whole steps the count is interpolated, bilinearly.
    """
    xp = namespace(a)
    low_a, low_b = xp.floor(a), xp.floor(b)
    part_a, part_b = a - low_a, b - low_b
    if not wants_gradient(part_a + part_b) and not (part_a + part_b).any():
        return meetings(rows, taps, a, b, xp.gcd(whole(a), whole(b)))
    result: Array = 0.0
    for a_whole, share_a in ((low_a, 1 - part_a), (low_a + 1, part_a)):
        for b_whole, share_b in ((low_b, 1 - part_b), (low_b + 1, part_b)):
            common = xp.gcd(whole(a_whole), whole(b_whole))
            result = result + share_a * share_b * meetings(rows, taps, a_whole, b_whole, common)
    return result


@dataclass(frozen=True)
class Traffic:
    """Words that one instance of a memory moves for one operand.

    Attributes:
        reads: Words read, for children, for neighbours, and for partial sums that are added to.
        fills: Words written from the parent or a neighbour.
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
    nest: Nest, homes: Mapping[str, Sequence[int]], levels: int, window: Window, relays: Relays | None = None
) -> dict[tuple[int, str], Traffic]:
    """Returns the words moved at every (level, operand) that holds the operand, per instance.

    Outputs follow Timeloop: every departure of a child's tile is an update, every later arrival needs a read;
    the first visit needs none (first-read elision), and a child is not charged a read for what it drains.

    Args:
        nest: The mapping's loops, innermost first.
        homes: The levels that hold each operand, outermost first.
        levels: Number of levels.
        window: The layer's.
        relays: Where neighbours pass words on.
    """
    relays = relays or {}
    tiles = tiles_of(nest, levels, window)
    result: dict[tuple[int, str], Traffic] = {}
    for operand in OPERANDS:
        asked, taken = demand(operand, nest, homes[operand], tiles, relays)
        for level in homes[operand]:
            outermost = level == homes[operand][0]
            own = 0.0 if outermost else taken[level]
            passed: Array = 0.0
            if not outermost and (relay := relays.get((level - 1, operand))) is not None:
                passed = relay.passed / lanes(nest, level)
            tile = tiles[level].words[operand]
            if operand == "outputs":
                share = share_of(nest, tiles[0], level)
                fills = 0.0 if outermost else own + passed - share
                traffic_here = Traffic(asked[level] + passed - share, fills, asked[level], tile)
            else:
                traffic_here = Traffic(asked[level] + passed, own + passed, 0.0, tile)
            result[level, operand] = traffic_here
    return result


def demand(
    operand: str, nest: Nest, homes: Sequence[int], tiles: Sequence[Tile], relays: Relays
) -> tuple[dict[int, Array], dict[int, Array]]:
    """Returns what the level asks of its memory, and what one instance gets from its parent's fan-out [word].

    The first is known at every level from the operand's outermost home inwards, also where the operand passes by:
    words sent into (or, outputs, taken from) one instance's fan-out. The second at every home and, under
    ``len(tiles) - 1``, for a multiplier.
    """
    asked: dict[int, Array] = {}
    taken: dict[int, Array] = {}
    last = len(tiles) - 1
    for level in reversed(range(homes[0] if homes else last, last)):
        child, relay = level + 1, relays.get((level, operand))
        spatial = [loop for loop in nest if loop.spatial and loop.level == level]
        if child != last and child not in homes:
            source = asked[child]
        elif relay is None:
            source = taken[child] = taken_by(operand, nest, tiles, child)
        else:
            asked[level], taken[child] = relay.words, relay.received
            continue
        groups = relay.groups if relay is not None else distinct(operand, spatial, tiles[child]) if spatial else 1.0
        asked[level] = source * groups
    return asked, taken


def tiles_of(nest: Nest, levels: int, window: Window) -> list[Tile]:
    """Returns every level's tile, then the single point that a multiplier works on."""
    tiles = [Tile({}, window)]
    for level in reversed(range(levels)):
        tiles.append(Tile(extend(tiles[-1].extent, (loop for loop in nest if loop.level == level)), window))
    return tiles[::-1]


def taken_by(operand: str, nest: Nest, tiles: Sequence[Tile], child: int) -> Array:
    """Words that one instance of ``child`` (a level, or one past the last for a multiplier) takes in over all time."""
    if child < len(tiles) - 1:
        return sweep(operand, tiles[child], [loop for loop in nest if loop.level < child])
    cycles = product(loop.bound for loop in nest if not loop.spatial)
    return cycles * tiles[0].window.has_weights if operand == "weights" else cycles


def lanes(nest: Nest, level: int) -> Array:
    """Instances of a level in use: the spatial loops outside it."""
    return product(loop.bound for loop in nest if loop.spatial and loop.level < level)


def share_of(nest: Nest, everything: Tile, level: int) -> Array:
    """Output words that one instance of ``level`` is responsible for over the whole layer (Timeloop's partition)."""
    spread = product(
        loop.bound for loop in nest if loop.spatial and loop.level < level and loop.dim in RELEVANT["outputs"]
    )
    return everything.words["outputs"] / spread
