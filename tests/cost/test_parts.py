"""Layers on the parts of a heterogeneous accelerator: closed forms, bounds, and the assignment against brute force."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from small_machines import random_layer, three_levels

from coevo.accelerator.system import system_of
from coevo.cost import evaluate_mapping
from coevo.cost.analytical import AnalyticalCost, AnalyticalSettings
from coevo.cost.assignment import GAP, assign
from coevo.cost.mapper import find_mapping
from coevo.cost.parts import Choices, interval_cycles
from coevo.errors import SpecError
from coevo.mapping import Mapping
from coevo.workload import Layer, Workload, chain

GOALS = ("edp", "latency", "energy", "interval")


def cost(workload, machine, **settings):
    (found,) = AnalyticalCost(AnalyticalSettings(**settings)).evaluate([(workload, machine)])
    return found


def network(rng, size=6):
    return Workload("net", tuple(replace(random_layer(rng, 6), name=f"layer{i}") for i in range(size)))


def twins(**dram):
    part = three_levels(**dram)
    return part, system_of("twins", part.clock_mhz, {"a": part, "b": part})


def unlike():
    rate = {"words_per_cycle": 4.0}
    parts = {
        "wide": three_levels(rows=4, columns=4, flow="weight_stationary", **rate),
        "pixels": three_levels(rows=2, columns=2, flow="output_stationary", **rate),
    }
    return parts, system_of("unlike", 100, parts)


def test_two_identical_parts_cost_one_inference_what_one_costs():
    part, system = twins(words_per_cycle=2.0)
    workload = network(np.random.default_rng(0))
    one, two = cost(workload, part), cost(workload, system)
    assert two.latency_cycles == one.latency_cycles
    assert two.energy_pj == one.energy_pj
    assert two.peak_memory_bytes == one.peak_memory_bytes
    assert one.interval_cycles is None


def test_two_identical_parts_share_an_even_number_of_like_layers_in_half_the_interval():
    part, system = twins()
    workload = Workload("like", tuple(Layer(f"conv{i}", "conv", m=8, c=8, p=4, q=4, r=3, s=3) for i in range(6)))
    one, two = cost(workload, part), cost(workload, system, assign="interval")
    assert two.interval_cycles == pytest.approx(one.latency_cycles / 2)
    assert two.latency_cycles == pytest.approx(one.latency_cycles)
    assert sorted(x.part for x in two.layers) == ["a"] * 3 + ["b"] * 3


def test_no_interval_is_below_what_the_dram_needs_for_all_words():
    part, system = twins(words_per_cycle=0.125)
    workload = Workload("like", tuple(Layer(f"conv{i}", "conv", m=8, c=8, p=4, q=4) for i in range(4)))
    one, two = cost(workload, part), cost(workload, system, assign="interval")
    words = sum(float((x.reads[0] + x.writes[0]).sum()) for x in two.layers)
    assert all(x.bound_by == "dram" for x in two.layers)
    assert two.interval_cycles == pytest.approx(words / 0.125)
    assert two.interval_cycles == pytest.approx(one.latency_cycles)  # a second part does not help


@pytest.mark.parametrize("seed", range(5))
def test_no_single_part_is_better_by_what_parts_are_chosen_for(seed):
    parts, system = unlike()
    workload = network(np.random.default_rng(seed))
    alone = [cost(workload, part, objective="latency") for part in parts.values()]
    assert cost(workload, system, objective="latency").latency_cycles <= min(x.latency_cycles for x in alone)
    shared = cost(workload, system, objective="latency", assign="interval")
    assert shared.interval_cycles <= min(x.latency_cycles for x in alone) * (1 + 1e-12)
    alone = [cost(workload, part, objective="energy") for part in parts.values()]
    assert cost(workload, system, objective="energy").energy_pj <= min(x.energy_pj for x in alone) * (1 + 1e-12)


@pytest.mark.parametrize("goal", GOALS)
def test_layers_add_up_to_the_whole(goal):
    _, system = unlike()
    workload = network(np.random.default_rng(7))
    whole = cost(workload, system, assign=goal)
    assert [x.layer.name for x in whole.layers] == [x.name for x in workload.layers]
    assert sum(x.cycles for x in whole.layers) == pytest.approx(whole.latency_cycles)
    assert sum(x.total_energy_pj for x in whole.layers) == pytest.approx(whole.energy_pj)
    assert interval_cycles(whole.layers, system) == pytest.approx(whole.interval_cycles)
    assert max(x.bytes_used for x in whole.layers) == whole.peak_memory_bytes
    assert whole.interval_cycles <= whole.latency_cycles * (1 + 1e-12)


def test_a_layers_arrays_are_those_of_its_part_and_nothing_elsewhere():
    parts, system = unlike()
    whole = cost(network(np.random.default_rng(3)), system)
    for x in whole.layers:
        own, other = list(system.rows[x.part]), [r for label, r in system.rows.items() if label != x.part]
        here = evaluate_mapping(x.layer, parts[x.part], _own(x.mapping, parts[x.part]))
        assert (x.energy_pj[own] == here.energy_pj).all()
        assert not x.energy_pj[list(other[0][1:])].any()
        assert x.bound_by in ("compute", *(system.memories[row].name for row in own))
        assert 0 < x.utilization <= 1


def _own(mapping, part):
    return Mapping(tuple(replace(level, memory=m.name) for level, m in zip(mapping.levels, part.memories, strict=True)))


def test_a_mapping_with_the_systems_names_is_scored_as_it_was():
    _, system = unlike()
    for x in cost(network(np.random.default_rng(4)), system).layers:
        again = evaluate_mapping(x.layer, system, Mapping.from_data(x.mapping.to_data()))
        assert (again.part, again.cycles, again.total_energy_pj) == (x.part, x.cycles, x.total_energy_pj)


def test_a_mapping_of_no_part_is_refused():
    parts, system = unlike()
    layer = Layer("conv", "conv", m=4, c=4, p=4, q=4)
    (x,) = cost(Workload("one", (layer,)), parts["wide"]).layers
    with pytest.raises(ValueError, match=r"has the levels of one of its parts \(wide, pixels\)"):
        evaluate_mapping(layer, system, x.mapping)


def test_a_slower_clock_takes_the_systems_cycles_in_proportion():
    part = three_levels(words_per_cycle=4.0)
    slow = replace(part, clock_mhz=50, memories=(replace(part.memories[0], words_per_cycle=8.0), *part.memories[1:]))
    workload = network(np.random.default_rng(5))
    at_half = cost(workload, system_of("slow", 100, {"only": slow}))
    assert at_half.latency_cycles == pytest.approx(2 * cost(workload, slow).latency_cycles)
    assert sum(x.cycles for x in at_half.layers) == pytest.approx(at_half.latency_cycles)
    assert sum(x.memory_cycles[0] for x in at_half.layers) <= at_half.interval_cycles * (1 + 1e-12)


def test_a_layer_goes_where_it_fits_and_is_infeasible_only_if_it_fits_nowhere():
    big, small = three_levels(), three_levels(buffer_words=2)
    layer = Layer("conv", "conv", m=4, c=4, p=4, q=4)
    assert find_mapping(layer, small) is None
    workload = Workload("one", (layer,))
    mixed = cost(workload, system_of("mixed", 100, {"small": small, "big": big}))
    assert mixed.violation == 0
    assert [x.part for x in mixed.layers] == ["big"]
    nowhere = cost(workload, system_of("nowhere", 100, {"small": small, "tiny": small}))
    assert nowhere.violation > 0
    assert nowhere.reason.startswith("layer conv fits on no part: small: layer conv has no valid mapping")
    assert "; tiny: " in nowhere.reason


def test_the_mapper_refuses_several_parts_at_once():
    _, system = unlike()
    with pytest.raises(TypeError, match="has several parts; layers are mapped on one of wide, pixels"):
        find_mapping(Layer("conv", "conv", m=4, c=4), system)


def test_what_passes_between_parts_is_not_kept_on_chip():
    _, system = unlike()
    with pytest.raises(SpecError, match="keep_on_chip: unlike has several parts"):
        cost(network(np.random.default_rng(0)), system, keep_on_chip=True)


def brute_force(choices):
    """The least interval over all ways to spread the layers of every kind over the parts."""

    def spreads(count, row):
        for way in itertools.product(range(count + 1), repeat=choices.parts):
            if sum(way) == count and all(n == 0 or math.isfinite(c) for n, c in zip(way, row, strict=True)):
                yield way

    ways = [list(spreads(int(n), row)) for n, row in zip(choices.counts, choices.cycles, strict=True)]
    return min(choices.interval_of(np.array(chosen)) for chosen in itertools.product(*ways))


@pytest.mark.parametrize("seed", range(20))
def test_the_least_interval_is_that_of_brute_force(seed):
    rng = np.random.default_rng(seed)
    parts = 2 + seed % 2
    kinds = 5 if parts == 2 else 4
    shape = (kinds, parts)
    cycles = np.round(rng.lognormal(7, 1.5, shape))
    cycles[rng.random(shape) < 0.2] = math.inf
    cycles[np.arange(kinds), rng.integers(parts, size=kinds)] = 1000.0  # it fits on one at least
    share = rng.random(shape) * (seed % 3) / 2  # of the cycles: none, up to a half, up to all
    dram = np.where(np.isfinite(cycles), np.nan_to_num(cycles, posinf=0.0) * share, math.inf)
    layers = np.repeat(np.arange(kinds), rng.integers(1, 4, kinds))
    choices = Choices(layers, chain(len(layers)), cycles, np.ones(shape), dram)
    found = assign(choices, "interval")
    assert np.isfinite(cycles[layers, found]).all()
    least = brute_force(choices)
    assert least * (1 - 1e-12) <= choices.interval(found) <= least * (1 + GAP)


@pytest.mark.parametrize("goal", ["latency", "energy", "edp"])
def test_sums_and_products_of_a_chain_are_the_least_over_all_assignments(goal):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        cycles, energy = rng.lognormal(0, 1, (5, 2)), rng.lognormal(0, 1, (5, 2))
        layers = np.array([0, 1, 2, 2, 3, 4, 0])
        choices = Choices(layers, chain(7), cycles, energy, np.zeros((5, 2)))
        total = {
            "latency": choices.latency,
            "energy": choices.energy,
            "edp": lambda places, own=choices: own.latency(places) * own.energy(places),
        }[goal]
        every = map(np.array, itertools.product(range(2), repeat=7))
        assert total(assign(choices, goal)) == pytest.approx(min(map(total, every)))


def test_settings_that_are_not_given_leave_older_runs_the_same():
    assert AnalyticalSettings().model_dump(mode="json") == {"objective": "edp", "keep_on_chip": False}
    assert AnalyticalSettings(assign="interval").model_dump(mode="json")["assign"] == "interval"
