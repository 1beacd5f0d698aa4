"""Networks of fan-outs, by hand: hops and routers, multicast, what neighbours pass on, sums that travel twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_machines import ALL, memory, three_levels

from coevo.accelerator.machine import Accelerator, Interconnect, Mac
from coevo.cost import evaluate_mapping
from coevo.cost.detail import analyse
from coevo.mapping import LevelMapping, Mapping
from coevo.workload import Layer

PLAIN = Interconnect()


def machine(fanout=(1, 1), network=PLAIN, **inner) -> Accelerator:
    """DRAM, and a buffer for every operand in each lane of its fan-out; bits and words are alike."""
    return replace(
        three_levels(),
        bits=(1, 1, 1),
        mac=Mac(0.0, 0.0),
        memories=(
            memory("dram", "dram", ALL, fanout=fanout, word_bits=1, interconnect=network),
            memory("buffer", "sram", ALL, word_bits=1, **inner),
        ),
    )


def network_energy(layer, mapping, fanout, **figures):
    """Energy by operand that a network costs, beside what the same machine costs without."""
    free = evaluate_mapping(layer, machine(fanout), mapping)
    paid = evaluate_mapping(layer, machine(fanout, Interconnect(**figures)), mapping)
    assert paid.total_energy_pj - free.total_energy_pj == pytest.approx((paid.energy_pj - free.energy_pj).sum())
    assert (paid.energy_pj >= free.energy_pj).all() and paid.cycles == free.cycles
    return (paid.energy_pj - free.energy_pj)[0].tolist()


FOUR_BY_TWO = Mapping((LevelMapping("dram", (("p", 5),), x=(("m", 4),), y=(("c", 2),)), LevelMapping("buffer")))
"""Columns m, rows c."""


def test_a_word_travels_right_to_its_farthest_column_and_up_and_down_from_the_middle():
    # 8 weights stay, one for each lane: columns 0..3, rows half a hop above or below the middle of the left edge.
    # 5 x 2 inputs, each to the four columns of its row: 3 hops right, then half a hop in each of the four columns.
    # 5 x 4 outputs, each from the two rows of its column: right, and half a hop both ways.
    layer = Layer("l", "conv", m=4, c=2, p=5)
    hops = network_energy(layer, FOUR_BY_TWO, (4, 2), hop_energy_pj=1.0)
    assert hops == [2 * (0 + 1 + 2 + 3) + 8 * 0.5, 5 * 2 * (3 + 4 * 0.5), 5 * ((0 + 1 + 2 + 3) + 4 * 1.0)]


def test_every_word_passes_one_router_and_one_more_for_every_whole_hop_of_its_kind():
    # Average hops: weights 2, inputs 5, outputs 2.5.
    layer = Layer("l", "conv", m=4, c=2, p=5)
    routers = network_energy(layer, FOUR_BY_TWO, (4, 2), router_energy_pj=1.0)
    assert routers == [8 * 3, 10 * 6, 20 * 3]


def test_a_fan_out_that_is_not_used_costs_a_router_and_no_hop():
    layer = Layer("l", "conv", p=5)
    mapping = Mapping((LevelMapping("dram", (("p", 5),)), LevelMapping("buffer")))
    assert network_energy(layer, mapping, (4, 4), hop_energy_pj=1.0) == [0, 0, 0]
    assert network_energy(layer, mapping, (4, 4), router_energy_pj=1.0) == [1, 5, 5]


def test_where_sums_cannot_be_added_they_are_carried_down_again_except_the_first_time():
    layer = Layer("l", "conv", c=3, p=5)
    mapping = Mapping((LevelMapping("dram", (("c", 3), ("p", 5))), LevelMapping("buffer")))
    added = analyse(layer, machine(), mapping).carried[0, "outputs"]
    twice = analyse(layer, machine(network=Interconnect(reduces=False)), mapping).carried[0, "outputs"]
    assert added.ingresses == 3 * 5
    assert twice.ingresses == 2 * 3 * 5 - 5


def test_sums_of_rows_are_added_on_the_way():
    layer = Layer("l", "conv", m=4, c=2, p=5)
    carried = analyse(layer, machine((4, 2)), FOUR_BY_TWO).carried
    assert carried[0, "outputs"].reductions == 5 * 4  # two rows into one, for every pixel and filter
    assert carried[0, "inputs"].ingresses == 5 * 2 and carried[0, "weights"].ingresses == 8


ROW_OF_THREE = Mapping((LevelMapping("dram", (("r", 4),), x=(("p", 3),)), LevelMapping("buffer")))
"""Lane i needs input row i + t at step t: what its right neighbour had at step t - 1."""


def test_neighbours_pass_on_what_they_had_a_step_ago():
    layer = Layer("l", "conv", p=3, r=4)
    plain = evaluate_mapping(layer, machine((3, 1)), ROW_OF_THREE)
    linked = evaluate_mapping(layer, machine((3, 1), Interconnect(links=True)), ROW_OF_THREE)
    assert plain.reads[0].tolist() == [4, 12, 0]
    assert linked.reads[0].tolist() == [4, 3 + 3, 0]  # at first all three lanes, then only the last one
    assert linked.reads[1, 1] - plain.reads[1, 1] == 3 * 2  # two lanes a step read for their neighbour
    assert (linked.writes == plain.writes).all()  # every lane is filled as before, by whomever
    assert linked.cycles == plain.cycles


def test_passing_a_word_on_costs_a_hop_and_two_routers():
    layer = Layer("l", "conv", p=3, r=4)
    carried = analyse(layer, machine((3, 1), Interconnect(1.0, 10.0, links=True)), ROW_OF_THREE).carried[0, "inputs"]
    assert (carried.ingresses, carried.passed, carried.lanes) == (6, 6, 3)
    # first step: lanes 0, 1, 2 hops away, on average 1; then three words to lane 2, two hops away
    assert carried.energy_pj == (3 + 3 * 2 + 6) * 1.0 + (3 * 2 + 3 * 3 + 6 * 2) * 10.0


def test_lanes_two_rows_apart_are_not_neighbours():
    layer = Layer("l", "conv", p=3, r=4)
    mapping = Mapping((LevelMapping("dram", (("r", 4),), y=(("p", 3),)), LevelMapping("buffer")))
    linked = Interconnect(links=True)
    assert evaluate_mapping(layer, machine((1, 3), linked), mapping).reads[0, 1] == 6
    # in a fan-out two columns wide, lane 1 stands beside lane 0 and lane 2 below lane 0: only 0 gets 1's word
    assert evaluate_mapping(layer, machine((2, 3), linked), mapping).reads[0, 1] == 3 + 3 * 2


def test_a_child_that_lets_an_operand_pass_gets_none_from_its_neighbours():
    layer = Layer("l", "conv", p=3, r=4)
    bare = replace(machine((3, 1), Interconnect(links=True)).memories[1], holds=("weights", "outputs"))
    outer = machine((3, 1), Interconnect(links=True))
    without = replace(outer, memories=(outer.memories[0], bare))
    carried = analyse(layer, without, ROW_OF_THREE).carried[0, "inputs"]
    assert carried.passed == 0


def test_instances_that_share_an_access_pay_for_it_once():
    layer = Layer("l", "conv", m=4, c=2, p=5)
    alone = evaluate_mapping(layer, machine((4, 2)), FOUR_BY_TWO)
    shared = evaluate_mapping(layer, machine((4, 2), cluster_size=4), FOUR_BY_TWO)
    assert (shared.energy_pj[1] == alone.energy_pj[1] / 4).all()
    assert (shared.energy_pj[0] == alone.energy_pj[0]).all() and (shared.reads == alone.reads).all()


def test_updates_may_cost_other_than_fills():
    layer = Layer("l", "conv", c=3, p=5)
    mapping = Mapping((LevelMapping("dram", (("c", 3), ("p", 5))), LevelMapping("buffer")))
    cost = evaluate_mapping(layer, machine(update_energy_pj=7.0, read_energy_pj=0.0, write_energy_pj=2.0), mapping)
    assert cost.energy_pj[1].tolist() == [3 * 2.0, 15 * 2.0, 15 * 7.0 + 10 * 2.0]  # 10 sums come back
