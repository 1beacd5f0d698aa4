"""Operands of other widths than the machine's: memories pack them, multipliers may scale, none takes wider ones."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from small_machines import three_levels

from coevo.accelerator import load_template, technology
from coevo.cost import evaluate_mapping
from coevo.cost.analytical import AnalyticalCost, AnalyticalSettings
from coevo.cost.batch import batch_of
from coevo.cost.mapper import find_mapping, mapping_of
from coevo.cost.precision import mac_energy_pj, too_wide
from coevo.design import Cost
from coevo.library import list_data
from coevo.networks import build_family, load_space
from coevo.protocols import Task
from coevo.workload import Layer, Workload

CONV = Layer("conv", "conv", m=16, c=8, p=6, q=6, r=3, s=3)
NARROW = replace(CONV, bits=(4, 8, None))


def cost_of(workload, machine, objective="edp") -> Cost:
    (cost,) = AnalyticalCost(AnalyticalSettings(objective=objective)).evaluate([(workload, machine)])
    return cost


def network(weights, activations):
    """The smallest network of digits_bits at given widths."""
    family = build_family(load_space("digits_bits"), Task(1, 8, 10))
    first = {gene.name: gene.choices[0] for gene in family.genes}
    return family.workload(first | {"bits.weights": weights, "bits.activations": activations})


def test_what_a_layer_leaves_open_is_the_machines() -> None:
    machine = replace(three_levels(), bits=(16, 12, 32))
    assert machine.bits_of(CONV) == (16, 12, 32)
    assert machine.bits_of(NARROW) == (4, 8, 32)
    assert mac_energy_pj(CONV, machine) == mac_energy_pj(NARROW, machine) == machine.mac.energy_pj


def test_a_scalable_multiplier_follows_the_curve_of_plain_ones() -> None:
    machine = three_levels()
    scalable = replace(machine, mac=replace(machine.mac, precision_scalable=True))
    ratio = technology.mac(4, 8, 65).energy_pj / technology.mac(16, 16, 65).energy_pj
    assert mac_energy_pj(NARROW, scalable) == pytest.approx(machine.mac.energy_pj * ratio)
    assert mac_energy_pj(CONV, scalable) == machine.mac.energy_pj
    assert mac_energy_pj(replace(CONV, bits=(16, 16, None)), scalable) == pytest.approx(machine.mac.energy_pj)


def test_the_mapper_a_mapping_and_a_batch_agree_on_narrow_operands() -> None:
    machine = three_levels()
    machine = replace(machine, mac=replace(machine.mac, precision_scalable=True))
    found = find_mapping(NARROW, machine, "energy")
    assert found is not None
    cost = evaluate_mapping(NARROW, machine, mapping_of(machine, True, found))
    assert found.energy_pj == pytest.approx(cost.total_energy_pj, rel=1e-9)
    assert cost.mac_energy_pj == pytest.approx(NARROW.macs * mac_energy_pj(NARROW, machine))
    batch = batch_of([(NARROW, machine), (CONV, machine)])
    assert batch.machines.mac_energy_pj.ravel().tolist() == [mac_energy_pj(NARROW, machine), machine.mac.energy_pj]


def test_wider_operands_than_the_multipliers_are_refused_with_the_widths() -> None:
    wide, machine = replace(CONV, bits=(16, 32, None)), three_levels()
    cost = cost_of(Workload("wide", (wide,)), machine)
    assert cost.violation == 1
    assert "its inputs have 32 bits, the multipliers of" in cost.reason and "take 16 (word_bits)" in cost.reason
    found = find_mapping(CONV, machine)
    assert found is not None
    with pytest.raises(ValueError, match="layer conv: its inputs have 32 bits"):
        evaluate_mapping(wide, machine, mapping_of(machine, True, found))
    pool = Layer("pool", "pool", g=4, p=2, q=2, r=2, s=2, bits=(None, 32, None))
    assert too_wide(pool, machine) is None, "a data mover multiplies nothing"
    assert too_wide(replace(CONV, bits=(16, 16, 32)), machine) is None, "sums may be as wide as they like"


@pytest.mark.parametrize("name", list_data("accelerators"))
def test_four_bits_cost_less_energy_than_eight_on_every_shipped_machine(name: str) -> None:
    machine = load_template(name).build()
    narrow, wide = (cost_of(network(bits, bits), machine, "energy") for bits in (4, 8))
    assert narrow.violation == wide.violation == 0
    assert narrow.energy_pj < wide.energy_pj


@pytest.mark.parametrize("objective", ["energy", "latency", "edp"])
def test_more_bits_never_cost_less(objective: str) -> None:
    def value(cost: Cost) -> float:
        return sum(
            (x.cycles if objective != "energy" else 1) * (x.total_energy_pj if objective != "latency" else 1)
            for x in cost.layers
        )

    machine = load_template("eyeriss").build({"mac.precision_scalable": True})
    costs = {(w, a): value(cost_of(network(w, a), machine, objective)) for w in (2, 6, 8) for a in (3, 4, 8)}
    for (weights, activations), cost in costs.items():
        for (other_weights, other_activations), other in costs.items():
            if weights <= other_weights and activations <= other_activations:
                assert cost <= other * (1 + 2e-3), "the mapper ties within 0.1 %"
    assert costs[2, 3] < costs[8, 8]


def test_a_machine_of_narrower_words_is_smaller_and_its_multipliers_take_less() -> None:
    template = load_template("eyeriss", vary={"word_bits.weights": {"any_of": [4, 8, 16]}})
    machines = [template.build({"word_bits.weights": bits, "word_bits.inputs": 8}) for bits in (4, 8, 16)]
    for smaller, larger in pairwise(machines):
        assert smaller.area_mm2 < larger.area_mm2
        assert smaller.mac.energy_pj < larger.mac.energy_pj
        assert smaller.mac.area_mm2 < larger.mac.area_mm2
    assert [machine.bits for machine in machines] == [(4, 8, 16), (8, 8, 16), (16, 8, 16)]
    assert cost_of(network(8, 8), machines[0]).violation > 0
    fits = [cost_of(network(4, 8), machine).energy_pj for machine in machines]
    assert fits == sorted(fits)


def test_less_traffic_of_narrow_words_is_faster_where_dram_binds() -> None:
    machine = load_template("tiny").build()
    linear = Layer("linear", "linear", m=64, c=256)
    cycles = [
        cost_of(Workload("l", (replace(linear, bits=(bits, 8, None)),)), machine, "latency").latency_cycles
        for bits in (2, 4, 8)
    ]
    assert cycles == sorted(cycles)
    assert cycles[0] < 0.5 * cycles[2]
