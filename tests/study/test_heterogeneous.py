"""Searches over machines of several parts: what a run keeps, and what it writes of a design."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from coevo.cli import main
from coevo.cli.evaluate import summary
from coevo.cost import evaluate_mapping
from coevo.cost.parts import interval_cycles
from coevo.errors import RunError, SpecError
from coevo.experiment import load_experiment
from coevo.report import read_design, write_report
from coevo.study import load_results

SYSTEM = """
schema: 1
name: pair
description: Two of the small machine, one with half the array.
technology_nm: 65
clock_mhz: 100
word_bits: 16
dram: {words_per_cycle: 4}
parts:
  left: {template: machine.yaml}
  right: {template: machine.yaml, set: {pe_array.rows: 2, clock_mhz: 50}}
vary:
  left.pe_array.rows: {any_of: [1, 2, 4, 8]}
  right.memories.buffer.size_kib: {any_of: [1, 2, 8, 64]}
"""

REAL = (
    "cost={name: analytical, assign: interval}",
    "objectives=[interval, energy]",
    "accelerators=[pair.yaml]",
    "constraints={}",
)


@pytest.fixture
def pair(workplace):
    """Runs the experiment on the system; returns the study's results."""
    (workplace / "pair.yaml").write_text(SYSTEM)

    def start(*overrides, jobs=1, out="run"):
        with load_experiment(workplace / "tiny.yaml", (*REAL, "budget.designs=16", *overrides)).study(
            workplace / out, jobs
        ) as study:
            study.run()
            return study.results()

    return start


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        (
            "{name: analytical, keep_on_chip: true}",
            r"cost.keep_on_chip: pair has several parts, between which activations pass DRAM; remove keep_on_chip",
        ),
        ("{name: zigzag}", "cost: pair is several accelerators on one chip, which ZigZag is not told of; take cost"),
        ("{name: timeloop}", "cost: pair is several accelerators on one chip, which Timeloop is not told of; take"),
        (
            "{name: mixed, latency: {name: zigzag}, energy: {name: analytical}}",
            "cost.latency: pair is several ",
        ),
        (
            "{name: predictor, of: {name: timeloop}, samples: 20}",
            "cost.of: pair is several accelerators on one",
        ),
    ],
)
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_cost_model_that_cannot_score_several_parts_is_refused_before_there_is_a_folder(
    workplace, monkeypatch, capsys, command, cost, said
):
    (workplace / "pair.yaml").write_text(SYSTEM)
    file = workplace / "tiny.yaml"
    file.write_text(re.sub("cost: .*", f"cost: {cost}", file.read_text()).replace("machine.yaml", "pair.yaml"))
    monkeypatch.chdir(workplace)
    with pytest.raises(SystemExit) as stop:
        main([command, "tiny.yaml"])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert re.fullmatch(rf"error: tiny\.yaml:\d+: {said}.*\n", err)
    assert not (workplace / "runs").exists()


def test_what_a_target_is_of_is_asked_for_as_well(workplace):
    (workplace / "pair.yaml").write_text(SYSTEM)
    targets = {"small": "machine.yaml", "both": "pair.yaml"}
    file = workplace / "tiny.yaml"
    file.write_text(file.read_text().replace("accelerators: [machine.yaml]", f"targets: {targets}"))
    with pytest.raises(SpecError, match="pair has several parts"):
        load_experiment(file, ("cost={name: analytical, keep_on_chip: true}",))
    assert load_experiment(file, ("cost={name: analytical}",))


def test_a_search_names_its_genes_by_part_and_jobs_change_nothing(pair):
    one, two = pair(), pair(jobs=2, out="other")
    assert {"pair.left.pe_array.rows", "pair.right.memories.buffer.size_kib"} <= set(one.genes)
    assert one.evaluations == two.evaluations
    assert one.space_sizes["hardware"] == 16
    assert all(e.metrics["interval_ms"] <= e.metrics["latency_ms"] for e in one.evaluations if e.violation == 0)


def test_a_change_in_a_parts_template_is_another_experiment(pair, workplace):
    pair()
    machine = workplace / "machine.yaml"
    machine.write_text(machine.read_text().replace("words_per_cycle: 8", "words_per_cycle: 16"))
    with pytest.raises(RunError, match=r"accelerators\.pair\.file\.parts\.left\.template\.memories\.buffer\.words_per"):
        pair()


def test_results_are_read_without_the_files_of_system_and_parts(pair, workplace):
    made = pair()
    for name in ("machine.yaml", "pair.yaml", "tiny.yaml"):
        (workplace / name).unlink()
    read = load_results(workplace / "run")
    assert read.evaluations == made.evaluations
    assert [d.design for d in read.front.designs] == [d.design for d in made.front.designs]
    assert [d.cost.interval_cycles for d in read.front.designs] == [d.cost.interval_cycles for d in made.front.designs]


@pytest.fixture
def design(pair, workplace):
    """The first design of a front, and its file."""
    results = pair()
    write_report(results, workplace / "run")
    first = results.front.designs[0]
    return first, workplace / "run" / "front" / f"{first.evaluation.id}.yaml"


def test_a_design_file_gives_back_the_system_and_what_every_layer_costs(design):
    first, file = design
    read = read_design(file)
    assert read.accelerator == first.design.accelerator
    assert read.accelerator.choices == first.design.accelerator.choices
    layers = [evaluate_mapping(layer, read.accelerator, read.mappings[layer.name]) for layer in read.workload.layers]
    assert [x.part for x in layers] == [x.part for x in first.cost.layers]
    assert sum(x.cycles for x in layers) == pytest.approx(first.cost.latency_cycles)
    assert sum(x.total_energy_pj for x in layers) == pytest.approx(first.cost.energy_pj)
    assert interval_cycles(layers, read.accelerator) == pytest.approx(first.cost.interval_cycles)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("parts", "left", "clock_mhz"), 1000, "parts.left.clock_mhz: 1000 is faster than the chip's 100"),
        (("parts", "right", "technology_nm"), 7, "parts.right.technology_nm: must be that of the other parts"),
        (("parts", "right", "bits"), [16, 0, 16], r"parts.right.bits\[1\]|parts.right.bits.1"),
        (("clock_mhz",), 0, "clock_mhz: must be positive"),
        (("parts",), {}, "parts"),
    ],
)
def test_a_design_file_with_parts_that_cannot_be_is_refused_with_its_line(design, path, value, said):
    _, file = design
    data = yaml.safe_load(file.read_text())
    here = data["accelerator"]["machine"]
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(SpecError, match=said) as caught:
        read_design(file)
    assert str(caught.value).startswith(f"{file}:")


@pytest.fixture
def branching(pair, workplace):
    """The first design of a front of networks that branch, and its file."""
    space = workplace / "space.yaml"
    space.write_text(re.sub(r"family: .*", f"family: {Path(__file__).with_name('branching_family.py')}:Family",
                            space.read_text()))  # fmt: skip
    results = pair("cost={name: analytical, assign: latency}", "objectives=[latency, energy]")
    write_report(results, workplace / "run")
    first = results.front.designs[0]
    return first, workplace / "run" / "front" / f"{first.evaluation.id}.yaml"


def test_a_design_file_gives_back_which_branches_run_side_by_side(branching):
    first, file = branching
    assert yaml.safe_load(file.read_text())["reads"] == {"conv1": [], "sum": ["conv0", "conv1"]}
    read = read_design(file)
    assert read.workload.reads == first.workload.reads == ((), (), (0, 1))
    layers = [evaluate_mapping(layer, read.accelerator, read.mappings[layer.name]) for layer in read.workload.layers]
    figures = summary(read.workload, read.accelerator, layers)
    assert {x.part for x in layers} == {"left", "right"}
    assert [x["begins_cycles"] for x in figures["layers"][:2]] == [0, 0]
    assert figures["layers"][2]["begins_cycles"] == max(x["ends_cycles"] for x in figures["layers"][:2])
    assert figures["latency_ms"] == pytest.approx(first.evaluation.metrics["latency_ms"])
    cycles = sum(x.cycles for x in layers)
    assert figures["latency_ms"] < 0.99 * cycles / (read.accelerator.clock_mhz * 1e3)


@pytest.mark.parametrize(
    ("reads", "said"),
    [
        ({"sun": ["conv0"]}, r"reads\.sun: there is no layer 'sun' \(did you mean 'sum'"),
        ({"sum": ["conv7"]}, r"reads\.sum: there is no layer 'conv7' before sum \(did you mean 'conv"),
        ({"conv0": ["sum"]}, r"reads\.conv0: there is no layer 'sum' before conv0"),
    ],
)
def test_a_layer_that_reads_no_layer_before_it_is_refused_with_its_line(branching, reads, said):
    _, file = branching
    data = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(data | {"reads": reads}, sort_keys=False))
    with pytest.raises(SpecError, match=said) as caught:
        read_design(file)
    assert re.match(rf"{re.escape(str(file))}:\d+: ", str(caught.value))


def test_the_page_says_which_part_runs_a_layer(design, workplace):
    first, _ = design
    page = (workplace / "run" / "report.html").read_text()
    assert "the parts left (small, " in page
    for x in first.cost.layers:
        assert f'"name":"{x.layer.name}","part":"{x.part}"' in page
