"""What refilling an array costs between two tiles of its stationary operand, counted by hand."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from small_machines import ALL, memory, random_layer, three_levels

from coevo.accelerator.machine import DATAFLOWS, Accelerator, Dataflow, Mac
from coevo.cost import evaluate_mapping
from coevo.cost.batch import batch_of_one, structure_of
from coevo.cost.mapper import find_mapping, mapping_of
from coevo.cost.nest import Loop
from coevo.cost.refill import bus_cycles_per_bit, fold_cycles, refill_cycles, refilled_array
from coevo.mapping import LevelMapping, Mapping
from coevo.workload import Layer

INF = math.inf


def array(buses=(INF, INF, INF), flow="weight_stationary", bits=(16, 16, 16), weights=4, **figures):
    """Eight rows by four columns below a buffer; a lane has registers of every operand."""
    return Accelerator(
        name="array",
        technology_nm=45,
        clock_mhz=100,
        bits=bits,
        memories=(
            memory("dram", "dram", ALL),
            memory("buffer", "sram", ALL, INF, (4, 8), bus_words_per_cycle=buses, **figures),
            memory("weight", "registers", ("weights",), 16 * weights),
            memory("input", "registers", ("inputs",), 4096),
            memory("sum", "registers", ("outputs",), 1024),
        ),
        mac=Mac(energy_pj=1.0, area_mm2=0.01),
        dataflow=flow if isinstance(flow, Dataflow) else DATAFLOWS[flow],
    )


LAYER = Layer("conv", "conv", m=12, c=16, p=10, q=6, r=3, s=3)
NEST = {
    "buffer": (("m", 3), ("r", 3), ("c", 2), ("p", 2)),
    "weight": (("q", 6),),
    "sum": (("s", 3), ("p", 5)),
}
"""16 x 12 channels on 8 x 4 lanes; a lane keeps the 3 weights of a row, and makes sums of 5 output rows at a time."""

PASSES = 3 * 3 * 2
"""The buffer's loops down to the innermost that changes weights: m, r, c; its p leaves them in place."""


def mapped(loops=NEST, x=("m", 4), y=("c", 8)):
    buffer = LevelMapping("buffer", loops["buffer"], x=(x,), y=(y,))
    inner = LevelMapping("weight", loops["weight"]), LevelMapping("input"), LevelMapping("sum", loops["sum"])
    return Mapping((LevelMapping("dram"), buffer, *inner))


def refills(machine, layer=LAYER, mapping=None):
    """Cycles that an array loses: what the nest's iterations do not explain."""
    mapping = mapping or mapped()
    cost = evaluate_mapping(layer, machine, mapping)
    assert cost.cycles == math.ceil(cost.compute_cycles)
    return cost.compute_cycles - math.prod(bound for level in mapping.levels for _, bound in level.temporal)


@pytest.mark.parametrize(
    ("buses", "per_pass"),
    [
        ((4, INF, INF), 8 * 4 * 3 / 4),  # 8 x 4 lanes of 3 weights
        ((INF, 1, INF), 8 * 5 * 3),  # the first window: 8 channels, 5 rows, 3 columns; the filters share it
        ((INF, INF, 2), 4 * 5 / 2),  # 4 filters of 5 rows; the channels are added up on their way
        ((4, 1, 2), 24 + 120 + 10),
        ((INF, INF, INF), 0),
    ],
)
def test_a_refill_is_what_one_counts_by_hand(buses, per_pass):
    assert refills(array(buses)) == PASSES * per_pass


def test_twice_the_bus_refills_twice_as_fast():
    for operand in range(3):
        narrow, wide = ([INF] * 3 for _ in range(2))
        narrow[operand], wide[operand] = 0.5, 1
        assert refills(array(tuple(narrow))) == 2 * refills(array(tuple(wide))) > 0


def test_narrow_words_share_a_word_of_the_bus():
    assert refills(array((4, INF, INF), bits=(8, 16, 16))) == refills(array((8, INF, INF)))
    as_layer = Layer("conv", "conv", m=12, c=16, p=10, q=6, r=3, s=3, bits=(8, 16, 16))
    assert refills(array((4, INF, INF)), as_layer) == refills(array((8, INF, INF)))


def test_a_loop_inside_the_stationary_memory_changes_no_tile():
    inside = NEST | {"buffer": (("m", 3), ("r", 3), ("c", 2)), "weight": (("q", 6), ("p", 2))}
    assert refills(array((4, INF, INF)), mapping=mapped(inside)) == PASSES * 24


def test_lanes_that_keep_more_weights_are_refilled_less_often():
    # The weights of both halves of the channels: as many words in half the passes; inputs start half as often.
    held = mapped(NEST | {"buffer": (("m", 3), ("r", 3), ("p", 2)), "weight": (("c", 2), ("q", 6))})
    assert refills(array((4, INF, INF), weights=8), mapping=held) == PASSES / 2 * 48
    assert refills(array((INF, 1, INF), weights=8), mapping=held) == PASSES / 2 * 120


def without(machine, mapping, name):
    """Machine and mapping less one memory that runs no loops."""
    memories = tuple(memory for memory in machine.memories if memory.name != name)
    levels = tuple(level for level in mapping.levels if level.memory != name)
    return replace(machine, memories=memories), Mapping(levels)


def test_an_operand_that_no_lane_keeps_starts_with_a_word_for_each_lane():
    machine, mapping = without(array((INF, 1, INF)), mapped(), "input")
    assert refills(machine, mapping=mapping) == PASSES * 8  # the filters' lanes share one
    # Weights that come straight from the buffer change with the lane's taps, and so with the rows outside them too.
    bare = NEST | {"weight": (), "sum": (("s", 3), ("p", 5), ("q", 6))}
    machine, mapping = without(array((4, INF, INF)), mapped(bare), "weight")
    assert refills(machine, mapping=mapping) == PASSES * 2 * 3 * (8 * 4 / 4)


def test_the_innermost_of_two_memories_in_a_lane_is_the_one_that_is_refilled():
    dram, buffer, weight, *others = array((4, INF, INF)).memories
    spad = memory("spad", "sram", ("weights",), 4096)
    machine = replace(array(), memories=(dram, buffer, spad, weight, *others))
    levels = mapped(NEST | {"buffer": (("m", 3), ("p", 2))}).levels
    mapping = Mapping((*levels[:2], LevelMapping("spad", (("r", 3), ("c", 2))), *levels[2:]))
    assert refills(machine, mapping=mapping) == PASSES * 2 * 24  # r and c run inside the buffer's p


def test_a_loop_outside_a_moving_one_brings_every_tile_again():
    outside = NEST | {"buffer": (("p", 2), ("m", 3), ("r", 3), ("c", 2))}
    assert refills(array((4, INF, INF)), mapping=mapped(outside)) == 2 * PASSES * 24


def test_lanes_that_hold_the_same_words_are_filled_together():
    # Columns over output rows instead of filters: all 4 of them take the same 8 x 3 weights.
    loops = NEST | {"buffer": (("m", 12), ("r", 3), ("c", 2)), "sum": (("s", 3), ("p", 3))}
    machine = array((4, 1, 2), Dataflow("rows", x=("p",), y=("c",), stationary="weights"))
    rows = 4 * 3
    expected = 8 * 3 / 4 + 8 * rows * 3 + rows / 2
    assert refills(machine, mapping=mapped(loops, x=("p", 4))) == 12 * 3 * 2 * expected


def test_a_strided_window_takes_the_inputs_that_it_spans():
    layer = Layer("conv", "conv", m=12, c=16, p=10, q=6, r=3, s=3, stride=(4, 2), dilation=(1, 2))
    assert refills(array((INF, 1, INF)), layer) == PASSES * 8 * (4 * 4 + 1) * (2 * 2 + 1)


@pytest.mark.parametrize("flow", ["free", "weight_stationary"])
def test_only_an_array_with_a_stationary_operand_is_refilled(flow):
    machine = array((4, 1, 2), flow)
    assert (refills(machine) > 0) == (machine.dataflow.stationary is not None)
    assert refilled_array(machine, machine.dataflow) == (None if flow == "free" else 1)
    assert bus_cycles_per_bit(array()) == bus_cycles_per_bit(array((4, 1, 2), "free")) == (0, 0, 0)


def test_what_has_no_weights_is_not_refilled():
    pool = Layer("pool", "pool", g=12, p=10, q=6, r=3, s=3)
    machine = array((4, 1, 2))
    found = find_mapping(pool, machine, "latency")
    mapping = mapping_of(machine, pool.has_weights, found)
    assert refills(machine, pool, mapping) == 0
    assert structure_of(machine, has_weights=False).array is None


def test_a_systolic_array_with_buses_pays_for_both():
    buses, systolic = array((4, 1, 2)), array(systolic=True)
    assert fold_cycles(buses) == 0 and fold_cycles(systolic) == 2 * 8 + 4 - 2
    assert refills(systolic) == PASSES * 18 - 1
    assert refills(array((4, 1, 2), systolic=True)) == refills(buses) + refills(systolic)


def test_a_systolic_array_over_two_fan_outs_is_one_array():
    machine = Accelerator(
        name="split",
        technology_nm=45,
        clock_mhz=100,
        bits=(16, 16, 16),
        memories=(
            memory("dram", "dram", ALL),
            memory("buffer", "sram", ALL, fanout=(4, 1), systolic=True),
            memory("sum", "sram", ("outputs",), fanout=(1, 8), systolic=True),
            memory("weight", "registers", ("weights",), 16),
        ),
        mac=Mac(energy_pj=1.0, area_mm2=0.01),
        dataflow=DATAFLOWS["weight_stationary"],
    )
    assert (refilled_array(machine, machine.dataflow), fold_cycles(machine)) == (1, 2 * 8 + 4 - 2)


def test_refills_of_arrays_are_those_of_numbers():
    machine = array((4, 1, 2), systolic=True)
    batch, structure = batch_of_one(LAYER, machine), structure_of(machine, has_weights=True)
    variants = list(itertools.product((1, 3), (1, 2)))
    time = {operand: 1 / words for operand, words in zip(ALL, (4, 1, 2), strict=True)}

    def cycles(m, p):
        nest = [
            Loop("p", 5.0, 4), Loop("s", 3.0, 4), Loop("q", 6.0, 2),
            Loop("m", 4.0, 1, spatial=True), Loop("c", 8.0, 1, spatial=True),
            Loop("p", p, 1), Loop("c", 2.0, 1), Loop("m", m, 1),
        ]  # fmt: skip
        return refill_cycles(nest, 1, "weights", structure.homes, 5, batch.layers.window, 18.0, time)

    one_by_one = [cycles(float(m), float(p)) for m, p in variants]
    together = cycles(*(np.array(column, dtype=float) for column in zip(*variants, strict=True)))
    np.testing.assert_array_equal(together, one_by_one)
    assert one_by_one == [m * 2 * (18 + 24 + 120 + 10) - 1 for m, _ in variants]


def with_buffer(machine, **figures):
    dram, buffer, *registers = machine.memories
    return replace(machine, memories=(dram, replace(buffer, **figures), *registers))


@pytest.mark.parametrize("goal", ["latency", "edp", "energy"])
@pytest.mark.parametrize("stationary", ALL)
def test_the_mapper_tells_the_cycles_that_its_mapping_takes(goal, stationary):
    rng = np.random.default_rng(0)
    flow = Dataflow("own", x=("m", "g", "q"), y=("c", "p"), stationary=stationary)
    for _ in range(12):
        layer, machine = random_layer(rng), three_levels(flow=flow)
        buses = tuple(float(x) for x in rng.choice([0.25, 1, 3, INF], 3))
        machine = with_buffer(machine, bus_words_per_cycle=buses, systolic=bool(rng.random() < 0.5))
        found = find_mapping(layer, machine, goal)
        cost = evaluate_mapping(layer, machine, mapping_of(machine, layer.has_weights, found))
        assert found.cycles == cost.cycles
        assert found.energy_pj == pytest.approx(cost.total_energy_pj)


def test_the_mapper_takes_longer_passes_where_refills_are_dear():
    # Energy prefers to finish few outputs at a time, with all their weights passing by; dear refills forbid it.
    layer = Layer("conv", "conv", m=8, c=8, p=16, q=16)
    free = three_levels(flow="weight_stationary")
    dear = with_buffer(free, bus_words_per_cycle=(0.05, INF, INF))
    by_energy, by_edp = (find_mapping(layer, dear, goal) for goal in ("energy", "edp"))
    assert find_mapping(layer, free, "energy").energy_pj == by_energy.energy_pj
    assert by_edp.cycles < by_energy.cycles
