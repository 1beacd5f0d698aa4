"""The mapper: never an invalid mapping, figures that the formulas give back, and how far from the optimum it is."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from small_machines import ALL, memory, random_layer, three_levels

from coevo.accelerator.machine import DATAFLOWS
from coevo.cost import evaluate_mapping
from coevo.cost.analytical import AnalyticalCost, AnalyticalSettings
from coevo.cost.candidates import GROUPS, STILL, best, largest_divisor
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


def test_the_largest_divisor_within_a_limit_is_found():
    numbers = np.array([12.0, 12.0, 7.0, 2310.0, 4096.0, 1.0])
    limits = np.array([5.0, 12.0, 6.0, 100.0, np.inf, 9.0])
    assert largest_divisor(numbers, limits).tolist() == [4, 12, 1, 77, 4096, 1]


def test_the_beam_keeps_distinct_candidates_before_repeats():
    chosen = best(np.array([[3.0, 1.0, 1.0, 2.0]]), 3)
    assert sorted(np.array([3.0, 1.0, 1.0, 2.0])[chosen[0]]) == [1.0, 2.0, 3.0]


def _splits(bound, slots):
    """All ways to write a bound as a product of divisors over slots."""
    if slots == 1:
        yield (bound,)
        return
    for d in range(1, bound + 1):
        if bound % d == 0:
            for rest in _splits(bound // d, slots - 1):
                yield (d, *rest)


def _keeps_still(inner, flow):
    """Whether the loops that leave the dataflow's operand in place are the innermost, as the dataflow demands."""
    still = GROUPS[STILL[flow.stationary]] if flow.stationary else ()
    at_rest = [dim in still for dim, _ in inner]
    return at_rest == sorted(at_rest)


def _exhaustive(layer, machine, flow):
    """Lowest energy x delay over every perfect factorisation and every order of dims at DRAM and buffer."""
    dims = [dim for dim, bound in zip(DIMS, layer.bounds, strict=True) if bound > 1]
    lowest = math.inf
    names = [m.name for m in machine.memories]
    for split in itertools.product(*(_splits(dict(zip(DIMS, layer.bounds, strict=True))[dim], 4) for dim in dims)):
        factors = dict(zip(dims, split, strict=True))
        x = tuple((dim, f[2]) for dim, f in factors.items() if f[2] > 1)
        y = tuple((dim, f[3]) for dim, f in factors.items() if f[3] > 1)
        if any(dim not in flow.x for dim, _ in x) or any(dim not in flow.y for dim, _ in y):
            continue
        for outer in itertools.permutations([(dim, f[0]) for dim, f in factors.items() if f[0] > 1]):
            for inner in itertools.permutations([(dim, f[1]) for dim, f in factors.items() if f[1] > 1]):
                if not _keeps_still(inner, flow):
                    continue
                levels = [LevelMapping(name) for name in names]
                levels[0] = LevelMapping(names[0], outer)
                levels[1] = LevelMapping(names[1], inner, x, y)
                try:
                    cost = evaluate_mapping(layer, machine, Mapping(tuple(levels)))
                except ValueError:
                    continue
                lowest = min(lowest, cost.cycles * cost.total_energy_pj)
    return lowest


def _gap(layer, machine):
    """Energy x delay of what the mapper finds over the exhaustive optimum; below 1 where surplus lanes pay."""
    found = cost_of(layer, machine)
    return found.latency_cycles * found.energy_pj / _exhaustive(layer, machine, machine.dataflow)


@pytest.mark.parametrize(
    "layer",
    [
        Layer("pointwise", "conv", m=4, c=4, p=4),
        Layer("window", "conv", m=4, p=4, r=3),
        Layer("linear", "linear", m=8, c=8),
    ],
    ids=lambda layer: layer.name,
)
def test_small_mapspaces_enumerated_in_full_hold_nothing_better(layer):
    assert _gap(layer, three_levels(buffer_words=20, rows=2, columns=2, flow="free")) <= 1 + 1e-9


@pytest.mark.slow
def test_on_24_random_small_mapspaces_the_beam_stays_within_3_percent_of_the_optimum():
    """All perfect factors and all loop orders that the dataflow allows are enumerated; `-s` prints the gap."""
    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(24):
        small, large = (lambda: int(rng.choice([2, 4, 6])), lambda: int(rng.choice([8, 12, 16])))
        layer = [
            Layer("pointwise", "conv", m=small(), c=small(), p=small()),
            Layer("window", "conv", m=2, p=int(rng.choice([4, 6])), r=3, stride=(int(rng.choice([1, 2])), 1)),
            Layer("linear", "linear", m=large(), c=large()),
            Layer("depthwise", "conv", g=small(), p=int(rng.choice([4, 6])), r=3),
        ][int(rng.integers(4))]
        flow = str(rng.choice(["free", "weight_stationary", "output_stationary", "row_stationary"]))
        gaps.append(_gap(layer, three_levels(int(rng.choice([8, 12, 20, 40])), rows=2, columns=2, flow=flow)))
    print(
        f"no worse than the exhaustive optimum in {sum(gap <= 1 + 1e-9 for gap in gaps)} of 24, worst {max(gaps):.3f}"
    )
    assert max(gaps) <= 1.03


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
