"""What the network of a fan-out carries: multicast, reduction, what neighbours pass on, hops and their energy.

The rules are Timeloop's (NVlabs/timeloop, classic nest analysis and its X-Y network model). Only machines whose
`coevo.accelerator.machine.Interconnect` asks for it need this; it works on whole numbers, one mapping at a time.

* Lanes are numbered along the columns that are in use first, and stand where the fan-out's full width puts them.
* A lane that needs in a step just what the lane beside, above or below it got in the step before is handed it by
  that neighbour, if that spares the parent words in this step (link transfer).
* A word for several lanes travels from the middle of the left edge right to the farthest column, and in each
  column in use up and down to the farthest row; every hop costs energy, and so does every router on the way.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from coevo.accelerator.machine import Accelerator
from coevo.cost.nest import AXES, Loop, Nest, Relay, Tile, Window, demand, lanes, pace, share_of, taken_by
from coevo.workload import OPERANDS

Lanes = NDArray[np.int64]
Vector = tuple[int, ...]
Signature = list[tuple[int, int, float]]
"""(multicast, scatter, hops of one word for each group) of some lanes."""

Step = tuple[Vector | None, Vector | None, Vector | None, int]
"""(move, shape of the fresh words, shape in the step before, words) of a step: no move at first; the shape is None
where nothing is fresh, () for the whole tile, else the move that leaves the rim."""

COORDINATES: Mapping[str, Sequence[str]] = {
    "weights": ("g", "m", "c", "r", "s"),
    "inputs": ("n", "g", "c", "pr", "qs"),
    "outputs": ("n", "g", "m", "p", "q"),
}
"""Axes of an operand's box, by the dims that move along them."""


@dataclass(frozen=True)
class Stream:
    """Words that travel alike, per instance of the level and over all time.

    Attributes:
        multicast: Lanes that each word reaches (outputs: comes from).
        scatter: Such groups of lanes.
        words: Words of all groups.
        hops: Hops of all these words.
    """

    multicast: int
    scatter: int
    words: float
    hops: float


@dataclass(frozen=True)
class Delivery:
    """What one instance's fan-out carries of an operand, were it held by the level below.

    Attributes:
        streams: The words by how they travel.
        lanes: Children in use.
        passed: Words that neighbours pass on.
    """

    streams: tuple[Stream, ...]
    lanes: int
    passed: float = 0.0

    @cached_property
    def words(self) -> float:
        """Words that the level sends or takes."""
        return sum(stream.words for stream in self.streams)

    @property
    def relay(self) -> Relay:
        """What the nest analysis needs to know of it."""
        arrivals = sum(stream.words * stream.multicast for stream in self.streams)
        received = sum(stream.words * stream.multicast / self.lanes for stream in self.streams)
        return Relay(self.words, received, self.words * self.lanes / arrivals, self.passed)


@dataclass(frozen=True)
class Carried:
    """What one network carries of one operand; words are per instance of the level above it.

    Attributes:
        lanes: Children in use.
        ingresses: Words that enter the network.
        passed: Words that neighbours pass on (link transfers).
        reductions: Additions of partial sums on the way.
        energy_pj: Energy over all instances [pJ].
    """

    lanes: int
    ingresses: float
    passed: float
    reductions: float
    energy_pj: float


@dataclass(frozen=True)
class Fan:
    """The lanes of one fan-out in use, and where in an operand's space each works.

    Attributes:
        offsets: ``(lane, axis)`` [word].
        width, height: Of the fan-out, columns and rows.
    """

    offsets: Lanes
    width: int
    height: int

    def signature(self, members: Lanes) -> Signature:
        """Returns how the lanes given share words."""
        if len(members) == 0:
            return []
        if len(self.offsets) == 1:  # the fan-out is not used: the word enters at the lane
            return [(1, 1, 0.0)]
        _, group = np.unique(self.offsets[members], axis=0, return_inverse=True)
        group = group.reshape(-1)
        hops = self._hops(members, group)
        sizes = np.bincount(group)
        return [
            (int(size), int((sizes == size).sum()), float(hops[sizes == size].sum()))
            for size in sorted(set(sizes.tolist()))
        ]

    def _hops(self, members: Lanes, group: NDArray[np.intp]) -> NDArray[np.float64]:
        """Hops of one word to all lanes of each group ``(group,)``."""
        column, row = members % self.width, members // self.width
        farthest = np.zeros(group.max() + 1)
        np.maximum.at(farthest, group, column)
        drops, drop = np.unique(group * self.width + column, return_inverse=True)
        middle = (self.height - 1) / 2
        up, down = np.zeros(len(drops)), np.zeros(len(drops))
        np.maximum.at(up, drop.reshape(-1), middle - row)
        np.maximum.at(down, drop.reshape(-1), row - middle)
        return farthest + np.bincount(drops // self.width, up + down, minlength=len(farthest))

    def fed(self, move: Vector) -> NDArray[np.bool_]:
        """Whether a neighbour of each lane had, before all moved by ``move``, what the lane has now ``(lane,)``."""
        lane = np.arange(len(self.offsets))
        column = lane % self.width
        wanted = self.offsets + np.array(move)
        result = np.zeros(len(lane), dtype=bool)
        for step, inside in (
            (-self.width, lane >= self.width),
            (self.width, lane >= 0),
            (-1, column >= 1),
            (1, column < self.width - 1),
        ):
            there = inside & (lane + step < len(lane))
            result[there] |= (self.offsets[lane[there] + step] == wanted[there]).all(axis=1)
        return result


@dataclass(frozen=True)
class _Walk:
    """The steps of one child's tile through time.

    Attributes:
        box: The tile's extent ``(axis,)``.
        moves: What each temporal loop outside adds to its place ``(loop, axis)``, innermost first.
        bounds: Their iterations.
        remembers: Whether the child keeps its last tile; a multiplier does not.
    """

    box: Vector
    moves: tuple[Vector, ...]
    bounds: tuple[int, ...]
    remembers: bool

    def turn(self, loop: int) -> Vector:
        """How the tile moves when a loop advances: those inside it start over from their second iteration."""
        inner = self.moves[:loop]
        return tuple(x - sum(move[axis] for move in inner) for axis, x in enumerate(self.moves[loop]))

    def step(self, move: Vector | None, held: Vector | None) -> tuple[int, Vector | None, Vector | None]:
        """Returns the fresh words, their shape (None: nothing, (): the whole tile, else the rim) and the move kept."""
        size = math.prod(self.box)
        if not self.remembers or move is None:
            return size, (), None
        if not any(move):
            return 0, None, held
        if held is not None and move != held:
            return size, (), None
        kept = math.prod(max(0, extent - abs(x)) for extent, x in zip(self.box, move, strict=True))
        return size - kept, move if kept else (), move

    def steps(self) -> Counter[Step]:
        """Returns how often each step occurs.

        As Timeloop: the first two iterations of every loop run, the second counts for all that follow.
        """
        turns = [self.turn(loop) for loop in range(len(self.moves))]
        known: dict[object, tuple[Counter[Step], Vector | None, Vector | None]] = {}

        def run(
            loops: int, move: Vector | None, held: Vector | None, before: Vector | None
        ) -> tuple[Counter[Step], Vector | None, Vector | None]:
            key = (loops, move, held, before)
            if key in known:
                return known[key]
            if loops == 0:
                words, shape, held = self.step(move, held)
                known[key] = Counter({(move, shape, before, words): 1}), held, shape
                return known[key]
            total, held, before = run(loops - 1, move, held, before)
            again, held, before = run(loops - 1, turns[loops - 1], held, before)
            total = total.copy()
            for step, times in again.items():
                total[step] += times * (self.bounds[loops - 1] - 1)
            known[key] = total, held, before
            return known[key]

        return run(len(self.moves), None, None, None)[0]


@dataclass(frozen=True)
class Transport:
    """What the fan-outs carry under one mapping on one machine.

    Attributes:
        nest: The mapping's loops, innermost first; bounds are whole.
        machine: The machine.
        window: The layer's.
        tiles: Every level's, then the multiplier's.
        homes: The levels that hold each operand, outermost first.
    """

    nest: Nest
    machine: Accelerator
    window: Window
    tiles: Sequence[Tile]
    homes: Mapping[str, Sequence[int]]

    @cached_property
    def loops(self) -> list[tuple[Loop, int, int]]:
        """The loops that iterate, innermost first, with bound and step [iteration of the dim]."""
        reach: dict[str, int] = {}
        result = []
        for loop in self.nest:
            if (bound := round(float(loop.bound))) > 1:
                result.append((loop, bound, reach.get(loop.dim, 1)))
                reach[loop.dim] = reach.get(loop.dim, 1) * bound
        return result

    @cached_property
    def passing(self) -> dict[tuple[int, str], Delivery]:
        """The deliveries in which neighbours pass words on."""
        linked = [i for i, memory in enumerate(self.machine.memories) if memory.interconnect.links]
        found = {(level, operand): self._linked(level, operand) for level in linked for operand in self._operands}
        return {key: delivery for key, delivery in found.items() if delivery is not None}

    @property
    def _operands(self) -> list[str]:
        return [operand for operand in OPERANDS if operand != "weights" or self.window.has_weights]

    def relays(self) -> dict[tuple[int, str], Relay]:
        """What the nest analysis needs to know of `passing`."""
        return {key: delivery.relay for key, delivery in self.passing.items()}

    def _move(self, operand: str, loop: Loop, step: int) -> Vector:
        """How far one iteration of a loop carries an operand's box ``(axis,)`` [word]."""
        if operand == "inputs" and loop.dim in AXES:
            step *= round(float(pace(self.window, loop.dim)))
        return tuple(step if loop.dim in dims else 0 for dims in COORDINATES[operand])

    def _box(self, operand: str, tile: Tile) -> Vector:
        extents = [
            tile.spans[dims == "qs"] if len(dims) > 1 else tile.extent.get(dims, 1.0) for dims in COORDINATES[operand]
        ]
        return tuple(round(float(extent)) for extent in extents)

    def _fan(self, level: int, operand: str) -> Fan:
        offsets = np.zeros((1, len(COORDINATES[operand])), dtype=np.int64)
        for loop, bound, step in self.loops:
            if loop.spatial and loop.level == level:
                moved = np.arange(bound)[:, None, None] * np.array(self._move(operand, loop, step))
                offsets = (moved + offsets).reshape(-1, offsets.shape[1])
        memory = self.machine.memories[level]
        return Fan(offsets, memory.fanout_x, memory.fanout_y)

    def _linked(self, level: int, operand: str) -> Delivery | None:
        """The delivery with what neighbours pass on; None if they pass on nothing."""
        fan = self._fan(level, operand)
        if len(fan.offsets) == 1:
            return None
        outside = [x for x in self.loops if not x[0].spatial and x[0].level <= level]
        walk = _Walk(
            self._box(operand, self.tiles[level + 1]),
            tuple(self._move(operand, loop, step) for loop, _, step in outside),
            tuple(bound for _, bound, _ in outside),
            remembers=level + 1 < len(self.tiles) - 1,
        )
        fed = {move: fan.fed(move) for move in {walk.turn(loop) for loop in range(len(outside))}}
        fed = {move: handed for move, handed in fed.items() if handed.any()}
        if not fed:
            return None
        everyone = np.arange(len(fan.offsets))
        direct = fan.signature(everyone)
        spared = {}
        for move, handed in fed.items():
            rest = fan.signature(everyone[~handed])
            if sum(scatter for _, scatter, _ in rest) < sum(scatter for _, scatter, _ in direct):
                spared[move] = rest, int(handed.sum())
        return _passed_on(walk, direct, spared, len(everyone)) if spared else None

    def carried(self, scale: Mapping[tuple[int, str], float]) -> dict[tuple[int, str], Carried]:
        """Returns what every network carries of every operand, from the operand's outermost home inwards.

        Args:
            scale: The level's words that a word of an operand takes, by (level, operand).
        """
        relays = self.relays()
        result = {}
        for operand in self._operands:
            asked, taken = demand(operand, self.nest, self.homes[operand], self.tiles, relays)
            for level, words in asked.items():
                delivery = self.passing.get((level, operand))
                if delivery is None:
                    own = taken.get(level + 1)
                    own = taken_by(operand, self.nest, self.tiles, level + 1) if own is None else own
                    delivery = _direct(self._fan(level, operand), float(own))
                held = level + 1 in taken
                result[level, operand] = self._carried(level, operand, delivery, float(words), held, scale)
        return result

    def _carried(
        self,
        level: int,
        operand: str,
        delivery: Delivery,
        words: float,
        held: bool,
        scale: Mapping[tuple[int, str], float],
    ) -> Carried:
        """Charges a delivery, of which ``words`` are asked; neighbours pass on only what the level below holds."""
        network = self.machine.memories[level].interconnect
        share = float(share_of(self.nest, self.tiles[0], level))
        twice = operand == "outputs" and not network.reduces
        rescaled = words / delivery.words if not held and delivery.words else 1.0
        ingresses = hops = routers = reductions = 0.0
        for stream in delivery.streams:
            reductions += (stream.multicast - 1) * stream.words * rescaled
            entering = stream.words * rescaled * (2 if twice else 1) - (share if twice else 0)
            ingresses += entering
            if entering > 0:
                hops += stream.hops  # as Timeloop: of what the level below would take, were it to hold the operand
                routers += (1 + stream.hops // entering) * entering
        passed = delivery.passed if held else 0.0
        energy = (hops + passed) * network.hop_energy_pj + (routers + 2 * passed) * network.router_energy_pj
        energy *= float(lanes(self.nest, level)) * scale.get((level, operand), 1.0)
        return Carried(delivery.lanes, ingresses, passed, reductions if operand == "outputs" else 0.0, energy)


def _direct(fan: Fan, words: float) -> Delivery:
    """The delivery of ``words`` to every lane, all from the parent."""
    streams = [
        Stream(multicast, scatter, scatter * words, hops * words)
        for multicast, scatter, hops in fan.signature(np.arange(len(fan.offsets)))
    ]
    return Delivery(tuple(streams), len(fan.offsets))


def _passed_on(
    walk: _Walk, direct: Signature, spared: Mapping[Vector, tuple[Signature, int]], lanes_used: int
) -> Delivery | None:
    """The delivery along a walk: where neighbours can pass on all that the parent need not send, they do.

    Args:
        walk: The steps of a lane's tile.
        direct: How all lanes share words.
        spared: By move, how the lanes share words that no neighbour hands them, and how many are handed theirs.
        lanes_used: Lanes in use.
    """
    streams: dict[tuple[int, int], tuple[float, float]] = {}
    passed = 0.0
    for (move, shape, before, words), times in walk.steps().items():
        signature, handed = direct, 0
        if move is not None and shape is not None and shape == before:
            signature, handed = spared.get(move, (direct, 0))
        passed += handed * words * times
        for multicast, scatter, hops in signature:
            sent, travelled = streams.get((multicast, scatter), (0.0, 0.0))
            streams[multicast, scatter] = sent + scatter * words * times, travelled + hops * words * times
    if not passed:
        return None
    return Delivery(tuple(Stream(*key, *figures) for key, figures in streams.items()), lanes_used, passed)
