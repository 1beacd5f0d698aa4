"""What must hold of every cost, whatever the layer, the machine and the dataflow."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_machines import ALL, memory, three_levels

from coevo.accelerator.machine import DATAFLOWS, Accelerator, Mac
from coevo.cost import evaluate_mapping
from coevo.cost.analytical import AnalyticalCost
from coevo.design import Cost, LayerCost
from coevo.workload import OPERANDS, Layer, Workload

sizes = st.sampled_from([1, 2, 3, 4, 6, 8, 12])
properties = settings(max_examples=25, deadline=None)


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    kind = draw(st.sampled_from(["dense", "depthwise", "grouped", "linear", "pool", "add"]))
    if kind == "linear":
        return Layer(kind, "linear", n=draw(st.sampled_from([1, 2])), m=draw(sizes), c=draw(sizes))
    stride = draw(st.sampled_from([1, 1, 2]))
    window = {"p": draw(sizes), "q": draw(sizes), "stride": (stride, stride)}
    taps = {dim: draw(st.sampled_from([1, 2, 3])) for dim in "rs"}
    if kind == "add":
        return Layer(kind, "add", g=draw(sizes), c=2, p=window["p"], q=window["q"])
    if kind in ("depthwise", "pool"):
        return Layer(kind, "pool" if kind == "pool" else "conv", g=draw(sizes), **window, **taps)
    group = draw(st.sampled_from([2, 3])) if kind == "grouped" else 1
    return Layer(kind, "conv", g=group, m=draw(sizes), c=draw(sizes), **window, **taps)


@st.composite
def machines(draw: st.DrawFn) -> Accelerator:
    """Machines of every structure, with bandwidths, leakage and wide accesses at random."""
    build = draw(st.sampled_from([arrayed, two_memories, dram_alone, two_fanouts]))
    machine = build(draw(st.sampled_from(sorted(DATAFLOWS))))
    changes = {
        "words_per_access": draw(st.sampled_from([1, 4])),
        "words_per_cycle": draw(st.sampled_from([math.inf, 0.5, 4.0])),
        "leakage_mw": draw(st.sampled_from([0.0, 0.01])),
    }
    bits = draw(st.sampled_from([(16, 16, 16), (8, 8, 16)]))
    return replace(machine, bits=bits, memories=(replace(machine.memories[0], **changes), *machine.memories[1:]))


def arrayed(flow: str) -> Accelerator:
    return three_levels(buffer_words=100, rows=3, columns=4, flow=flow)


def two_memories(flow: str) -> Accelerator:
    """DRAM, and registers for all operands in every PE."""
    dram = memory("dram", "dram", ALL, fanout=(4, 2), read_energy_pj=200.0, write_energy_pj=150.0)
    return replace(arrayed(flow), memories=(dram, memory("registers", "registers", ALL, 8 * 16)))


def dram_alone(flow: str) -> Accelerator:
    """Multipliers fed straight from DRAM."""
    dram = memory("dram", "dram", ALL, fanout=(4, 2), read_energy_pj=200.0, write_energy_pj=150.0)
    return replace(arrayed(flow), memories=(dram,))


def two_fanouts(flow: str) -> Accelerator:
    """A grid of PEs, each with a vector of multipliers, as Simba's and NVDLA's."""
    return replace(
        arrayed(flow),
        memories=(
            memory("dram", "dram", ALL, read_energy_pj=200.0, write_energy_pj=150.0),
            memory("global", "sram", ("inputs", "outputs"), 120 * 16, (2, 2), read_energy_pj=8.0),
            memory("weight", "sram", ("weights",), 32 * 16, read_energy_pj=3.0),
            memory("input", "sram", ("inputs",), 16 * 16, read_energy_pj=2.0),
            memory("sum", "sram", ("outputs",), 16 * 16, (3, 2), read_energy_pj=2.0),
            memory("lane", "registers", ("weights",), 16),
        ),
    )


def cost_of(machine: Accelerator, *workload: Layer) -> Cost:
    return AnalyticalCost().evaluate([(Workload("w", workload), machine)])[0]


def mapped(layer: Layer, machine: Accelerator) -> LayerCost:
    (cost,) = cost_of(machine, layer).layers
    return cost


def under_the_same_mapping(cost: LayerCost, machine: Accelerator) -> LayerCost:
    return evaluate_mapping(cost.layer, machine, cost.mapping)


def window_covers(layer: Layer) -> bool:
    """Whether no input between windows is skipped."""
    return layer.stride[0] <= layer.r and layer.stride[1] <= layer.s


# -- lower bounds ----------------------------------------------------------------------------------------------


@given(layers(), machines())
@properties
def test_every_distinct_word_crosses_the_dram_at_least_once(layer, machine):
    cost = mapped(layer, machine)
    weights, inputs, outputs = layer.words
    assert cost.reads[0, 0] >= weights
    assert cost.writes[0, 2] >= outputs
    if window_covers(layer):
        assert cost.reads[0, 1] >= inputs


@given(layers(), machines())
@properties
def test_cycles_are_no_fewer_than_operations_over_multipliers_and_than_any_bound(layer, machine):
    cost = mapped(layer, machine)
    assert cost.compute_cycles >= layer.operations / machine.pes
    assert cost.cycles == math.ceil(max(cost.compute_cycles, *cost.memory_cycles))
    assert 0 < cost.utilization <= 1


@given(layers(), machines())
@properties
def test_energy_is_no_less_than_arithmetic_and_compulsory_dram_accesses(layer, machine):
    cost, dram = mapped(layer, machine), machine.memories[0]
    weights, inputs, outputs = (
        words * bits / (dram.word_bits * dram.words_per_access)
        for words, bits in zip(layer.words, machine.bits, strict=True)
    )
    reads = weights + (inputs if window_covers(layer) else 0)
    arithmetic = layer.operations * machine.mac.energy_pj
    assert cost.mac_energy_pj == arithmetic
    assert cost.total_energy_pj >= arithmetic + reads * dram.read_energy_pj + outputs * dram.write_energy_pj


@given(layers(), machines())
@properties
def test_no_memory_moves_what_it_does_not_hold(layer, machine):
    cost = mapped(layer, machine)
    for level, at in enumerate(machine.memories):
        for operand, name in enumerate(OPERANDS):
            if name not in at.holds or (name == "weights" and not layer.has_weights):
                assert cost.reads[level, operand] == cost.writes[level, operand] == cost.energy_pj[level, operand] == 0


# -- one mapping on machines that differ in one figure ---------------------------------------------------------


def every_energy(machine: Accelerator, factor: float) -> Accelerator:
    scaled = tuple(
        replace(
            at,
            read_energy_pj=factor * at.read_energy_pj,
            write_energy_pj=factor * at.write_energy_pj,
            leakage_mw=factor * at.leakage_mw,
        )
        for at in machine.memories
    )
    mac = replace(machine.mac, energy_pj=factor * machine.mac.energy_pj, leakage_mw=factor * machine.mac.leakage_mw)
    return replace(machine, memories=scaled, mac=mac)


@given(layers(), machines())
@properties
def test_twice_every_energy_figure_is_exactly_twice_the_energy(layer, machine):
    once = mapped(layer, machine)
    twice = under_the_same_mapping(once, every_energy(machine, 2.0))
    assert twice.total_energy_pj == 2 * once.total_energy_pj
    assert twice.cycles == once.cycles


@given(layers(), machines())
@properties
def test_a_faster_clock_changes_no_cycles_and_shortens_the_time_to_leak(layer, machine):
    once = mapped(layer, machine)
    faster = under_the_same_mapping(once, replace(machine, clock_mhz=2 * machine.clock_mhz))
    assert faster.cycles == once.cycles
    assert faster.leakage_pj == once.leakage_pj / 2
    np.testing.assert_array_equal(faster.energy_pj, once.energy_pj)


@given(layers(), machines(), st.integers(0, 5), st.floats(1e-3, 10))
@properties
def test_leakage_adds_its_power_times_the_time_of_the_instances_in_use(layer, machine, which, leakage_mw):
    once = mapped(layer, machine)
    which %= len(machine.memories)
    memories = list(machine.memories)
    memories[which] = replace(memories[which], leakage_mw=memories[which].leakage_mw + leakage_mw)
    leaky = under_the_same_mapping(once, replace(machine, memories=tuple(memories)))
    used = math.prod(bound for level in once.mapping.levels[:which] for _, bound in (*level.x, *level.y))
    added = leakage_mw * 1e9 * used * once.cycles / (machine.clock_mhz * 1e6)  # mW x s = 1e9 pJ
    assert leaky.total_energy_pj > once.total_energy_pj
    assert leaky.leakage_pj - once.leakage_pj == pytest.approx(added, rel=1e-6)


@given(layers(), machines())
@properties
def test_a_leaky_multiplier_never_lowers_the_energy(layer, machine):
    once = mapped(layer, machine)
    leaky = under_the_same_mapping(once, replace(machine, mac=Mac(1.0, 0.01, leakage_mw=0.5)))
    assert leaky.leakage_pj > once.leakage_pj


# -- machines of every structure -------------------------------------------------------------------------------

MIXED = (
    Layer("conv", "conv", m=8, c=6, p=6, q=6, r=3, s=3),
    Layer("strided", "conv", m=6, c=4, p=3, q=3, r=3, s=3, stride=(2, 2)),
    Layer("depthwise", "conv", g=8, p=6, q=6, r=3, s=3),
    Layer("pool", "pool", g=8, p=3, q=3, r=2, s=2, stride=(2, 2)),
    Layer("add", "add", g=8, c=2, p=6, q=6),
    Layer("linear", "linear", m=10, c=24),
    Layer("again", "linear", m=10, c=24),
)


@pytest.mark.parametrize("build", [arrayed, two_memories, dram_alone, two_fanouts])
@pytest.mark.parametrize("flow", sorted(DATAFLOWS))
def test_totals_are_the_sums_over_the_layers_on_every_structure(build, flow):
    cost = cost_of(build(flow), *MIXED)
    assert cost.violation == 0 and cost.reason == ""
    assert [one.layer for one in cost.layers] == list(MIXED)
    assert cost.latency_cycles == sum(one.cycles for one in cost.layers)
    assert cost.energy_pj == pytest.approx(sum(one.total_energy_pj for one in cost.layers), rel=1e-12)
    assert cost.peak_memory_bytes == max(one.bytes_used for one in cost.layers)


@given(st.lists(layers(), min_size=1, max_size=3), machines())
@properties
def test_totals_are_the_sums_over_the_layers_on_random_machines(workload, machine):
    cost = cost_of(machine, *(replace(layer, name=f"{layer.name}{i}") for i, layer in enumerate(workload)))
    assert cost.violation == 0
    assert cost.latency_cycles == sum(one.cycles for one in cost.layers)
    assert cost.energy_pj == pytest.approx(sum(one.total_energy_pj for one in cost.layers), rel=1e-12)


def test_dram_alone_shares_reads_over_its_fanout_and_reads_back_every_partial_sum():
    layer = Layer("l", "conv", m=4, c=2, p=5)
    machine = dram_alone("weight_stationary")  # x = m: 4 columns, y = c: 2 rows
    cost = mapped(layer, machine)
    assert cost.cycles == 5
    assert cost.reads[0].tolist() == [40, 10, 0]  # a weight a multiplier and cycle; one input for four columns
    assert cost.writes[0].tolist() == [0, 0, 20]  # two rows are summed into one
    assert cost.bytes_used == 0


def test_both_fanouts_are_used():
    layer = Layer("l", "conv", m=12, c=4, p=4, q=4)
    cost = mapped(layer, two_fanouts("weight_stationary"))
    spread = [math.prod(bound for _, bound in (*level.x, *level.y)) for level in cost.mapping.levels]
    assert spread[1] > 1 and spread[4] > 1
    assert cost.compute_cycles == layer.operations / math.prod(spread)
    assert cost.utilization <= 1


def test_a_layer_that_fits_no_structure_says_so_instead_of_costing():
    machine = two_memories("free")
    small = replace(machine.memories[1], size_bits=32)
    cost = cost_of(replace(machine, memories=(machine.memories[0], small)), *MIXED)
    assert cost.violation > 0 and cost.layers == ()
    assert "registers needs 6 bytes for one word each and has 4" in cost.reason
