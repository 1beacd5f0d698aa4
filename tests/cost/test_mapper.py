"""The mapper: never an invalid mapping, figures that the formulas give back, and nothing better anywhere."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exhaustive import GOALS, front, lowest, mapspace_size
from eyeriss_like import eyeriss_like, timeloop_layers
from small_machines import ALL, memory, random_layer, three_levels

from coevo.accelerator import load_template, mapped_on
from coevo.accelerator.machine import DATAFLOWS
from coevo.cost import evaluate_mapping
from coevo.cost.analytical import AnalyticalCost, AnalyticalSettings
from coevo.cost.mapper import find_front, find_mapping, mapping_of
from coevo.cost.reference import read_reference
from coevo.library import list_data
from coevo.mapping import LevelMapping, Mapping
from coevo.workload import DIMS, Layer, Workload


def cost_of(layer, machine, **settings):
    return AnalyticalCost(AnalyticalSettings(**settings)).evaluate([(Workload("one", (layer,)), machine)])[0]


@pytest.mark.parametrize("flow", sorted(DATAFLOWS))
def test_what_the_search_reports_is_what_the_formulas_give_for_its_mapping(flow):
    rng = np.random.default_rng(4)
    for _ in range(8):
        machine = three_levels(int(rng.integers(24, 600)), *(int(x) for x in rng.integers(1, 9, 2)), flow=flow)
        layers = tuple(replace(random_layer(rng), name=f"l{i}") for i in range(3))
        cost = AnalyticalCost().evaluate([(Workload("three", layers), machine)])[0]
        assert cost.violation == 0
        assert math.isclose(cost.energy_pj, sum(x.total_energy_pj for x in cost.layers), rel_tol=1e-12)
        assert cost.latency_cycles == sum(x.cycles for x in cost.layers)
        assert cost.peak_memory_bytes == max(x.bytes_used for x in cost.layers)


def test_no_reported_tile_overflows_its_memory():
    rng = np.random.default_rng(5)
    for _ in range(20):
        machine = three_levels(int(rng.integers(3, 80)), 8, 8, flow=str(rng.choice(sorted(DATAFLOWS))))
        cost = cost_of(random_layer(rng), machine)
        for x in cost.layers:
            for held, memory_ in zip(x.tile_words, machine.memories, strict=True):
                assert held.sum() * 16 <= memory_.usable_bits


def test_double_buffering_halves_the_room_for_tiles():
    layer = Layer("l", "conv", m=16, c=16, p=8, q=8)
    machine = three_levels(512)
    double = replace(machine, memories=tuple(replace(m, double_buffered=m.name == "buffer") for m in machine.memories))
    assert (
        cost_of(layer, double).layers[0].tile_words[1].sum()
        <= 256
        < cost_of(layer, machine).layers[0].tile_words[1].sum()
    )


def test_a_machine_too_small_for_one_word_each_names_memory_need_and_capacity():
    machine = three_levels(buffer_words=2)
    cost = cost_of(Layer("first", "conv", m=4, c=4), machine)
    assert cost.violation > 0
    assert cost.reason == (
        "layer first has no valid mapping on three_levels: buffer needs 6 bytes for one word each and has 4"
    )


def test_an_array_wider_than_its_buffer_can_feed_is_used_in_part():
    machine = three_levels(buffer_words=9, rows=8, columns=8)
    cost = cost_of(Layer("l", "conv", m=8, c=8, p=4, q=4), machine)
    assert cost.violation == 0
    assert cost.layers[0].utilization < 1


def test_every_operation_kind_costs_cycles_and_moves_its_data():
    machine = three_levels()
    kinds = [
        Layer("dense", "conv", m=8, c=8, p=6, q=6, r=3, s=3),
        Layer("depthwise", "conv", g=8, p=6, q=6, r=3, s=3),
        Layer("grouped", "conv", g=2, m=4, c=4, p=6, q=6, r=3, s=3),
        Layer("pointwise", "conv", m=8, c=8, p=6, q=6),
        Layer("linear", "linear", m=10, c=64),
        Layer("pool", "pool", g=8, p=3, q=3, r=2, s=2, stride=(2, 2)),
        Layer("add", "add", g=8, c=2, p=6, q=6),
    ]
    for layer in kinds:
        (x,) = cost_of(layer, machine).layers
        weights, inputs, outputs = layer.words
        assert x.cycles > 0 and x.mac_energy_pj > 0
        assert x.reads[0, 0] >= weights and x.writes[0, 2] >= outputs
        assert x.reads[0, 1] >= (inputs if layer.stride == (1, 1) else layer.p * layer.q)
        assert (x.reads[:, 0].sum() == 0) == (not layer.has_weights)


def test_more_bandwidth_never_slows_and_less_never_speeds():
    layer = Layer("l", "conv", m=16, c=16, p=8, q=8)
    cycles = [
        cost_of(layer, three_levels(words_per_cycle=float(bandwidth)), objective="latency").latency_cycles
        for bandwidth in (0.25, 0.5, 1, 2, 8, 64)
    ]
    assert cycles == sorted(cycles, reverse=True) and cycles[0] > cycles[-1]
    assert cost_of(layer, three_levels(words_per_cycle=0.25)).layers[0].bound_by == "dram"


def test_fewer_bits_cost_less_energy_and_room():
    layer = Layer("l", "conv", m=16, c=16, p=8, q=8)
    wide = cost_of(layer, three_levels())
    narrow = cost_of(replace(layer, bits=(8, 8, 16)), three_levels())
    assert narrow.energy_pj < wide.energy_pj


def test_the_same_whatever_the_number_of_workers_and_the_company():
    rng = np.random.default_rng(6)
    pairs = [
        (Workload("w", (random_layer(rng), random_layer(rng))), three_levels(int(rng.integers(20, 200)), 4, 4, flow))
        for flow in DATAFLOWS
        for _ in range(3)
    ]
    alone = [AnalyticalCost().evaluate([pair])[0] for pair in pairs]
    for jobs in (1, 2):
        together = AnalyticalCost().evaluate(pairs, jobs=jobs)
        assert [(c.latency_cycles, c.energy_pj) for c in together] == [(c.latency_cycles, c.energy_pj) for c in alone]


def value_of(found, goal):
    cycles, energy = GOALS[goal]
    return math.inf if found is None else found.cycles**cycles * found.energy_pj**energy


SMALL = [
    Layer("pointwise", "conv", m=4, c=4, p=4),
    Layer("window", "conv", m=2, p=6, r=3),
    Layer("strided", "conv", c=2, p=4, r=3, stride=(2, 1)),
    Layer("dilated", "conv", p=6, r=3, m=2, dilation=(2, 1)),
    Layer("linear", "linear", m=8, c=6),
    Layer("depthwise", "conv", g=3, p=4, r=2),
    Layer("pool", "pool", g=4, p=4, r=2, stride=(2, 1)),
]


@pytest.mark.parametrize("layer", SMALL, ids=lambda layer: layer.name)
@pytest.mark.parametrize("goal", sorted(GOALS))
def test_small_mapspaces_enumerated_in_full_hold_nothing_better(layer, goal):
    machine = three_levels(buffer_words=20, rows=2, columns=2, flow="free", words_per_cycle=2.0)
    assert math.isclose(value_of(find_mapping(layer, machine, goal), goal), lowest(layer, machine, goal), rel_tol=1e-11)


def random_machine(rng):
    """DRAM, two buffers that each keep some operands, and some registers; all with limits of their own."""

    def some(share=0.6):
        return tuple(operand for operand in ALL if rng.random() < share) or ("inputs",)

    def fan():
        return (int(rng.choice([1, 1, 2])), int(rng.choice([1, 2, 2]))) if rng.random() < 0.5 else (1, 1)

    def loops(share):
        return tuple(dim for dim in DIMS if rng.random() < share)

    def limit(*figures):
        return float(rng.choice([math.inf, *figures]))

    memories = [
        memory("dram", "dram", ALL, read_energy_pj=200.0, write_energy_pj=190.0, words_per_cycle=limit(1, 2),
               loops=loops(0.95)),
        memory("glb", "sram", some(), int(rng.choice([10, 20, 40])) * 16, fan(), read_energy_pj=6.0,
               write_energy_pj=7.0, read_words_per_cycle=limit(1, 2),
               bus_words_per_cycle=(limit(2), limit(1), math.inf)),
    ]  # fmt: skip
    if rng.random() < 0.6:
        memories.append(
            memory("buffer", "sram", some(), int(rng.choice([6, 10, 16])) * 16, fan(), read_energy_pj=3.0,
                   write_energy_pj=2.5, leakage_mw=float(rng.choice([0, 0.02])), systolic=bool(rng.random() < 0.3))
        )  # fmt: skip
    for operand in ALL:
        if rng.random() < 0.7:
            size = int(rng.choice([1, 2, 4])) * 16
            memories.append(memory(f"{operand}_register", "registers", (operand,), size, loops=loops(0.8)))
    flow = DATAFLOWS[str(rng.choice(sorted(DATAFLOWS)))]
    return replace(three_levels(flow=flow), memories=tuple(memories))


STRIDED = [
    Layer("strided", "conv", m=2, c=2, p=6, stride=(3, 1)),
    Layer("dilated", "conv", m=2, p=6, r=2, stride=(3, 1), dilation=(3, 1)),
    Layer("depthwise", "conv", g=2, p=4, r=2, stride=(2, 1), dilation=(2, 1)),
    Layer("channels", "conv", c=3, p=4, r=3, stride=(2, 1)),
    Layer("plane", "conv", p=2, q=4, r=2, s=3, stride=(1, 2)),
]
"""Windows that leave words out."""


def bypassing(machine, *operands):
    """The machine with a buffer that holds these operands alone."""
    memories = [replace(m, holds=operands) if m.name == "buffer" else m for m in machine.memories]
    return replace(machine, memories=tuple(memories))


@pytest.mark.parametrize(
    ("at", "buffer", "rows", "flow"), [(1, 12, 1, "input_stationary"), (2, 12, 1, "free"), (3, 8, 2, "free")]
)
@pytest.mark.parametrize("goal", sorted(GOALS))
def test_nothing_better_where_inputs_pass_the_buffer_by_and_windows_leave_words_out(at, buffer, rows, flow, goal):
    machine = bypassing(three_levels(buffer, rows, rows, flow, words_per_cycle=1.0), "weights", "outputs")
    layer = STRIDED[at]
    assert math.isclose(value_of(find_mapping(layer, machine, goal), goal), lowest(layer, machine, goal), rel_tol=1e-11)


@pytest.mark.parametrize("stays", ["weight_stationary", "input_stationary", "output_stationary"])
@pytest.mark.parametrize("inside", [(), ("weight",), ("sum",)])
def test_nothing_better_on_systolic_arrays_with_and_without_registers(stays, inside):
    """Without a place for the stationary operand inside, the array is fed in the order of the buffer's own loops."""
    machine = three_levels(24, 2, 2, stays)
    kept = [m for m in machine.memories if m.name in ("dram", "buffer", *inside)]
    machine = replace(machine, memories=tuple(replace(m, systolic=m.name == "buffer") for m in kept))
    for layer in (Layer("linear", "linear", m=4, c=8, n=2), Layer("window", "conv", m=2, p=6, r=3)):
        check_proven(layer, machine, "edp")


def test_an_array_of_one_lane_is_refilled_like_a_wider_one():
    """A fan-out of one is a level of its own where it runs empty: loops below it do not refill it."""
    machine = three_levels(40, 1, 1, "weight_stationary")
    dram, buffer, weight, _, total = machine.memories
    buffer = replace(buffer, holds=("inputs",), bus_words_per_cycle=(2.0, 1.0, math.inf))
    weight = replace(weight, size_bits=4 * 16.0, loops=tuple(dim for dim in DIMS if dim != "m"))
    check_proven(Layer("l", "linear", m=8, c=6), replace(machine, memories=(dram, buffer, weight, total)), "edp")


def check_proven(layer, machine, goal):
    """Checks that the mapper finds the best of the whole mapspace, and that the formulas give back its figures."""
    found = find_mapping(layer, machine, goal)
    best = lowest(layer, machine, goal)
    assert math.isclose(value_of(found, goal), best, rel_tol=1e-11), (layer, machine, goal)
    if found is not None:
        cost = evaluate_mapping(layer, machine, mapping_of(machine, layer.has_weights, found))
        assert cost.cycles == found.cycles, (layer, machine, goal)
        assert math.isclose(cost.total_energy_pj, found.energy_pj, rel_tol=1e-12), (layer, machine, goal)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_on_60_random_machines_the_whole_mapspace_holds_nothing_better(seed):
    """Bypass, `loops`, bandwidths, leakage, systolic arrays, every dataflow; all lanes, divisors and loop orders."""
    rng = np.random.default_rng(seed)
    checked = 0
    while checked < 15:
        layers, machine = SMALL + STRIDED, random_machine(rng)
        layer, goal = layers[int(rng.integers(len(layers)))], str(rng.choice(sorted(GOALS)))
        if mapspace_size(layer, machine) < 2_000_000:  # seconds; larger ones take minutes
            check_proven(layer, machine, goal)
            checked += 1


def test_tiles_that_are_left_out_since_they_had_better_be_grown_are_no_better():
    """Layers without windows where the dataflow orders loops: a tile grows only where its loop may stand."""
    layers = [
        Layer("linear", "linear", m=4, c=4, n=4),
        Layer("wide", "linear", m=8, c=6),
        Layer("pointwise", "conv", m=4, c=4, p=4),
        Layer("grouped", "conv", m=2, c=4, p=4, g=2),
    ]
    rng = np.random.default_rng(5)
    checked = 0
    while checked < 30:
        machine = random_machine(rng)
        layer, goal = layers[int(rng.integers(len(layers)))], str(rng.choice(sorted(GOALS)))
        if machine.dataflow.stationary is not None and mapspace_size(layer, machine) < 500_000:
            check_proven(layer, machine, goal)
            checked += 1


@pytest.mark.parametrize("template", list_data("accelerators"))
def test_on_every_template_the_formulas_give_back_what_the_mapper_reports(template):
    layers = (
        Layer("dense", "conv", m=32, c=16, p=14, q=14, r=3, s=3),
        Layer("depthwise", "conv", g=16, p=14, q=14, r=3, s=3, stride=(2, 2)),
        Layer("linear", "linear", m=64, c=128),
        Layer("add", "add", g=16, c=2, p=7, q=7),
    )
    for layer, machine in itertools.product(layers, mapped_on(load_template(template).build({})).values()):
        found = find_mapping(layer, machine)
        cost = evaluate_mapping(layer, machine, mapping_of(machine, layer.has_weights, found))
        assert cost.cycles == found.cycles
        assert math.isclose(cost.total_energy_pj, found.energy_pj, rel_tol=1e-12)
        assert math.isclose(cost.bytes_used, found.bytes_used, rel_tol=1e-12)


def test_no_worse_than_timeloops_mapper_on_any_layer_of_resnet18_and_mobilenetv2():
    machine = eyeriss_like()
    shares = {
        (network, layer.name): value_of(find_mapping(layer, machine), "edp") / edp
        for network, layer, _, edp in timeloop_layers()
    }
    print(f"energy x delay over that of Timeloop's mapper: {min(shares.values()):.2f} to {max(shares.values()):.2f}")
    assert len(shares) == 43 and max(shares.values()) <= 1


RECORDED = read_reference(Path(__file__).with_name("timeloop_mapper_records.json"))


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.label)
def test_no_worse_than_timeloops_mapper_on_other_architectures(case):
    """Machines built from the reference form; ours unrolls freely, so these show no more than that it is not worse."""
    sizes = [float(level.usable_words) for level in case.levels]
    memories = tuple(replace(m, size_bits=size) for m, size in zip(case.machine.memories, sizes, strict=True))
    machine = replace(case.machine, memories=memories)
    theirs = case.record.energy_pj * case.record.cycles
    recorded = evaluate_mapping(case.layer, machine, case.mapping)  # it is a mapping of that machine, with that cost
    assert math.isclose(recorded.total_energy_pj * recorded.cycles, theirs, rel_tol=1e-3)
    assert value_of(find_mapping(case.layer, machine), "edp") <= theirs


@pytest.mark.parametrize("goal", sorted(GOALS))
def test_batch_and_output_positions_are_alike_where_no_window_slides(goal):
    machine = three_levels(24, 1, 1, "free", words_per_cycle=1.0)
    shapes = [{"n": 12}, {"p": 12}, {"p": 4, "q": 3}, {"n": 2, "p": 3, "q": 2}]
    found = []
    for shape in shapes:
        layer = Layer("pointwise", "conv", m=6, c=4, **shape)
        found.append(find_mapping(layer, machine, goal))
        cost = evaluate_mapping(layer, machine, mapping_of(machine, True, found[-1]))
        assert found[-1].merged and cost.cycles == found[-1].cycles
        assert math.isclose(cost.total_energy_pj, found[-1].energy_pj, rel_tol=1e-12)
    assert len({(x.cycles, x.energy_pj, x.bytes_used) for x in found}) == 1


def test_a_front_of_mappings_is_that_of_the_whole_mapspace():
    machine = three_levels(12, 2, 2, "free")
    for layer in (Layer("pointwise", "conv", m=6, c=4, p=6), Layer("window", "conv", m=2, p=6, r=3)):
        found = find_front(layer, machine)
        enumerated = front(layer, machine)
        assert [x.cycles for x in found] == [cycles for _, cycles in enumerated]
        np.testing.assert_allclose([x.energy_pj for x in found], [energy for energy, _ in enumerated], rtol=1e-12)
        assert len(found) > 1  # or there is nothing to see
        assert found[0].energy_pj == find_mapping(layer, machine, "energy").energy_pj
        assert found[-1].cycles == find_mapping(layer, machine, "latency").cycles


def test_a_memory_without_room_for_what_no_loop_outside_can_run_is_named():
    machine = three_levels(buffer_words=9, rows=1, columns=1)
    memories = (replace(machine.memories[0], loops=("n", "g", "m", "p", "q")), *machine.memories[1:])
    cost = cost_of(Layer("first", "conv", m=4, c=8), replace(machine, memories=memories))
    assert cost.violation > 0
    assert cost.reason == (
        "layer first has no valid mapping on three_levels: buffer needs 34 bytes for the smallest tile and has 18"
    )


def test_given_mappings_are_checked_against_layer_and_machine():
    layer, machine = Layer("l", "conv", m=8, c=8), three_levels(buffer_words=20, rows=2, columns=2)
    rest = [LevelMapping(name) for name in ("weight", "input", "sum")]
    dram = LevelMapping("dram", (("m", 8), ("c", 8)))
    evaluate_mapping(layer, machine, Mapping((dram, LevelMapping("buffer"), *rest)))
    with pytest.raises(ValueError, match="m loops cover 4 of 8"):
        evaluate_mapping(
            layer, machine, Mapping((LevelMapping("dram", (("m", 4), ("c", 8))), LevelMapping("buffer"), *rest))
        )
    with pytest.raises(ValueError, match="8 lanes along x below buffer, which has 2"):
        evaluate_mapping(layer, machine, Mapping((dram, LevelMapping("buffer", x=(("m", 8),)), *rest)))
    with pytest.raises(ValueError, match="buffer needs 160 bytes for its tiles and has 40"):
        evaluate_mapping(
            layer, machine, Mapping((LevelMapping("dram"), LevelMapping("buffer", (("m", 8), ("c", 8))), *rest))
        )
    still = replace(
        machine, memories=(machine.memories[0], replace(machine.memories[1], loops=("p",)), *machine.memories[2:])
    )
    with pytest.raises(ValueError, match="a loop over m at buffer, which runs p"):
        buffer = LevelMapping("buffer", (("m", 8),))
        evaluate_mapping(layer, still, Mapping((LevelMapping("dram", (("c", 8),)), buffer, *rest)))
    with pytest.raises(ValueError, match="has the levels dram, buffer"):
        evaluate_mapping(layer, machine, Mapping((dram,)))


def test_a_memory_that_bypasses_an_operand_is_transparent():
    layer = Layer("l", "conv", m=4, c=4, p=8, q=8)
    holding = three_levels()
    memories = list(holding.memories)
    memories[1] = memory("buffer", "sram", ("inputs", "outputs"), 256 * 16, (4, 4))
    bypassing = replace(holding, memories=tuple(memories))
    (x,) = cost_of(layer, bypassing).layers
    assert x.reads[1, 0] == x.writes[1, 0] == x.tile_words[1, 0] == 0
    assert x.reads[0, 0] >= layer.words[0]
    assert set(ALL) == set(holding.memories[1].holds)
