"""Branches side by side on several parts: closed forms, bounds, and schedules and assignments against brute force."""

import math
from dataclasses import replace

import numpy as np
import pytest
from side_by_side import assignments, best_order, makespan, random_tasks
from small_machines import three_levels

from coevo.accelerator.system import system_of
from coevo.cost import assignment
from coevo.cost.analytical import AnalyticalCost, AnalyticalSettings
from coevo.cost.assignment import assign
from coevo.cost.parts import Choices, spans
from coevo.cost.schedule import Tasks, segments
from coevo.networks.cell import Cell, CellSettings, from_digits
from coevo.networks.graph import INPUT, Add, Conv, Graph
from coevo.networks.lowering import lower
from coevo.protocols import Task
from coevo.workload import Layer, Workload, chain

LIKE = Layer("like", "conv", m=8, c=8, p=4, q=4, r=3, s=3)
SEEDS = range(60)


def cost(workload, machine, **settings):
    (found,) = AnalyticalCost(AnalyticalSettings(objective="latency", **settings)).evaluate([(workload, machine)])
    return found


def twins(**dram):
    part = three_levels(**dram)
    return part, system_of("twins", part.clock_mhz, {"a": part, "b": part})


def tasks(seed):
    """Random graphs of four or five layers on two or three parts, with no, some and much traffic."""
    traffic, density = (0.0, 0.6, 1.0)[seed % 3], (0.2, 0.4, 0.6)[seed // 3 % 3]
    return random_tasks(seed, 4 + seed % 2, 2 + (seed % 5 == 0), traffic, density)


def choices_of(found):
    return Choices(np.arange(len(found.reads)), found.reads, found.cycles, found.energy_pj, found.dram_cycles)


def even(*reads, share=0.0, cycles=100.0, parts=2):
    """Layers of so many cycles on every part."""
    shape = len(reads), parts
    return Tasks(reads, np.full(shape, cycles), np.full(shape, cycles * share), np.ones(shape))


def on_both(found):
    """Layers in turn on the one part and the other."""
    return np.arange(len(found.reads)) % 2


def test_two_equal_branches_on_two_equal_parts_take_half_as_long():
    part, system = twins()
    both = Workload("both", (replace(LIKE, name="left"), replace(LIKE, name="right")), after=((), ()))
    one, two = cost(both, part), cost(both, system)
    assert two.latency_cycles == one.latency_cycles / 2
    assert two.energy_pj == one.energy_pj
    assert [x.part for x in two.layers] == ["a", "b"]


def test_a_chain_takes_the_sum_and_stays_on_one_of_equal_parts():
    part, system = twins()
    row = Workload("row", tuple(replace(LIKE, name=name) for name in "xyz"))
    assert cost(row, system).latency_cycles == cost(row, part).latency_cycles
    assert {x.part for x in cost(row, system).layers} == {"a"}


def test_a_system_of_one_part_costs_what_the_part_does_bit_for_bit():
    part = three_levels(words_per_cycle=0.5)
    cell = Cell(CellSettings(channels=4, cells=1), Task(1, 8, 10)).workload(from_digits("334333"))
    one, alone = cost(cell, system_of("one", part.clock_mhz, {"only": part})), cost(cell, part)
    assert (one.latency_cycles, one.energy_pj) == (alone.latency_cycles, alone.energy_pj)


def test_a_residual_sum_waits_for_both_of_its_branches():
    nodes = (
        Conv("stem", INPUT, 8),
        Conv("long1", "stem", 8, kernel=3),
        Conv("long2", "long1", 8, kernel=3),
        Conv("short", "stem", 8),
        Add("sum", ("long2", "short")),
    )
    _, system = twins()
    work = lower(Graph("residual", (8, 4, 4), nodes))
    found = cost(work, system)
    begins, ends = spans(found.layers, work.reads, system)
    of = {layer.name: i for i, layer in enumerate(work.layers)}
    assert begins[of["long1"]] == begins[of["short"]] == ends[of["stem"]]
    assert found.layers[of["long1"]].part != found.layers[of["short"]].part
    assert begins[of["sum"]] == ends[of["long2"]] > ends[of["short"]]
    assert (
        found.latency_cycles
        == ends[of["sum"]]
        == sum(x.cycles for x in found.layers) - ends[of["short"]] + begins[of["short"]]
    )


@pytest.mark.parametrize(("share", "cycles"), [(0.0, 100), (0.5, 100), (0.75, 150), (1.0, 200)])
def test_layers_side_by_side_slow_down_by_what_they_want_of_the_dram_beyond_all(share, cycles):
    found = even((), (), share=share)
    assert found.makespans(on_both(found)[None])[0] == pytest.approx(cycles)


def test_a_layer_that_wants_nothing_of_the_dram_is_not_slowed_down():
    found = even((), (), (), share=0.8, parts=3)
    found.dram_cycles[2] = 0.0
    _, ends = found.spans(np.array([0, 1, 2]))
    assert ends == pytest.approx([160, 160, 100])


def test_a_layer_has_the_whole_dram_again_once_the_other_is_done():
    found = even((), (), share=1.0)
    found.cycles[1], found.dram_cycles[1] = 300.0, 300.0
    _, ends = found.spans(np.array([0, 1]))
    assert ends == pytest.approx([200, 400])


def test_two_parts_that_the_dram_limits_are_no_faster_than_one():
    part, system = twins(words_per_cycle=0.125)
    both = Workload("both", (replace(LIKE, name="left"), replace(LIKE, name="right")), after=((), ()))
    assert cost(both, system).latency_cycles == pytest.approx(cost(both, part).latency_cycles)


def test_of_the_layers_that_can_begin_the_one_with_the_longest_way_to_the_end_does():
    found = even((), (), (1,), (2,))
    _, ends = found.spans(np.array([0, 0, 1, 1]))
    assert list(ends) == [200, 100, 200, 300]


def test_of_layers_with_equally_long_ways_the_first_begins():
    _, ends = even((), ()).spans(np.array([0, 0]))
    assert list(ends) == [100, 200]


def test_layers_that_end_together_but_for_rounding_end_together():
    found = even((), (0,), (), (), (1, 2))
    found.cycles[:] = np.array([[0.1], [0.2], [0.3], [1.0], [5.0]])  # 0.1 + 0.2 is not quite 0.3
    begins, _ = found.spans(np.array([0, 0, 1, 1, 1]))
    assert begins[4] == pytest.approx(0.3)
    assert begins[3] == pytest.approx(5.3)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_schedule_is_that_of_brute_force_for_its_order_and_within_its_bounds(seed):
    found = tasks(seed)
    for places in list(assignments(found))[:: 1 + seed % 3]:
        begins, ends = found.spans(np.array(places))
        parts = range(found.cycles.shape[1])
        order = [tuple(v for v in np.lexsort((ends, begins)) if places[v] == part) for part in parts]
        rows = np.arange(len(places)), np.array(places)
        cycles, dram = found.cycles[rows], found.dram_cycles[rows]
        assert makespan(found, places, order) == pytest.approx(ends.max())
        assert ends.max() >= max(critical(found, cycles), dram.sum()) * (1 - 1e-9)
        assert all(ends.max() >= cycles[np.array(places) == part].sum() * (1 - 1e-9) for part in parts)
        assert ends.max() <= cycles.sum() * (1 + 1e-9)
        assert all(begins[v] >= ends[i] for v, own in enumerate(found.reads) for i in own)


def critical(found, cycles):
    """The longest way through the graph."""
    ends = []
    for own, took in zip(found.reads, cycles, strict=True):
        ends.append(took + max((ends[i] for i in own), default=0.0))
    return max(ends)


def test_assignments_by_latency_are_mostly_the_least_over_all_assignments_and_orders():
    over = []
    for seed in SEEDS:
        found = choices_of(tasks(seed))
        least = min(best_order(found.tasks, places) for places in assignments(found.tasks))
        over.append(found.latency(assign(found, "latency")) / least - 1)
    missed = np.mean(np.array(over) > 1e-9)
    print(f"above the least: {missed:.0%} of {len(over)}, by {np.mean(over):.2%} in the mean, {max(over):.1%} at most")
    assert min(over) > -1e-9
    assert max(over) < 0.15
    assert np.mean(over) < 0.01
    assert missed < 0.15


@pytest.mark.parametrize("seed", SEEDS)
def test_edp_is_the_least_over_all_assignments_of_segments_that_are_tried_in_full(seed):
    found = choices_of(tasks(seed))
    every = np.array(list(assignments(found.tasks)))
    least = (found.tasks.makespans(every) * found.tasks.energies(every)).min()
    places = assign(found, "edp")
    assert found.latency(places) * found.energy(places) == pytest.approx(least)


@pytest.mark.parametrize("goal", ["latency", "edp"])
def test_of_large_segments_what_moves_lead_to_is_close_to_the_best_of_all_assignments(goal, monkeypatch):
    over = []
    for seed in range(30):
        found = choices_of(random_tasks(seed, 9, dram=seed % 3 / 2))
        every = np.array(list(assignments(found.tasks)))
        power = goal == "edp"
        least = (found.tasks.makespans(every) * found.tasks.energies(every) ** power).min()
        monkeypatch.setattr(assignment, "EVERY", 1)
        places = assign(found, goal)
        monkeypatch.undo()
        over.append(found.latency(places) * found.energy(places) ** power / least - 1)
    assert max(over) < 0.15
    assert np.mean(over) < 0.02


def test_what_all_wait_for_parts_a_graph_into_segments():
    assert segments(chain(3)) == [(0, 1), (1, 2), (2, 3)]
    assert segments(((), (), (0, 1), (2,))) == [(0, 2), (2, 3), (3, 4)]
    assert segments(((), (), (0, 1), (0, 1))) == [(0, 2), (2, 4)]
    assert segments(((), (0,), (0,), (1,))) == [(0, 1), (1, 4)]  # nothing waits for layer 2
    assert segments(()) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_graph_takes_as_long_as_its_segments_together(seed):
    found = random_tasks(seed, 12, density=0.5)
    places = np.array([row.argmin() for row in found.cycles])
    apart = sum(found.part(start, stop).makespans(places[None, start:stop])[0] for start, stop in segments(found.reads))
    assert found.makespans(places[None])[0] == pytest.approx(apart)


def test_no_segment_can_be_parted_further():
    for seed in SEEDS:
        reads = random_tasks(seed, 10, density=0.5).reads
        before = []
        for own in reads:
            before.append(set(own).union(*(before[i] for i in own)))
        whole = {cut for cut in range(1, 10) if all(set(range(cut)) <= before[v] for v in range(cut, 10))}
        assert {start for start, _ in segments(reads)} == whole | {0}


@pytest.mark.parametrize("digits", ["333333", "330222", "301223"])
def test_a_cell_runs_its_branches_side_by_side(digits):
    part, system = twins()
    cell = Cell(CellSettings(channels=4, cells=1), Task(1, 8, 10)).workload(from_digits(digits))
    one, two = cost(cell, part), cost(cell, system)
    assert one.latency_cycles / 2 <= two.latency_cycles < 0.95 * one.latency_cycles
    assert two.energy_pj == pytest.approx(one.energy_pj)
    assert two.interval_cycles <= two.latency_cycles
    assert spans(two.layers, cell.reads, system)[1].max() == pytest.approx(two.latency_cycles)


def test_the_interval_shares_layers_out_so_that_branches_still_run_side_by_side():
    part, system = twins()
    names = ("stem", "left", "right", "out")
    work = Workload("diamond", tuple(replace(LIKE, name=x) for x in names), after=((), (0,), (0,), (1, 2)))
    found = cost(work, system, assign="interval")
    assert found.interval_cycles == cost(work, part).latency_cycles / 2
    assert found.latency_cycles == cost(work, part).latency_cycles * 3 / 4


def test_a_chain_that_is_shared_out_stays_on_a_part_as_long_as_it_may():
    _, system = twins()
    row = Workload("row", tuple(replace(LIKE, name=name) for name in "wxyz"))
    assert [x.part for x in cost(row, system, assign="interval").layers] == ["a", "a", "b", "b"]


def test_segments_of_the_same_layers_that_branch_otherwise_are_assigned_otherwise():
    """First four side by side, of 300, 100, 100 and 100 cycles; then two of the short ones wait for the long one."""
    reads = ((), (), (), (), (0, 1, 2, 3), (4,), (5,), (5,), (4,), (6, 7, 8))
    kinds = np.array([0, 1, 1, 1, 2, 0, 1, 1, 1, 2])
    cycles = np.repeat([[300.0], [100.0], [10.0]], 2, axis=1)
    choices = Choices(kinds, reads, cycles, np.ones((3, 2)), np.zeros((3, 2)))
    assert choices.latency(assign(choices, "latency")) == 300 + 10 + 400 + 10


def test_a_chain_takes_the_sum_by_kinds_to_the_last_bit():
    cycles = np.array([[0.3, 0.3], [0.7, 0.7]])
    choices = Choices(np.array([0, 1, 0]), chain(3), cycles, np.ones((2, 2)), np.zeros((2, 2)))
    assert choices.latency(np.array([0, 1, 0])) == 2 * 0.3 + 0.7


def test_no_part_is_chosen_that_cannot_run_a_layer():
    for seed in SEEDS:
        found = choices_of(tasks(seed))
        for goal in ("latency", "energy", "edp", "interval"):
            places = assign(found, goal)
            assert math.isfinite(found.cycles[np.arange(len(places)), places].sum())
