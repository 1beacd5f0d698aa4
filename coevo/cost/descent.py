"""A better mapping by gradient: projected steps on the relaxed model, loops rounded one after the other.

The gradient shows where a mapping loses; the exact mapper (`coevo.cost.mapper`) is what finds the best one. This is
for what it does not search: loops in an order that is given, on machines whose mapspace is too large to enumerate.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coevo.accelerator.machine import Accelerator
from coevo.cost.detail import evaluate_mapping
from coevo.cost.loop_order import Axis, LoopOrder, Place
from coevo.cost.relaxed import batch_of_alike, on_torch, score
from coevo.mapping import Mapping
from coevo.workload import DIMS, Layer

Floats = NDArray[np.float64]

PENALTY = 10.0
"""Weight of excesses beside log(energy x delay): an excess of 10 % weighs as much as a factor of e."""

HARDLY = 0.02
"""Logarithm of a bound up to which a loop is left out."""


def improve_mapping(
    layer: Layer, machine: Accelerator, start: Mapping, *, steps: int = 8, rate: float = 0.3
) -> Mapping:
    """Returns a valid mapping with less energy x delay than ``start``, or ``start`` if none was found.

    On every level the loops that the machine allows join those of ``start``, further in. Along each dim the
    logarithms of the bounds stay >= 0 and sum up to that of the layer's bound: steps down the gradient of
    log(energy x delay), with excesses as a penalty, are projected onto that simplex. After every ``steps`` of them
    the longest inner loop is rounded to the nearest bound that wastes nothing and fits, and stays; the rest goes
    on, those aside that hardly left 1. What is left to the outermost loops makes a valid mapping each time; the best
    of these, scored exactly, is returned.

    Args:
        layer: The layer.
        machine: The machine.
        start: A valid mapping.
        steps: Gradient steps before each rounding.
        rate: How far a step goes in the direction that matters most [log of a bound].

    Raises:
        ValueError: ``start`` is not valid, or the relaxed model refuses the machine.
    """
    best, least = start, _energy_delay(layer, machine, start)
    descent = _Descent(layer, machine, _all_loops(layer, machine, start))
    logs = np.log(descent.order.bounds([start])[:, 0])
    while descent.free:
        logs = descent.descended(logs, steps, rate)
        descent.settle(logs)
        if (mapping := descent.mapping()) is not None and (found := _energy_delay(layer, machine, mapping)) < least:
            best, least = mapping, found
    return best


def _energy_delay(layer: Layer, machine: Accelerator, mapping: Mapping) -> float:
    cost = evaluate_mapping(layer, machine, mapping)
    return float((cost.energy_pj.sum() + cost.mac_energy_pj + cost.leakage_pj) * cost.cycles)


def _all_loops(layer: Layer, machine: Accelerator, start: Mapping) -> LoopOrder:
    """The loops of a mapping, and inside them on each level and axis those that it lacks."""
    given = LoopOrder.common([start])
    dims = [dim for dim, bound in zip(DIMS, layer.bounds, strict=True) if bound > 1]
    flow = machine.dataflow
    places: list[Place] = []
    for level in reversed(range(given.levels)):
        memory = machine.memories[level]
        sides: list[tuple[Axis, tuple[str, ...]]] = [
            ("x", flow.x if memory.fanout_x > 1 else ()),
            ("y", flow.y if memory.fanout_y > 1 else ()),
            ("temporal", memory.loops),
        ]
        for axis, allowed in sides:
            own = [place for place in given.places if (place.level, place.axis) == (level, axis)]
            has = {place.dim for place in own}
            places += [*(Place(dim, level, axis) for dim in allowed if dim in dims and dim not in has), *own]
    return LoopOrder(given.memories, tuple(places))


class _Descent:
    """Loop bounds on their way from real to whole.

    Attributes:
        order: The loops.
        free: The inner loops that are not settled yet.
    """

    def __init__(self, layer: Layer, machine: Accelerator, order: LoopOrder) -> None:
        self.order = order
        self._exact = batch_of_alike([(layer, machine)])
        self._tensors = on_torch(self._exact)
        self._left = {dim: bound for dim, bound in zip(DIMS, layer.bounds, strict=True) if bound > 1}
        self._outermost = {place.dim: i for i, place in enumerate(order.places)}
        self._settled = np.ones(len(order.places))
        self.free = [i for i in range(len(order.places)) if i not in self._outermost.values()]

    def descended(self, logs: Floats, steps: int, rate: float) -> Floats:
        """Returns logarithms of the bounds after some projected gradient steps, ever shorter."""
        logs = self._projected(logs)
        for step in range(steps):
            slope = self._slope(logs)
            far = float(np.abs(slope).max(initial=0.0))
            if far == 0.0:
                break
            logs = self._projected(logs - rate * (1 - step / steps) * slope / far)
        return logs

    def _sides(self) -> list[tuple[list[int], float]]:
        """By dim, the loops that may still change, and what the logarithms of their bounds sum up to."""
        return [
            ([*(i for i in self.free if self.order.places[i].dim == dim), self._outermost[dim]], math.log(left))
            for dim, left in self._left.items()
        ]

    def _slope(self, logs: Floats) -> Floats:
        """The gradient of log(energy x delay) and the penalty, along the simplices ``(loop,)``."""
        import torch

        bounds = list(torch.from_numpy(np.exp(logs))[:, None, None])
        moving = [loop for loops, _ in self._sides() for loop in loops]
        for loop in moving:
            bounds[loop].requires_grad_()
        found = score(self._tensors, self.order, bounds, whole_cycles=False)
        goal = torch.log(found.energy_pj) + torch.log(found.cycles) + PENALTY * found.excess
        slopes = torch.autograd.grad(goal.sum(), [bounds[loop] for loop in moving])
        along = np.zeros(len(logs))
        along[moving] = np.exp(logs[moving]) * [float(slope) for slope in slopes]
        for loops, _ in self._sides():
            along[loops] -= along[loops].mean()
        return along

    def _projected(self, logs: Floats) -> Floats:
        result = np.log(self._settled)
        for loops, total in self._sides():
            result[loops] = onto_simplex(logs[loops], total)
        return result

    def settle(self, logs: Floats) -> None:
        """Rounds the longest free loop, to 1 if nothing else fits, and to 1 all that hardly left it."""
        at = max(self.free, key=lambda i: float(logs[i]))
        self.free = [i for i in self.free if i != at and logs[i] > HARDLY]
        if logs[at] <= HARDLY:
            return
        dim = self.order.places[at].dim
        left = self._left.get(dim, 1)
        worth = [k for k in range(2, left + 1) if math.ceil(left / k) < math.ceil(left / (k - 1))]
        for bound in sorted(worth, key=lambda k: abs(math.log(k) - logs[at])):
            self._settled[at] = bound
            if float(np.max(score(self._exact, self.order, self._settled[:, None, None]).excess)) == 0.0:
                self._left[dim] = math.ceil(left / bound)
                return
        self._settled[at] = 1.0

    def mapping(self) -> Mapping | None:
        """The bounds settled, and the outermost loops over what is left; None where those hold too much."""
        bounds = self._settled.copy()
        for dim, left in self._left.items():
            bounds[self._outermost[dim]] = left
        valid = float(np.max(score(self._exact, self.order, bounds[:, None, None]).excess)) == 0.0
        return self.order.mapping(bounds) if valid else None


def onto_simplex(values: Floats, total: float) -> Floats:
    """Returns the nearest point with entries >= 0 that sum up to ``total`` (Duchi et al., ICML 2008, fig. 1)."""
    ordered = np.sort(values)[::-1]
    shifts = (np.cumsum(ordered) - total) / np.arange(1, len(values) + 1)
    last = int(np.flatnonzero(ordered - shifts >= 0)[-1])
    return np.asarray(np.maximum(values - shifts[last], 0.0))
