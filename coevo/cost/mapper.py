"""The mapper: the best mapping of a layer on a machine, proven.

The mapspace. Every dim that the dataflow allows may unroll over each axis of every fan-out by any factor that wastes
no step (ceiling division; surplus lanes are idle). The iterations that remain split into any divisors over the
levels, as far as a memory's ``loops`` allow. Memories that follow each other without a fan-out and hold different
operands have one set of loops in common, the innermost one's: they are one level. A level's loops run in any order;
at the level that feeds the innermost fan-out, those that leave the dataflow's stationary operand in place are
innermost. Each memory keeps what its template says (bypass is the template's). A mapping is valid if every memory
holds the tiles of all its operands.

The search (`coevo.cost.search`) leaves out only what a lower bound, or equality with what it prices, shows to be no
better; tests enumerate small mapspaces in full and find nothing better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from coevo.accelerator.machine import DATA_MOVER, Accelerator, Memory
from coevo.cost.batch import levels_of
from coevo.cost.compiled import announce
from coevo.cost.exact import ORDERS, Floats, Ints
from coevo.cost.nest import Tile, Window
from coevo.cost.precision import mac_energy_pj, too_wide
from coevo.cost.refill import bus_cycles_per_bit, fold_cycles, refilled_array
from coevo.cost.search import search
from coevo.mapping import LevelMapping, Mapping
from coevo.workload import DIMS, OPERANDS, Layer

Goal = Literal["edp", "latency", "energy"]
GOALS: tuple[Goal, ...] = ("edp", "latency", "energy")


@dataclass(frozen=True)
class Found:
    """The best mapping of a layer on a machine, and what it costs.

    Attributes:
        cycles: Latency [cycle].
        energy_pj: Energy [pJ].
        bytes_used: Bytes that the tiles occupy on chip, all instances together.
        tiles: Temporal iterations inside each level's tile ``(level + 1, dim)``.
        axes: Factors over every fan-out's columns and rows ``(level, 2, dim)``.
        orders: Rows of `coevo.cost.exact.ORDERS` ``(level,)``.
        priced: Mappings that were priced.
        merged: Whether batch and output positions are one dim: the loops over p, q, n stand together, where p's do.
    """

    cycles: float
    energy_pj: float
    bytes_used: float
    tiles: NDArray[np.int32]
    axes: NDArray[np.int32]
    orders: NDArray[np.int8]
    priced: int
    merged: bool


@dataclass(frozen=True)
class _Form:
    """What machines that are searched together have in common, as the compiled search takes it (see there)."""

    levels: tuple[tuple[int, ...], ...]
    fans: tuple[int, ...]
    over: tuple[tuple[bool, ...], ...]
    allowed: tuple[tuple[bool, ...], ...]
    memory: tuple[tuple[int, ...], ...]
    order_rule: tuple[int, int]


@dataclass(frozen=True)
class _Packed:
    """A machine as the compiled search takes it, for layers with or without weights."""

    form: _Form
    sizes: Ints
    per_bit: Floats
    extra: Floats
    room: Floats


def _packed(machine: Accelerator, has_weights: bool) -> _Packed:
    flow = machine.dataflow if has_weights else DATA_MOVER
    levels = levels_of(machine)
    last = [machine.memories[level[-1]] for level in levels]
    fans = tuple(i for i, memory in enumerate(last) if memory.fanout_x * memory.fanout_y > 1)
    memory = np.full((len(levels), len(OPERANDS)), -1)
    per_bit = np.zeros((6, len(levels), len(OPERANDS)))
    extra = np.zeros((3, max(len(levels) + 1, 3)))
    extra[1, 0] = -1
    array = refilled_array(machine, flow)
    if array is not None and flow.stationary is not None:
        extra[1, 0] = next(i for i, level in enumerate(levels) if array in level)
        extra[1, 1], extra[1, 2] = fold_cycles(machine), OPERANDS.index(flow.stationary)
        extra[2, :3] = bus_cycles_per_bit(machine)
    allowed = []
    for i, level in enumerate(levels):
        allowed.append(tuple(any(dim in machine.memories[at].loops for at in level) for dim in DIMS))
        for at in level:
            m = machine.memories[at]
            extra[0, i] += 1e3 * m.leakage_mw / machine.clock_mhz  # mW x cycles / MHz = nJ
            for operand in m.holds:
                o = OPERANDS.index(operand)
                memory[i, o] = at
                per_bit[:, i, o] = _figures_per_bit(m)
    extra[0, len(levels)] = 1e3 * machine.mac.leakage_mw / machine.clock_mhz
    form = _Form(
        levels=levels,
        fans=fans,
        over=tuple(tuple(dim in axis for dim in DIMS) for axis in (flow.x, flow.y)),
        allowed=tuple(allowed),
        memory=tuple(tuple(int(at) for at in row) for row in memory),
        order_rule=(
            fans[-1] if fans else max(len(levels) - 2, 0),
            len(OPERANDS) if flow.stationary is None else OPERANDS.index(flow.stationary),
        ),
    )
    return _Packed(
        form=form,
        sizes=np.array([(m.fanout_x, m.fanout_y) for m in last], dtype=np.int64),
        per_bit=per_bit,
        extra=extra,
        room=np.array([m.usable_bits for m in machine.memories], dtype=np.float64),
    )


def _figures_per_bit(memory: Memory) -> list[float]:
    """Energy [pJ/bit] of reading, updating, writing; time [cycle/bit] of reading, writing, either."""
    update = memory.write_energy_pj if memory.update_energy_pj is None else memory.update_energy_pj
    access = memory.word_bits * memory.words_per_access
    bandwidths = memory.read_words_per_cycle, memory.write_words_per_cycle, memory.words_per_cycle
    return [
        *(energy / access for energy in (memory.read_energy_pj, update, memory.write_energy_pj)),
        *(1 / (memory.word_bits * words) for words in bandwidths),  # 0 where unlimited
    ]


def find_mapping(
    layer: Layer, machine: Accelerator, goal: Goal = "edp", cycles_below: float = math.inf
) -> Found | None:
    """Returns the best mapping of a layer on a machine, None if no mapping is valid.

    Args:
        layer: The layer.
        machine: The machine.
        goal: What is least: energy x delay, latency (then energy, to 0.1 %), or energy (then latency, to 0.1 %).
        cycles_below: Only mappings faster than this.
    """
    return find_mappings([(layer, machine)], goal, cycles_below)[0]


def find_front(layer: Layer, machine: Accelerator) -> list[Found]:
    """Returns the whole front of a layer's mappings on a machine by (energy, latency), the least energy first."""
    front: list[Found] = []
    found = find_mapping(layer, machine, "energy")
    while found is not None:
        if front and found.energy_pj <= front[-1].energy_pj * (1 + 1e-12):  # a tie that was not quite the fastest
            front.pop()
        front.append(found)
        found = find_mapping(layer, machine, "energy", cycles_below=found.cycles)
    return front


def find_mappings(
    pairs: Sequence[tuple[Layer, Accelerator]], goal: Goal = "edp", cycles_below: float = math.inf, jobs: int = 1
) -> list[Found | None]:
    """Returns the best mapping of every (layer, machine), None where no mapping is valid.

    Args:
        pairs: Layers and machines.
        goal: What is least: energy x delay, latency (then energy, to 0.1 %), or energy (then latency, to 0.1 %).
        cycles_below: Only mappings faster than this.
        jobs: Threads; the search runs outside the interpreter's lock.
    """
    announce()
    packed: dict[tuple[str, bool], _Packed] = {}
    groups: dict[_Form, list[int]] = {}
    for i, (layer, machine) in enumerate(pairs):
        if too_wide(layer, machine):
            continue
        key = machine.key, layer.has_weights
        if key not in packed:
            packed[key] = _packed(machine, layer.has_weights)
        groups.setdefault(packed[key].form, []).append(i)
    tasks = [(form, indices[start::count]) for form, indices in groups.items()
             for count in [min(jobs, len(indices))] for start in range(count)]  # fmt: skip
    found: list[Found | None] = [None] * len(pairs)

    def work(task: tuple[_Form, list[int]]) -> None:
        form, indices = task
        chosen = [pairs[i] for i in indices]
        machines = [packed[machine.key, layer.has_weights] for layer, machine in chosen]
        for i, one in zip(indices, _searched(form, chosen, machines, goal, cycles_below), strict=True):
            found[i] = one

    if jobs == 1 or len(tasks) == 1:
        for task in tasks:
            work(task)
    else:
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(work, tasks))
    return found


def _searched(
    form: _Form,
    pairs: Sequence[tuple[Layer, Accelerator]],
    machines: Sequence[_Packed],
    goal: Goal,
    cycles_below: float,
) -> list[Found | None]:
    """Searches pairs whose machines are alike in form, in one call."""
    index: dict[int, int] = {}
    which = np.array([index.setdefault(id(machine), len(index)) for machine in machines])
    different = [machines[int(i)] for i in np.unique(which, return_index=True)[1]]
    count, levels = len(pairs), len(form.levels)
    bits = np.array([machine.bits_of(layer) for layer, machine in pairs], dtype=np.float64)
    layers = np.array(
        [(*x.stride, *x.dilation, x.has_weights, x.operations * mac_energy_pj(x, m)) for x, m in pairs],
        dtype=np.float64,
    )
    best = np.empty((count, 5))
    tiles, lanes = np.ones((2, count, levels + 1, len(DIMS)))
    orders = np.zeros((count, levels), dtype=np.int64)
    options = np.ones((count, 2 * len(form.fans), len(DIMS)), dtype=np.int64)
    search(
        np.array([layer.bounds for layer, _ in pairs], dtype=np.int64),
        layers,
        bits,
        which,
        np.array(form.fans, dtype=np.int64),
        np.array(form.over, dtype=np.int64),
        np.array(form.allowed, dtype=np.int64),
        np.array([machine.sizes for machine in different]),
        np.array(form.memory, dtype=np.float64),
        np.array([machine.per_bit for machine in different]),
        np.array([machine.extra for machine in different]),
        np.array([machine.room for machine in different]),
        np.array([GOALS.index(goal), cycles_below, *form.order_rule], dtype=np.float64),
        best,
        tiles,
        lanes,
        orders,
        options.reshape(count, -1),
    )
    axes = np.ones((count, levels, 2, len(DIMS)), dtype=np.int32)
    axes[:, list(form.fans)] = options.reshape(count, -1, 2, len(DIMS))
    tiles, orders = tiles.astype(np.int32), orders.astype(np.int8)
    used = _bytes_used(form, pairs, tiles * lanes, lanes[:, :1] / lanes, bits)
    return [
        Found(cycles, energy, float(used[i]), tiles[i], axes[i], orders[i], int(priced), merged > 0)
        if value < math.inf
        else None
        for i, (value, energy, cycles, priced, merged) in enumerate(best.tolist())
    ]


def _bytes_used(
    form: _Form, pairs: Sequence[tuple[Layer, Accelerator]], extents: Floats, lanes_outside: Floats, bits: Floats
) -> Floats:
    """Bytes that tiles occupy on chip, all instances together ``(pair,)``."""
    total = np.zeros(len(pairs))
    by_dim = dict(zip(DIMS, np.moveaxis(extents, -1, 0), strict=True))
    stride, dilation = (np.array([getattr(layer, name) for layer, _ in pairs], dtype=np.float64).T[:, :, None]
                        for name in ("stride", "dilation"))  # fmt: skip
    weights = np.array([layer.has_weights for layer, _ in pairs], dtype=np.float64)[:, None]
    words = Tile(by_dim, Window((stride[0], stride[1]), (dilation[0], dilation[1]), weights)).words
    instances = lanes_outside.prod(axis=-1)
    memories = pairs[0][1].memories
    for level, held in enumerate(form.memory):
        for o, at in enumerate(held):
            if at >= 0 and memories[at].kind != "dram":
                total += words[OPERANDS[o]][:, level] * bits[:, o] * instances[:, level]
    return total / 8


def mapping_of(machine: Accelerator, has_weights: bool, found: Found) -> Mapping:
    """Returns a mapping as a noun: a level's temporal loops go to the innermost of its memories."""
    flow = machine.dataflow if has_weights else DATA_MOVER
    mapped = []
    for level, memories in enumerate(levels_of(machine)):
        names = [machine.memories[memory].name for memory in memories]
        mapped += [LevelMapping(name) for name in names[:-1]]
        order = _order(int(found.orders[level]), found.merged)[::-1]
        bounds = found.tiles[level] // found.tiles[level + 1]
        x, y = found.axes[level]
        mapped.append(LevelMapping(names[-1], _loops(bounds, order), _loops(x, flow.x), _loops(y, flow.y)))
    return Mapping(tuple(mapped))


def _order(row: int, merged: bool) -> list[str]:
    """A level's dims, innermost first."""
    order = [DIMS[i] for i in ORDERS[row]]
    if merged:
        order = [dim for dim in order if dim not in "qn"]
        order[order.index("p") + 1 : order.index("p") + 1] = "qn"
    return order


def _loops(factors: Sequence[int] | NDArray[np.int32], dims: Sequence[str]) -> tuple[tuple[str, int], ...]:
    bounds = ((dim, int(factors[DIMS.index(dim)])) for dim in dims)
    return tuple((dim, bound) for dim, bound in bounds if bound > 1)
