"""Many mappings at once, on numpy or torch, and what a gradient needs: the cost model over real numbers.

`score` prices mappings of one `LoopOrder` as arrays: loop bounds ``(loop, pair, mapping)``, one (layer, machine) per
pair. It runs the formulas of `coevo.cost.nest` and `coevo.cost.price`, so that at whole bounds its figures are
`coevo.cost.detail.evaluate_mapping`'s. On tensors the same code runs on their device and under autograd.

Between whole numbers. Bounds (tile sizes, lanes) and a machine's figures may be any real numbers >= 1 and > 0. With
``whole_cycles=False`` cycles are not rounded up; then the model is continuous in all of them, and at whole bounds it
equals the exact one before that last rounding (which the leakage takes part in). In between

* sizes, steps in time and lanes are the exact products and sums, taken at real numbers;
* whether a loop iterates, which decides if it moves a tile, goes from 0 at bound 1 to 1 at bound 2 in a straight line;
* whether an outer loop's step takes a sliding window up where the loops inside leave it, or back to where they stand,
  goes from 1 to 0 as the two places grow one word apart;
* lanes that share inputs on a diagonal need a common divisor: their number is interpolated, bilinearly, between
  whole steps.

So nothing jumps, but there are kinks: at bounds 1 and 2, where two places are the same or a word apart, where a
window no longer overlaps itself, at whole steps of a diagonal, and where another memory (or compute) begins to bind
the cycles. There autograd returns one of the slopes, or 0 between two. The second and third rule are steep where steps
are long: the exact model knows windows that slide on at bound 2 and not at 3.

Capacity is no mask: `Score` tells the bits and lanes used beside those there are, and `Score.violation` by what
shares they exceed them, with a kink where the excess begins. Sizes and fan-outs act through these alone (fan-outs
also where instances share accesses). What neighbours pass on, and the energy of networks, needs whole lanes, one
mapping at a time (`coevo.cost.interconnect`): machines with either are refused.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coevo.accelerator.machine import Accelerator
from coevo.arrays import convert, namespace, positive, wants_gradient
from coevo.cost.batch import Batch, Machines, batch_of
from coevo.cost.loop_order import LoopOrder
from coevo.cost.nest import Array, Loop, extend, product, traffic
from coevo.cost.price import memory_levels, price, tile_bits
from coevo.mapping import Mapping
from coevo.workload import DIMS, Layer


@dataclass(frozen=True)
class Score:
    """What mappings cost and take, arrays ``(pair, mapping)`` or broadcastable to it.

    Attributes:
        energy_pj: All energy [pJ].
        cycles: Latency [cycle].
        tile_bits: Bits that the tiles of one instance take, by memory.
        usable_bits: Bits that there are for them, by memory; may be infinite.
        lanes: (x, y) used of the fan-out below each memory.
        fanout: (x, y) there.
        extents: Iterations that the mapping runs along each dim.
        bounds: Iterations that the layer has.
    """

    energy_pj: Array
    cycles: Array
    tile_bits: tuple[Array, ...]
    usable_bits: tuple[Array, ...]
    lanes: tuple[tuple[Array, Array], ...]
    fanout: tuple[tuple[Array, Array], ...]
    extents: MappingABC[str, Array]
    bounds: MappingABC[str, Array]

    @property
    def excess(self) -> Array:
        """Sum of the relative excesses over capacities and fan-outs; 0, with gradient 0, where all fits."""
        total: Array = 0.0
        for used, there in zip(self.tile_bits, self.usable_bits, strict=True):
            total = total + positive(used / there - 1)
        for used_xy, there_xy in zip(self.lanes, self.fanout, strict=True):
            for used, there in zip(used_xy, there_xy, strict=True):
                total = total + positive(used / there - 1)
        return total

    @property
    def violation(self) -> Array:
        """`excess`, and along each dim that of the layer's bound over the loops; 0 if the mapping is valid."""
        return self.excess + sum(positive(self.bounds[dim] / extent - 1) for dim, extent in self.extents.items())


def score(batch: Batch, order: LoopOrder, bounds: Array, *, whole_cycles: bool = True) -> Score:
    """Scores mappings elementwise.

    Args:
        batch: (layer, machine) pairs, from `batch_of_alike`; on tensors, see `on_torch`.
        order: The loops of all mappings.
        bounds: Their bounds ``(loop, pair, mapping)``, 1 where a mapping lacks a loop; whole numbers or, with
            ``whole_cycles=False``, real ones. An array, or a sequence with one array per loop.
        whole_cycles: Whether cycles are rounded up, as they are in truth; the gradient wants them unrounded.

    Raises:
        ValueError: The numbers of loops or levels do not agree.
    """
    levels = len(batch.structure.levels)
    if len(bounds) != len(order.places) or levels != order.levels:
        raise ValueError(
            f"bounds of {len(bounds)} loops for an order of {len(order.places)} loops over {order.levels} levels, "
            f"on machines of {levels} memories"
        )
    placed = list(zip(order.places, bounds, strict=True))
    nest = [Loop(place.dim, bound, place.level, place.spatial) for place, bound in placed if _runs(bound)]
    moved = traffic(nest, batch.structure.homes, levels, batch.layers.window)
    cost = price(batch, nest, moved, whole_cycles=whole_cycles)
    used = tuple(
        tuple(product(b for place, b in placed if (place.level, place.axis) == (level, axis)) for axis in ("x", "y"))
        for level in range(levels)
    )
    extents: dict[str, Array] = dict.fromkeys(DIMS, 1.0) | extend({}, nest)
    return Score(
        energy_pj=cost.energy_pj,
        cycles=cost.cycles,
        tile_bits=tuple(tile_bits(batch, memory, level, moved) for memory, level in memory_levels(batch)),
        usable_bits=tuple(batch.machines.usable_bits),
        lanes=tuple((x, y) for x, y in used),
        fanout=tuple(batch.machines.fanout),
        extents=extents,
        bounds=dict(zip(DIMS, batch.layers.bounds, strict=True)),
    )


def _runs(bound: Array) -> bool:
    """Whether a loop must be looked at: some mapping iterates over it, or a gradient asks what if."""
    return wants_gradient(bound) or bool((bound != 1).any())


def score_mappings(
    cases: Sequence[tuple[Layer, Accelerator, Mapping]], device: str | None = None, *, whole_cycles: bool = True
) -> Score:
    """Scores mappings, each of its own layer on its own machine, in one go: figures ``(case,)``.

    Args:
        cases: Machines alike in memories and in what these hold; mappings in any loop orders, the faster the more
            alike these are.
        device: A torch device, such as ``"cuda"``, for tensors; None for numpy.
        whole_cycles: As in `score`.

    Raises:
        ValueError: Machines are not alike, or a mapping has other levels; the text says where.
    """
    order = LoopOrder.common([mapping for _, _, mapping in cases])
    bounds = order.bounds([mapping for _, _, mapping in cases])
    batch = convert(batch_of_alike([(layer, machine) for layer, machine, _ in cases]), lambda x: x[..., 0])
    if device is None:
        return score(batch, order, bounds, whole_cycles=whole_cycles)
    return score(on_torch(batch, device), order, _tensor(bounds, device), whole_cycles=whole_cycles)


def batch_of_alike(pairs: Sequence[tuple[Layer, Accelerator]]) -> Batch:
    """Returns (layer, machine) pairs as arrays ``(pair, 1)``, every memory a level of its own.

    Raises:
        ValueError: There is no pair, the machines differ in more than figures, or one has a network that costs
            energy or in which neighbours pass words on.
    """
    if not pairs:
        raise ValueError("no (layer, machine) pair to score")
    first = pairs[0][1]
    for machine in {id(machine): machine for _, machine in pairs}.values():
        forms = [[(m.name, m.holds, m.kind == "dram") for m in x.memories] for x in (first, machine)]
        if forms[0] != forms[1]:
            raise ValueError(f"{machine.name} and {first.name} do not have the same memories holding the same operands")
        for memory in machine.memories:
            if memory.interconnect.links or not memory.interconnect.free:
                raise ValueError(
                    f"{machine.name}: the network below {memory.name} passes words on or costs energy, which is "
                    "counted one mapping at a time (evaluate_mapping)"
                )
    return batch_of(pairs)


def on_torch(batch: Batch, device: str = "cpu") -> Batch:
    """Returns a batch as float64 tensors on a device."""
    result: Batch = convert(batch, lambda x: _tensor(x, device))
    return result


def _tensor(values: Array, device: str) -> Array:
    import torch

    return torch.as_tensor(values, dtype=torch.float64, device=device)


ENERGIES = ("read_energy_pj", "write_energy_pj", "update_energy_pj")
BANDWIDTHS = {
    "read_words_per_cycle": "read_time",
    "write_words_per_cycle": "write_time",
    "words_per_cycle": "shared_time",
}
FIGURES = ("size_bits", *ENERGIES, *BANDWIDTHS, "leakage_mw", "fanout_x", "fanout_y")
"""The figures of a memory that `with_figures` sets, as in `coevo.accelerator.machine.Memory`."""


def with_figures(batch: Batch, machines: Sequence[Accelerator], figures: MappingABC[str, Array]) -> Batch:
    """Returns a batch whose machines have other figures, tensors on the way to a gradient among them.

    A figure stands alone: the energy of a memory does not follow its size here, as it does where a template leaves
    it to the technology. A memory's writes from below cost what its writes cost, unless the machine says otherwise.

    Args:
        batch: The pairs.
        machines: Their machines, one for each pair.
        figures: By ``memory.field``, a field of `FIGURES`, or ``mac.energy_pj``, ``mac.leakage_mw``; numbers or
            arrays ``(pair, 1)``.

    Raises:
        ValueError: There is no such memory or figure.
    """
    result = batch.machines
    for name, value in figures.items():
        owner, _, figure = name.rpartition(".")
        if owner == "mac" and figure in ("energy_pj", "leakage_mw"):
            result = _with_mac(result, machines, figure, value)
        elif owner in batch.structure.names and figure in FIGURES:
            result = _with_figure(result, machines, batch.structure.names.index(owner), figure, value)
        else:
            raise ValueError(
                f"unknown figure {name!r}: a memory is one of {', '.join(batch.structure.names)}, its figures are "
                f"{', '.join(FIGURES)}; and there are mac.energy_pj and mac.leakage_mw"
            )
    return replace(batch, machines=result)


def _with_mac(old: Machines, machines: Sequence[Accelerator], figure: str, value: Array) -> Machines:
    if figure == "energy_pj":
        return replace(old, mac_energy_pj=value)
    return replace(old, leakage_pj=[*old.leakage_pj[:-1], _leakage(old, machines, value)])


def _with_figure(old: Machines, machines: Sequence[Accelerator], at: int, figure: str, value: Array) -> Machines:
    memories = [machine.memories[at] for machine in machines]
    if figure == "size_bits":
        parts = _like(old, [2.0 if memory.double_buffered else 1.0 for memory in memories])
        return replace(old, usable_bits=_with(old.usable_bits, at, value / parts))
    if figure == "leakage_mw":
        return replace(old, leakage_pj=_with(old.leakage_pj, at, _leakage(old, machines, value)))
    if figure in ENERGIES:
        energies: dict[str, Any] = {figure: _with(getattr(old, figure), at, value)}
        if figure == "write_energy_pj":
            follows = _like(old, [float(memory.update_energy_pj is None) for memory in memories])
            update = follows * value + (1 - follows) * old.update_energy_pj[at]
            energies["update_energy_pj"] = _with(old.update_energy_pj, at, update)
        return replace(old, **energies)
    if figure in BANDWIDTHS:
        word = _like(old, [float(memory.word_bits) for memory in memories])
        times = {(at, operand): old.bits[operand] / word / value for operand in memories[0].holds}
        limits: dict[str, Any] = {BANDWIDTHS[figure]: {**getattr(old, BANDWIDTHS[figure]), **times}}
        return replace(old, **limits)
    x, y = old.fanout[at]
    fanout = _with(old.fanout, at, (value, y) if figure == "fanout_x" else (x, value))
    clusters = [
        cluster
        if cluster is None
        else product(size for level in fanout[:i] for size in level)
        / _like(old, [float(machine.memories[i].cluster_size) for machine in machines])
        for i, cluster in enumerate(old.clusters)
    ]
    return replace(old, fanout=fanout, clusters=clusters)


def _with(items: Sequence[Any], at: int, value: Any) -> list[Any]:
    return [value if i == at else item for i, item in enumerate(items)]


def _leakage(old: Machines, machines: Sequence[Accelerator], milliwatts: Array) -> Array:
    return 1e3 * milliwatts / _like(old, [machine.clock_mhz for machine in machines])


def _like(old: Machines, values: Sequence[float]) -> Array:
    """One figure per machine in the form of a batch's other figures."""
    form = old.mac_energy_pj
    column = np.array(values, dtype=np.float64).reshape(-1, *[1] * (old.bits["inputs"].ndim - 1))
    return column if namespace(form) is np else _tensor(column, form.device)
