"""What is written for Timeloop, held against files that a real Timeloop read and what it said of them.

`recorded/` holds inputs and the ``stats.txt`` of ``timeloop-model`` and ``timeloop-mapper`` (NVlabs/timeloop, commit
4cf6d4c, classic nest analysis), the v4 files by way of timeloopfe (timeloop-python, commit b8aaf2c).
"""

from __future__ import annotations

import math
import random
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from timeloop_machines import CASES, machine, mapping_of

from coevo.accelerator import load_template
from coevo.cost import evaluate_mapping
from coevo.cost.analytical import AnalyticalCost
from coevo.errors import SpecError
from coevo.library import list_data
from coevo.mapping import Mapping
from coevo.timeloop import flat, v4
from coevo.timeloop.conventions import layers_seen, machine_seen
from coevo.timeloop.form import Form
from coevo.timeloop.process import Timeloop
from coevo.timeloop.stats import read_mapping, read_stats
from coevo.timeloop.text import yaml_text
from coevo.verify.seen import form_of
from coevo.workload import Layer, Workload

RECORDED = Path(__file__).parent / "recorded"
NAMES = ["dram", "buffer", "weight"]


def case(name):
    layer, bits, _ = CASES[name]
    ours = evaluate_mapping(layer, machine(bits), mapping_of(name))
    return ours, form_of(ours, machine(bits))


def plain(files):
    """The files as Timeloop reads them: tags gone, all in one table."""
    text = "".join(yaml_text(data) for data in files.values())
    return yaml.safe_load(re.sub(r"!(Container|Component)\n +", "", text))


@pytest.mark.parametrize("name", CASES)
def test_the_files_are_those_that_timeloop_read(name):
    _, form = case(name)
    flat_text = (RECORDED / f"{name}.flat.yaml").read_text()
    assert plain(flat.model_input(form)) == yaml.safe_load(flat_text)
    v4_text = (RECORDED / f"{name}.v4.yaml").read_text()
    assert plain(v4.model_input(form)) == yaml.safe_load(re.sub(r"!(Container|Component)\n +", "", v4_text))


@pytest.mark.parametrize("name", CASES)
def test_timeloops_cycles_and_energy_of_these_files_are_ours(name):
    ours, _ = case(name)
    theirs = read_stats((RECORDED / f"{name}.stats.txt").read_text())
    assert theirs.cycles == ours.cycles
    assert theirs.energy_pj == pytest.approx(ours.total_energy_pj, rel=1e-6)


def test_energies_are_read_by_level_and_tensor():
    ours, _ = case("strided")
    theirs = read_stats((RECORDED / "strided.stats.txt").read_text()).energies_pj
    for level, name in enumerate(NAMES):
        for operand, tensor in enumerate(("Weights", "Inputs", "Outputs")):
            assert theirs.get((name, tensor), 0.0) == pytest.approx(ours.energy_pj[level, operand], abs=0.01)
    assert theirs["mac", ""] == pytest.approx(ours.mac_energy_pj, abs=0.01)


def test_the_mapping_that_timeloops_mapper_found_costs_the_same_by_our_model():
    layer, bits, _ = CASES["strided"]
    mapping = read_mapping((RECORDED / "mapper.map.yaml").read_text(), NAMES)
    theirs = read_stats((RECORDED / "mapper.stats.txt").read_text())
    ours = evaluate_mapping(layer, machine(bits), mapping)
    assert mapping.extents() == layer.bounds
    assert theirs.cycles == ours.cycles
    # The mapper was told that both multipliers of a lane leak; its mapping uses one.
    assert theirs.energy_pj == pytest.approx(ours.total_energy_pj, rel=1e-3)


def test_factors_of_every_dim_multiply_to_the_problems_bound():
    for name in CASES:
        _, form = case(name)
        data = plain(flat.model_input(form))
        bounds = data["problem"]["instance"]
        for letter in data["problem"]["shape"]["dimensions"]:
            factors = [int(re.search(rf"{letter}=(\d+)", x["factors"])[1]) for x in data["mapping"] if "factors" in x]
            assert math.prod(factors) == bounds[letter], (name, letter)


def test_words_of_several_widths_are_pieces_of_one():
    _, form = case("widths")
    assert form.word_bits == 2
    assert form.pieces == {"weights": 2, "inputs": 3, "outputs": 8}
    assert form.fanouts[-1] == (2 * 2 * 3 * 8, 1)
    assert form.bounds["C"] == 8, "c runs to 8 for 7"
    assert form.compute_energy_pj * form.computes == pytest.approx(form.mac_energy_pj * form.layer.operations)


def test_a_dim_along_columns_and_rows_is_laid_out_along_columns():
    _, form = case("widths")
    assert form.fanouts[1] == (16, 1)
    assert dict(form.nests[1].x) == {"M": 8, "C": 2}


def test_a_dim_that_runs_twice_at_a_memory_is_refused():
    layer = Layer("twice", "conv", m=4, c=3)
    levels = [{"memory": "dram", "temporal": ["m=2", "c=3", "m=2"]}, {"memory": "buffer"}, {"memory": "weight"}]
    form = Form(layer, machine(), 0.8, Mapping.from_data(levels))
    with pytest.raises(ValueError, match="layer twice: dram runs m in two places"):
        flat.model_input(form)


def test_neighbouring_loops_over_a_dim_are_one():
    layer = Layer("twice", "conv", m=4, c=3)
    levels = [{"memory": "dram", "temporal": ["m=2", "m=2", "c=3"]}, {"memory": "buffer"}, {"memory": "weight"}]
    assert Form(layer, machine(), 0.8, Mapping.from_data(levels)).nests[0].temporal == (("M", 4), ("C", 3))


def test_timeloop_sees_no_movers_and_nothing_kept_and_no_filling():
    kept = Layer("kept", "conv", m=4, c=4, kept=("inputs",), follows=True)
    work = Workload("net", (kept, Layer("pool", "pool", g=4, r=2, s=2)))
    assert layers_seen(work) == [replace(kept, kept=(), follows=False)]
    tpu = load_template("tpu").build({})
    assert any(memory.systolic for memory in tpu.memories)
    assert not any(memory.systolic for memory in machine_seen(tpu).memories)


@pytest.mark.parametrize("text", ["", "Cycles: 12\n", "=== mac ===\n    Energy (total) : 3 pJ\n"])
def test_stats_that_say_nothing_are_refused(text):
    with pytest.raises(ValueError, match="no cycles or no energies"):
        read_stats(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("{}", "has no list"), ("mapping:\n- {target: glb, type: temporal, factors: N1}\n", "names the level 'glb'")],
)
def test_a_mapping_of_another_machine_is_refused(text, problem):
    with pytest.raises(ValueError, match=problem):
        read_mapping(text, NAMES)


def test_a_broken_map_file_is_told():
    with pytest.raises((ValueError, SpecError)):
        read_mapping("mapping: [", NAMES)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("timeloop-model") is None, reason="timeloop-model is not on PATH")
@pytest.mark.parametrize("template", [name for name in list_data("accelerators") if name != "nvdla_shidiannao"])
def test_a_real_timeloop_gives_back_our_figures_on_random_designs(template):
    draw, model, judged = random.Random(7), AnalyticalCost(), 0
    chosen = load_template(template)
    while judged < 6:
        try:
            built = chosen.build({varied.path: draw.choice(varied.choices) for varied in chosen.fields})
        except SpecError:
            continue
        seen = machine_seen(built)
        kernel, bits = draw.choice([1, 3, 5]), draw.choice([None, (4, seen.bits[1], None)])
        layer = Layer(
            "random", "conv", g=draw.choice([1, 1, 24]), m=draw.choice([1, 16, 33]), c=draw.choice([1, 3, 32]),
            p=draw.choice([5, 14]), q=draw.choice([7, 16]), r=kernel, s=kernel,
            stride=(draw.choice([1, 2]), 1), bits=bits,
        )  # fmt: skip
        (cost,) = model.evaluate([(Workload("one", (layer,)), seen)])
        if cost.violation > 0:
            continue
        judged += 1
        ours = cost.layers[0]
        theirs = Timeloop().model(form_of(ours, seen), "random")
        assert theirs.cycles == pytest.approx(ours.cycles, rel=1e-3)
        assert theirs.energy_pj == pytest.approx(ours.total_energy_pj, rel=1e-3)
