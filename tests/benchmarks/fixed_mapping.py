"""A fixed heuristic mapping, as a tool without a mapper might take it: to see what the search itself buys."""

from __future__ import annotations

import math

from coevo.accelerator.machine import Accelerator
from coevo.cost import evaluate_mapping
from coevo.design import LayerCost
from coevo.mapping import LevelMapping, Mapping
from coevo.workload import DIMS, RELEVANT, Layer

Loops = dict[str, int]


def heuristic(layer: Layer, machine: Accelerator, stays: str) -> LayerCost:
    """The cost of a mapping that keeps an operand in place at every level.

    Lanes: every axis takes the largest divisors of the dims that the dataflow allows there, in its order. Tiles: from
    the innermost memory out, each grows by the smallest prime of a dim as long as it fits, first along the dims that
    leave the operand in place. Loops: those dims are innermost at every level.
    """
    left = dict(zip(DIMS, layer.bounds, strict=True))
    axes = [(_lanes(left, machine.dataflow.x, m.fanout_x), _lanes(left, machine.dataflow.y, m.fanout_y))
            for m in machine.memories]  # fmt: skip
    order = sorted(DIMS, key=lambda dim: dim in RELEVANT[stays])  # innermost first; the sort is stable
    levels: list[Loops] = [dict.fromkeys(DIMS, 1) for _ in machine.memories]

    def cost() -> LayerCost:
        # what is left of the layer runs at the outermost level
        loops = [{dim: left[dim] for dim in DIMS}, *levels[1:]]
        return evaluate_mapping(layer, machine, Mapping(tuple(
            LevelMapping(m.name, tuple((dim, at[dim]) for dim in reversed(order) if at[dim] > 1), *axis)
            for m, at, axis in zip(machine.memories, loops, axes, strict=True)
        )))  # fmt: skip

    for level in reversed(range(1, len(machine.memories))):
        for dim in order:
            while left[dim] > 1 and dim in machine.memories[level].loops:
                prime = next(d for d in range(2, left[dim] + 1) if left[dim] % d == 0)
                levels[level][dim] *= prime
                left[dim] //= prime
                try:
                    cost()
                except ValueError:  # it no longer fits
                    levels[level][dim] //= prime
                    left[dim] *= prime
                    break
    return cost()


def _lanes(left: Loops, dims: tuple[str, ...], size: int) -> tuple[tuple[str, int], ...]:
    taken = []
    for dim in dims:
        factor = max(d for d in range(1, size + 1) if left[dim] % d == 0)
        left[dim] //= factor
        size //= factor
        if factor > 1:
            taken.append((dim, factor))
    return tuple(taken)


def geometric_mean(values: list[float]) -> float:
    """The n-th root of their product."""
    return math.exp(sum(math.log(value) for value in values) / len(values))
