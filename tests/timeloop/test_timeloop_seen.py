"""A design as Timeloop sees it: what of a run's own figures its conventions take away, and why."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml
from timeloop_machines import machine

from coevo.accelerator import load_template
from coevo.cost.analytical import AnalyticalCost, AnalyticalSettings
from coevo.design import Design, Evaluation, FrontDesign, Network
from coevo.timeloop import flat
from coevo.timeloop.conventions import machine_seen
from coevo.verify.folder import timeloop_files
from coevo.verify.seen import seen_designs
from coevo.workload import Layer, Workload

CHAIN = Workload(
    "chain",
    (
        Layer("first", "conv", m=8, c=4, p=8, q=8),
        Layer("second", "conv", m=8, c=8, p=8, q=8, follows=True),
        Layer("third", "conv", m=8, c=8, p=8, q=8, follows=True),
        Layer("pool", "pool", g=8, p=4, q=4, r=2, s=2, stride=(2, 2), follows=True),
    ),
)


def found(built, workload=CHAIN, **settings):
    (cost,) = AnalyticalCost(AnalyticalSettings(**settings)).evaluate([(workload, built)])
    assert cost.violation == 0
    evaluation = Evaluation("0123456789", (), {}, {}, (), 0.0, "", 0)
    return FrontDesign(evaluation, Design((), Network("none", {}), built), workload, (cost,), None)


def seen(design):
    (one,) = seen_designs(design)
    return one


def test_layers_that_are_alike_are_seen_once_and_movers_not_at_all():
    one = seen(found(machine()))
    assert [layer.names for layer in one.layers] == [("first",), ("second", "third")]
    assert [mover.layer.name for mover in one.movers] == ["pool"]
    assert all(layer.remarks == () for layer in one.layers)
    assert all(layer.ours.cycles == layer.run.cycles for layer in one.layers)


def test_what_a_run_keeps_on_chip_passes_dram_for_timeloop():
    one = seen(found(machine(), keep_on_chip=True))
    kept = [layer for layer in one.layers if layer.run.layer.kept]
    assert kept, "the run keeps something"
    for layer in kept:
        assert layer.form.layer.kept == ()
        assert layer.remarks[0].startswith("the run keeps its ")
        assert layer.ours.energy_pj[0].sum() > layer.run.energy_pj[0].sum()
        assert flat.model_input(layer.form)["mapping.yaml"]


def test_a_mapping_that_does_not_serve_is_searched_anew():
    design = found(machine())
    other = Design((), Network("none", {}), load_template("tiny").build({}))
    one = seen(replace(design, design=other))  # with the costs, and so the mappings, of another machine
    assert all("searched anew, since the run's does not serve" in layer.remarks[-1] for layer in one.layers)
    assert all(layer.form.mapping == layer.ours.mapping for layer in one.layers)


def test_a_run_that_gives_no_layers_is_judged_by_our_own_mappings():
    design = found(machine())
    bare = replace(design, costs=(replace(design.cost, detail=tuple),))
    one, same = seen(bare), seen(design)
    assert [x.ours.cycles for x in one.layers] == [x.ours.cycles for x in same.layers]
    assert all(x.remarks[0].startswith("the run's cost model says nothing of layers") for x in one.layers)


def test_filling_and_draining_the_array_is_no_cost_to_timeloop():
    built = load_template("gemmini").build({})
    one = seen(found(built))
    slower = [layer for layer in one.layers if layer.run.cycles > layer.ours.cycles]
    assert slower
    assert all("filling and draining" in layer.remarks[0] for layer in slower)


SYSTEM = """
schema: 1
name: pair
description: Two unlike parts, one at half the clock.
technology_nm: 65
clock_mhz: 200
word_bits: 16
dram: {words_per_cycle: 64}
parts:
  rows: {template: eyeriss}
  pixels: {template: shidiannao, set: {clock_mhz: 100}}
"""


def test_of_several_parts_each_is_seen_with_the_layers_that_it_runs_in_its_own_cycles(tmp_path):
    (tmp_path / "pair.yaml").write_text(SYSTEM)
    built = load_template(str(tmp_path / "pair.yaml")).build({})
    design = found(built, assign="interval")
    parts = dict(built.parts)
    rows, pixels = seen_designs(design)
    assert [(one.part, one.label) for one in (rows, pixels)] == [
        ("rows", "0123456789, rows"), ("pixels", "0123456789, pixels")
    ]  # fmt: skip
    names = {name: one.part for one in (rows, pixels) for layer in one.layers for name in layer.names}
    names |= {mover.layer.name: one.part for one in (rows, pixels) for mover in one.movers}
    assert names == {x.layer.name: x.part for x in design.cost.layers}
    for one in (rows, pixels):
        assert one.machine == machine_seen(parts[one.part])
        mine = [x for x in design.cost.layers if x.part == one.part]
        scale = built.clock_mhz / parts[one.part].clock_mhz
        assert one.run.latency_cycles * scale == sum(x.cycles for x in mine)
        assert one.run.energy_pj == pytest.approx(sum(x.total_energy_pj for x in mine))
        for layer in one.layers:
            (own, *_) = [x for x in mine if x.layer.name == layer.name]
            assert layer.ours.cycles * scale == own.cycles
            assert layer.ours.total_energy_pj == pytest.approx(own.total_energy_pj)
            assert layer.remarks == ()


def test_a_part_that_runs_nothing_is_not_seen(tmp_path):
    (tmp_path / "pair.yaml").write_text(SYSTEM)
    design = found(load_template(str(tmp_path / "pair.yaml")).build({}), assign="energy")
    used = {x.part for x in design.cost.layers}
    assert used < {"rows", "pixels"}
    assert {one.part for one in seen_designs(design)} == used


def test_every_part_has_a_folder_of_its_own(tmp_path):
    (tmp_path / "pair.yaml").write_text(SYSTEM)
    built = load_template(str(tmp_path / "pair.yaml")).build({})
    files = timeloop_files(SimpleNamespace(design=found(built, assign="interval")))
    assert {path.split("/")[1] for path in files} == {"rows", "pixels"}
    for part, clock in (("rows", "200"), ("pixels", "100")):
        expected = yaml.safe_load(files[f"timeloop/{part}/expected.yaml"])
        assert (expected["part"], expected["machine"]) == (part, dict(built.parts)[part].name)
        assert f"layers that the part {part} runs" in files[f"timeloop/{part}/README.md"]
        assert f"the part's clock, {clock} MHz" in files[f"timeloop/{part}/README.md"]
        assert all(f"timeloop/{part}/flat/{x['folder']}/model/mapping.yaml" in files for x in expected["layers"])


def test_layers_whose_names_no_file_system_has_get_folders_of_their_own():
    names = ("a/b", "a b", "..", "ok")
    work = Workload("odd", tuple(Layer(name, "conv", m=i + 2, c=2, p=4) for i, name in enumerate(names)))
    files = timeloop_files(SimpleNamespace(design=found(machine(), work)))
    folders = sorted({path.split("/")[2] for path in files if path.startswith("timeloop/flat/")})
    assert folders == ["a_b", "a_b_2", "layer", "ok"]


def test_a_layer_whose_cycles_or_energy_differ_is_remarked_on_and_no_other():
    built = load_template("gemmini").build({})
    design = found(built)
    unfilled = tuple(layer.ours for layer in seen(design).layers)  # under Timeloop's conventions already

    def remarks(layer):
        cost = replace(design.cost, detail=lambda: (layer, *unfilled[1:]))
        return seen(replace(design, costs=(cost,))).layers[0].remarks

    first = unfilled[0]
    said = ("the run counts cycles for filling and draining the array",)
    assert remarks(first) == ()
    assert remarks(replace(first, cycles=first.cycles + 1)) == said, "of cycles alone"
    assert remarks(replace(first, energy_pj=2 * first.energy_pj)) == said, "of energy alone"
