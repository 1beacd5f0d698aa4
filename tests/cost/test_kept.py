"""Activations that stay on chip: what DRAM no longer sees, what room that takes, and that it is chosen best."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from small_machines import three_levels

from coevo.accelerator import load_template
from coevo.cost import evaluate_mapping
from coevo.cost.analytical import AnalyticalCost, AnalyticalSettings
from coevo.cost.kept import best_chain, keeping_machine
from coevo.cost.mapper import find_mapping
from coevo.networks.graph import INPUT, Add, Conv, Graph, Pool
from coevo.networks.lowering import lower
from coevo.workload import Layer, Workload

CHAIN = Workload(
    "chain",
    (
        Layer("first", "conv", m=8, c=4, p=4, q=4),
        Layer("second", "conv", m=4, c=8, p=4, q=4, follows=True),
        Layer("third", "conv", m=16, c=4, p=4, q=4, follows=True),
    ),
)


def cost_of(workload, machine, **settings):
    (cost,) = AnalyticalCost(AnalyticalSettings(**settings)).evaluate([(workload, machine)])
    assert cost.violation == 0
    return cost


def test_all_activations_pass_dram_unless_asked_otherwise():
    cost = cost_of(CHAIN, three_levels(2000))
    assert all(x.layer.kept == () for x in cost.layers)
    assert [x.reads[0, 1] for x in cost.layers] == [layer.words[1] for layer in CHAIN.layers]


def test_dram_sees_the_first_inputs_the_last_outputs_and_the_weights_alone():
    first, second, third = cost_of(CHAIN, three_levels(2000), keep_on_chip=True).layers
    assert (first.layer.kept, second.layer.kept, third.layer.kept) == (("outputs",), ("inputs", "outputs"), ("inputs",))
    weights = [layer.words[0] for layer in CHAIN.layers]
    assert [x.reads[0].tolist() for x in (first, second, third)] == [
        [weights[0], CHAIN.layers[0].words[1], 0],
        [weights[1], 0, 0],
        [weights[2], 0, 0],
    ]
    assert first.writes[0, 2] == second.writes[0, 2] == 0 and third.writes[0, 2] == CHAIN.layers[2].words[2]


def test_the_energy_is_that_of_the_counts():
    """By hand: one word of DRAM takes 200 pJ, of the buffer 6, of a register 1; an operation 1."""
    for x in cost_of(CHAIN, three_levels(2000), keep_on_chip=True).layers:
        per_word = [200.0, 6.0, 1.0, 1.0, 1.0]
        counted = (
            sum(e * float(r.sum() + w.sum()) for e, r, w in zip(per_word, x.reads, x.writes, strict=True))
            + x.layer.operations
        )
        assert math.isclose(x.total_energy_pj, counted, rel_tol=1e-12)


def test_what_is_kept_takes_room_from_the_tiles():
    tight = three_levels(150)  # words; the first outputs are 128
    for x in cost_of(CHAIN, tight, keep_on_chip=True).layers:
        kept = sum(x.layer.words[1 if operand == "inputs" else 2] for operand in x.layer.kept)
        assert x.tile_words[1].sum() <= 150
        assert kept <= x.tile_words[1].sum() or kept == 0
    roomy = cost_of(CHAIN, three_levels(2000), keep_on_chip=True)
    assert cost_of(CHAIN, tight, keep_on_chip=True).energy_pj > roomy.energy_pj


def test_nothing_is_kept_where_it_does_not_fit_or_another_layer_reads_it_too():
    assert not any(x.layer.kept for x in cost_of(CHAIN, three_levels(60), keep_on_chip=True).layers)
    apart = Workload("apart", tuple(replace(layer, follows=False) for layer in CHAIN.layers))
    assert not any(x.layer.kept for x in cost_of(apart, three_levels(2000), keep_on_chip=True).layers)


@pytest.mark.parametrize("objective", ["edp", "latency", "energy"])
@pytest.mark.parametrize("template", ["eyeriss", "simba", "tpu", "tiny", "nvdla"])
def test_what_is_kept_makes_the_sum_of_the_objectives_least(template, objective):
    machine = load_template(template).build({})
    kept = cost_of(CHAIN, machine, objective=objective, keep_on_chip=True)
    plain = cost_of(CHAIN, machine, objective=objective)
    power = {"edp": (1, 1), "latency": (1, 0), "energy": (0, 1)}[objective]

    def total(layers):
        return sum(x.cycles ** power[0] * x.total_energy_pj ** power[1] for x in layers)

    assert total(kept.layers) <= total(plain.layers) * (1 + 1e-9)
    assert math.isclose(kept.energy_pj, sum(x.total_energy_pj for x in kept.layers), rel_tol=1e-12)
    assert kept.latency_cycles == sum(x.cycles for x in kept.layers)


def test_the_chain_that_is_chosen_is_the_best_of_all_chains():
    cases = [(), ("inputs",), ("outputs",), ("inputs", "outputs")]
    values = [
        {(): 5.0, ("outputs",): 9.0},
        dict(zip(cases, (4.0, 1.0, 3.0, 6.0), strict=True)),
        {(): 7.0, ("inputs",): 2.0},
    ]
    valid = [
        chain
        for chain in itertools.product(*values)
        if all(("outputs" in a) == ("inputs" in b) for a, b in itertools.pairwise(chain))
    ]
    assert best_chain(values) == list(
        min(valid, key=lambda chain: sum(v[k] for v, k in zip(values, chain, strict=True)))
    )


def test_a_mapping_with_what_it_keeps_is_scored_the_same_again():
    machine = load_template("eyeriss").build({})
    for x in cost_of(CHAIN, machine, keep_on_chip=True).layers:
        again = evaluate_mapping(x.layer, machine, x.mapping)
        assert (again.cycles, again.total_energy_pj) == (x.cycles, x.total_energy_pj)


def test_kept_operands_and_tiles_share_the_port_of_their_buffer():
    machine = three_levels(2000)
    slow = replace(machine, memories=tuple(replace(m, words_per_cycle=2.0) if m.name == "buffer" else m
                                           for m in machine.memories))  # fmt: skip
    for x in cost_of(CHAIN, slow, keep_on_chip=True).layers:
        assert x.cycles >= (x.reads[1].sum() + x.writes[1].sum()) / 2


def test_a_layer_that_cannot_keep_its_outputs_says_why():
    machine, layer = three_levels(60), replace(CHAIN.layers[0], kept=("outputs",))
    assert keeping_machine(layer, machine) is None
    mapping = cost_of(Workload("one", CHAIN.layers[:1]), machine).layers[0].mapping
    with pytest.raises(
        ValueError, match="first cannot keep its outputs on chip: it takes 256 bytes, and buffer has too"
    ):
        evaluate_mapping(layer, machine, mapping)


def test_a_layer_follows_the_one_before_if_nothing_else_reads_what_it_reads():
    nodes = (
        Conv("a", INPUT, 4),
        Conv("b", "a", 4),
        Conv("c", "b", 4),
        Add("sum", ("b", "c")),
        Pool("pool", "sum", "avg", 2, 2),
    )
    follows = {layer.name: layer.follows for layer in lower(Graph("g", (4, 8, 8), nodes)).layers}
    assert follows == {"a": False, "b": True, "c": False, "sum": False, "pool": True}


def test_the_mapper_knows_nothing_of_what_is_kept():
    layer = CHAIN.layers[0]
    assert (
        find_mapping(layer, three_levels()).energy_pj
        == find_mapping(replace(layer, follows=True), three_levels()).energy_pj
    )
