"""ZigZag as cost model, really run, on layers small enough to take seconds."""

from __future__ import annotations

import math

import pytest
from small_machines import three_levels

from coevo.accelerator import System, load_template
from coevo.cost.analytical import AnalyticalCost
from coevo.cost.zigzag import ZigzagCost, ZigzagSettings, score
from coevo.cost.zigzag_input import accelerator_data, axes_of, mapping_data, workload_data
from coevo.errors import BackendError, SpecError
from coevo.library import list_data, list_plugins
from coevo.workload import Layer, Workload

ONE_CHIP = [name for name in list_data("accelerators") if not isinstance(load_template(name).build({}), System)]
"""Templates of one accelerator."""

LAYER = Layer("a", "conv", m=8, c=4, p=4, q=4)
NET = Workload(
    "net", (LAYER, Layer("pool", "pool", g=8, p=2, q=2, r=2, s=2), Layer("again", "conv", m=8, c=4, p=4, q=4))
)
FAST = ZigzagSettings(lpf_limit=3, spatial_mappings=1)


def test_a_run_without_the_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "zigzag", None)
    with pytest.raises(BackendError, match=r'needs the package zigzag-dse.*pip install "coevo\[zigzag\]"'):
        ZigzagCost().evaluate([(NET, three_levels())])


def test_the_cost_models_are_listed_without_their_packages():
    assert {"analytical", "timeloop", "zigzag"} <= set(list_plugins("cost"))


def test_a_layer_for_which_zigzag_finds_no_loops_makes_the_design_infeasible_and_any_other_failure_is_told(monkeypatch):
    failures = {"NoValidLoopOrderingFoundException": "no order", "KeyError": "oh"}

    def fail(name):
        def search(*_):
            raise type(name, (Exception,), {})(failures[name])

        monkeypatch.setattr("coevo.cost.zigzag.search", search)

    fail("NoValidLoopOrderingFoundException")
    assert score(LAYER, three_levels(), ZigzagSettings()) is None
    fail("KeyError")
    with pytest.raises(BackendError, match=r"layer a on .*: ZigZag failed: KeyError: oh"):
        score(LAYER, three_levels(), ZigzagSettings())


def test_a_machine_of_several_parts_is_refused_in_one_line():
    with pytest.raises(SpecError, match="nvdla_shidiannao is several accelerators on one chip, which ZigZag is not"):
        ZigzagCost().evaluate([(NET, load_template("nvdla_shidiannao").build({}))])


@pytest.mark.parametrize("template", ONE_CHIP)
def test_every_templates_machine_can_be_told(template):
    machine = load_template(template).build({})
    data, axes = accelerator_data(machine, LAYER), axes_of(machine)
    assert math.prod(axis.size for axis in axes) == machine.pes
    assert list(data["memories"]) == [memory.name for memory in reversed(machine.memories)], "innermost first"
    for memory, count in zip(machine.memories, machine.instances, strict=True):
        told = data["memories"][memory.name]
        served = math.prod(axis.size for axis in axes if axis.name in told["served_dimensions"])
        assert machine.pes == count * served, "an instance serves all multipliers below it"
        read = next(port for port in told["ports"] if "read" in port["type"])
        per_bit = told["r_cost"] / read["bandwidth_max"]
        assert per_bit == pytest.approx(memory.read_energy_pj / (memory.words_per_access * memory.word_bits))
    (mapping,) = mapping_data(machine)
    assert set(mapping["spatial_mapping_hint"]) == {axis.name for axis in axes}


def test_a_layer_keeps_stride_dilation_and_groups():
    layer = Layer("l", "conv", g=3, m=4, c=5, p=6, q=7, r=2, s=3, stride=(2, 3), dilation=(4, 5))
    data = workload_data(layer, (8, 8, 16))
    assert data["dimension_relations"] == ["ix=3*ox+5*fx", "iy=2*oy+4*fy"]
    sizes = dict(zip(data["loop_dims"], data["loop_sizes"], strict=True))
    assert sizes == {"B": 1, "K": 4, "G": 3, "OX": 7, "OY": 6, "C": 5, "FX": 3, "FY": 2}


def test_zigzags_energy_of_a_pointwise_layer_is_near_ours():
    pytest.importorskip("zigzag")
    machine = three_levels()
    (theirs,) = ZigzagCost(FAST).evaluate([(NET, machine)])
    (ours,) = AnalyticalCost().evaluate([(Workload("a", (LAYER, LAYER)), machine)])
    assert [x.layer.name for x in theirs.layers] == ["a", "again"], "the pooling moves data, and is left out"
    assert theirs.latency_cycles == 2 * theirs.layers[0].cycles
    assert theirs.layers[0].mac_energy_pj == LAYER.macs * machine.mac.energy_pj
    # Both must move every word once from and to DRAM; what else they do is each its own mapping.
    dram = theirs.layers[0].energy_pj[0].sum()
    assert dram >= 200.0 * sum(LAYER.words)
    assert theirs.energy_pj == pytest.approx(ours.energy_pj, rel=0.1)
    assert theirs.layers[0].cycles >= LAYER.macs / machine.pes
    assert theirs.area_mm2 == machine.area_mm2


def test_a_layer_that_no_memory_can_hold_is_a_violation():
    pytest.importorskip("zigzag")
    wide = Layer("wide", "conv", m=2, c=2, bits=(32, 32, None))
    (cost,) = ZigzagCost(FAST).evaluate([(Workload("net", (wide,)), three_levels())])
    assert cost.violation > 0
    assert "layer wide" in cost.reason


def test_what_zigzag_raises_is_told_with_layer_and_machine(monkeypatch):
    def fail(*_):
        raise KeyError("OX")

    monkeypatch.setattr("coevo.cost.zigzag.search", fail)
    with pytest.raises(BackendError, match=r"^layer a on three_levels: ZigZag failed: KeyError: 'OX'$"):
        score(LAYER, three_levels(), FAST)
