"""The mapper: searches the best mapping of every pair of a batch, all pairs at once.

The mapspace: every dim that the dataflow allows may unroll over each axis of every fan-out, by any factor
(ceiling division, surplus lanes idle); the rest splits into divisors over the levels; the loops of a level run
in any order of the groups pixels, filters and taps, the level that feeds the array with those innermost that keep
the dataflow's stationary operand in place.

The search goes from the multipliers outwards and keeps the best partial mappings (a beam). At each level it grows
tiles in many ways, puts what remains into the next level out, and scores that by the full formulas, with what
lies further out at its compulsory minimum. So at the outermost level the score is exact, and only a mapping that
fits every memory can win. The beam makes it a good mapping, not a proven optimum; `tests/cost` measures the gap.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from coevo.cost.batch import Batch
from coevo.cost.candidates import GROUPS, ORDERS, STILL, best, growths, loops, remaining, take, unrollings
from coevo.cost.nest import traffic
from coevo.cost.price import Price, fits, price
from coevo.workload import OPERANDS

Array = NDArray[np.float64]

Goal = Literal["edp", "latency", "energy"]
WEIGHTS = {"edp": (1.0, 1.0), "latency": (1.0, 1e-3), "energy": (1e-3, 1.0)}
"""Exponents of (cycles, energy) in what the mapper minimises; the small one breaks ties."""

UNROLLINGS = 8
BEAM = 4


@dataclass(frozen=True)
class Found:
    """The best mapping of each pair, and what it costs.

    Attributes:
        factors: ``(slot, dim, pair, 1)``, see `coevo.cost.candidates`.
        orders: Index into ORDERS ``(pair, level)``.
        valid: Whether a mapping that fits was found ``(pair,)``; if not, the other figures mean nothing.
        cycles: Latency [cycle] ``(pair,)``.
        energy_pj: Energy [pJ] ``(pair,)``.
        bytes_used: Bytes that the tiles occupy on chip, all instances together ``(pair,)``.
    """

    factors: Array
    orders: NDArray[np.int64]
    valid: NDArray[np.bool_]
    cycles: Array
    energy_pj: Array
    bytes_used: Array


def search(batch: Batch, goal: Goal = "edp") -> Found:
    """Returns the best mapping found for each pair of a batch."""
    found = _beam(batch, goal, shrink=1)
    shrink = 2
    widest = max((float(x.max()) for fan in batch.machines.fanout for x in fan), default=1.0)
    # Unrolling as far as the array goes may overflow a small buffer outside it: then a part of the array will do.
    while not found.valid.all() and shrink < 2 * widest:
        found = _fill_in(found, _beam(batch, goal, shrink))
        shrink *= 2
    return found


def _fill_in(found: Found, other: Found) -> Found:
    """Takes from ``other`` the pairs for which ``found`` has no valid mapping."""
    swap = other.valid & ~found.valid
    return Found(
        np.where(swap[:, None], other.factors, found.factors),
        np.where(swap[:, None], other.orders, found.orders),
        found.valid | other.valid,
        np.where(swap, other.cycles, found.cycles),
        np.where(swap, other.energy_pj, found.energy_pj),
        np.where(swap, other.bytes_used, found.bytes_used),
    )


def _beam(batch: Batch, goal: Goal, shrink: int) -> Found:
    factors = unrollings(batch, UNROLLINGS, shrink)
    last = len(batch.structure.levels) - 1
    for level in range(last, 0, -1):
        factors = growths(batch, factors, level)
        orders = itertools.product(*_orders(batch, level - 1, representative=True))
        rest = remaining(batch, factors)
        scores = np.min([_score(batch, factors, rest, order, level - 1, goal)[0] for order in orders], axis=0)
        factors = take(factors, best(scores, BEAM))
    return _finish(batch, factors, goal)


def _finish(batch: Batch, factors: Array, goal: Goal) -> Found:
    """Chooses among the last candidates, over all loop orders."""
    orders = list(itertools.product(*_orders(batch, 0, representative=False)))
    rest = remaining(batch, factors)
    scored = [_score(batch, factors, rest, order, 0, goal) for order in orders]
    scores = np.stack([score for score, _ in scored], axis=-1).reshape(batch.pairs, -1)
    chosen = scores.argmin(axis=-1)
    candidate, order = chosen // len(orders), chosen % len(orders)
    pair = np.arange(batch.pairs)
    factors = take(factors, candidate[:, None]).copy()
    factors[0] = remaining(batch, factors)

    def pick(figures: list[Array]) -> Array:
        table: Array = np.stack([np.broadcast_to(x, scored[0][0].shape) for x in figures])[order, pair, candidate]
        return table

    return Found(
        factors=factors,
        orders=np.array(orders, dtype=np.int64)[order],
        valid=np.isfinite(scores[pair, chosen]),
        cycles=pick([cost.cycles for _, cost in scored]),
        energy_pj=pick([cost.energy_pj for _, cost in scored]),
        bytes_used=pick([cost.bytes_used for _, cost in scored]),
    )


def _orders(batch: Batch, outermost: int, *, representative: bool) -> list[list[int]]:
    """Loop orders to try per level; one where order does not matter (innermost level, or not yet decided).

    Orders that differ only in where a group without loops stands are the same. With ``representative``, one order
    for each group that may be innermost will do.
    """
    count = len(batch.structure.levels)
    present = [group for group, dims in GROUPS.items() if set(dims) & set(batch.layers.present)]
    choices = []
    for level in range(count):
        if level < outermost or level == count - 1:
            choices.append([0])
            continue
        still = STILL.get(batch.structure.dataflow.stationary or "") if level == batch.structure.feed else None
        distinct: dict[tuple[str, ...], int] = {}
        for i, order in enumerate(ORDERS):
            if still is None or order[-1] == still:
                kept = tuple(group for group in order if group in present)
                distinct.setdefault(kept[-1:] if representative else kept, i)
        choices.append(list(distinct.values()))
    return choices


def _score(
    batch: Batch, factors: Array, rest: Array, orders: Sequence[int], outermost: int, goal: Goal
) -> tuple[Array, Price]:
    """Returns the logarithm of what is minimised ``(pair, candidate)``, infinite where a tile does not fit.

    What remains of the loops (``rest``) is put at level ``outermost``, which is not held to its capacity yet;
    levels outside it are charged for moving their operands once.
    """
    nest = loops(batch, factors, orders, outermost, rest)
    homes = {operand: _nearest(batch.structure.homes[operand], outermost) for operand in OPERANDS}
    moved = traffic(nest, homes, len(batch.structure.levels), batch.layers.window)
    cost = price(batch, nest, moved)
    decided = {key: words for key, words in moved.items() if key[0] > outermost or outermost == 0}
    cycles, energy = WEIGHTS[goal]
    score = cycles * np.log(cost.cycles) + energy * np.log(cost.energy_pj + _compulsory(batch, outermost, homes))
    return np.where(fits(batch, decided), score, np.inf), cost


def _nearest(homes: Sequence[int], outermost: int) -> list[int]:
    """The homes at ``outermost`` or further in, and the first one outside."""
    outside = [level for level in homes if level <= outermost]
    return [*outside[-1:], *(level for level in homes if level > outermost)]


def _compulsory(batch: Batch, outermost: int, homes: dict[str, list[int]]) -> Array | float:
    """Energy of moving every operand once through the homes that `_nearest` leaves out [pJ]."""
    energy: Array | float = 0.0
    for operand in OPERANDS:
        for level in batch.structure.homes[operand]:
            if level < outermost and level not in homes[operand]:
                memory = batch.structure.memory(level, operand)
                table = batch.machines.write_energy_pj if operand == "outputs" else batch.machines.read_energy_pj
                accesses = batch.layers.words[operand] * batch.machines.per_word[memory, operand]
                energy = energy + accesses * table[memory]
    return energy
