"""Cost models other than the analytical one, in a whole run: kept with it, told apart, and refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coevo.accelerator import load_template
from coevo.cli import main
from coevo.correlate.costs import compare_costs
from coevo.cost.figures import Figures
from coevo.cost.layer_table import write_table
from coevo.cost.lut import LutCost
from coevo.cost.mixed import plugin as mixed
from coevo.errors import DataError, RunError, SpecError
from coevo.experiment import load_experiment
from coevo.protocols import CostContext
from coevo.report import read_design, write_report
from coevo.study import load_results
from coevo.study.costs import KeptFigures
from coevo.workload import Layer, Workload

FAKES = Path(__file__).parents[1] / "evaluate" / "codesign_fakes.py"
ROOFLINE = f"{{name: '{FAKES}:CostModel'}}"


def coevo(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Runs a command; returns its exit code and all that it printed."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    streams = capsys.readouterr()
    return int(end.value.code or 0), streams.out + streams.err


@pytest.fixture
def table(workplace: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The lookup table of the whole experiment."""
    path = workplace / "table.csv"
    code, text = coevo(capsys, "lut", "build", workplace / "tiny.yaml", "-o", path)
    assert code == 0, text
    assert "all 48 networks" in text
    assert "x 20 accelerators" in text
    return path


def test_a_lookup_table_finds_the_front_of_the_model_that_it_was_made_from(run, table):
    by_model, by_table = run(out="a"), run("cost={name: lut, path: table.csv}", out="b")
    assert [d.design.id for d in by_table.front.designs] == [d.design.id for d in by_model.front.designs]
    for one, other in zip(by_table.front.designs, by_model.front.designs, strict=True):
        assert one.evaluation.values == pytest.approx(other.evaluation.values, rel=1e-12)
    assert by_table.facts["lookup table"].startswith("space tiny, layers from all 48 networks")


def test_layers_that_repeat_count_as_often_as_they_do(tmp_path):
    machine = load_template("tiny").build()
    small, large = (Layer(f"m{m}", "conv", m=m, p=4, q=4) for m in (4, 8))
    rows = [(machine, small, Figures(10.0, 1.0, 5.0)), (machine, large, Figures(1.0, 100.0, 3.0))]
    write_table(tmp_path / "table.csv.gz", {}, rows)
    model = LutCost(LutCost.Settings(path=str(tmp_path / "table.csv.gz")))
    workload = Workload("w", (small, large, replace(small, name="again"), replace(small, name="third")))
    (cost,) = model.evaluate([(workload, machine)])
    assert (cost.latency_cycles, cost.energy_pj, cost.peak_memory_bytes) == (31.0, 103.0, 5.0)


def test_a_report_needs_the_table_no_more(run, table, workplace):
    before = run("cost={name: lut, path: table.csv}").front.rows()
    table.unlink()
    assert load_results(workplace / "run").front.rows() == before


def test_another_content_of_the_table_is_another_experiment(run, table, workplace):
    run("cost={name: lut, path: table.csv}")
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:-1], lines[-1].replace(",yes,", ",no,")]))
    with pytest.raises(RunError, match="cost_files"):
        load_experiment(workplace / "tiny.yaml", ["cost={name: lut, path: table.csv}"]).study(workplace / "run")


def test_what_a_table_lacks_is_a_reason_and_never_a_guess(workplace, table):
    lines = table.read_text().splitlines(keepends=True)
    head, rows = lines[:6], [line for line in lines[6:] if ",5,5," not in line]
    key = next(row.split(",")[1] for row in rows if "pe_array.rows=4 memories.buffer.size_kib=8," in row)
    table.write_text("".join(head + [row for row in rows if key in row]))
    joint = (experiment := load_experiment(workplace / "tiny.yaml", ["cost={name: lut, path: table.csv}"])).joint
    genes = {"net.depth": 1, "net.width": 8, "small.memories.buffer.size_kib": 8}
    genomes = [
        joint.genome({**genes, "net.kernel1": kernel, "small.pe_array.rows": rows})
        for kernel, rows in ((3, 4), (5, 4), (3, 1))
    ]
    good, no_layer, no_machine = experiment.evaluator.score(np.array(genomes))
    assert good.violation == 0
    assert no_layer.violation > 0
    assert "has no layer conv0 (m=8 p=8 q=8 r=5 s=5, stride 1x1) on small pe_array.rows=4" in no_layer.reason
    assert no_machine.violation > 0
    assert "has no accelerator small pe_array.rows=1 memories.buffer.size_kib=8" in no_machine.reason


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace("# coevo lookup", "# some lookup"), "is no lookup table"),
        (lambda text: text.replace("latency_cycles", "latency_s"), ":6: the columns must be"),
        (lambda text: text + text.splitlines()[-1] + "\n", "stand twice"),
        (lambda text: text + "small,key,,1,2\n", "5 columns, 19 wanted"),
        (lambda text: text + "small,key" + "," * 14 + "-1,2,3,\n", "latency_cycles must be a number from 0 on"),
    ],
)
def test_a_damaged_table_is_one_line_that_says_where(run, table, change, problem):
    table.write_text(change(table.read_text()))
    with pytest.raises(DataError, match=problem) as error:
        run("cost={name: lut, path: table.csv}")
    assert "\n" not in str(error.value)


def test_too_many_accelerators_for_a_table_are_refused(workplace, capsys):
    code, text = coevo(capsys, "lut", "build", workplace / "tiny.yaml", "--machines", 10)
    assert code == 2
    assert "accelerators: make 20 different ones; let fewer fields vary, or allow more by --machines" in text


def test_a_table_that_cannot_be_written_is_refused_before_the_work(workplace, capsys, monkeypatch):
    monkeypatch.setattr("coevo.experiment.lut._layers", lambda joint: pytest.fail("worked"))
    (workplace / "file").write_text("")
    code, text = coevo(capsys, "lut", "build", workplace / "tiny.yaml", "-o", workplace / "file" / "table.csv")
    assert code == 2
    assert "cannot be written" in text


def test_a_table_is_not_made_from_a_table(workplace, table, capsys):
    code, text = coevo(capsys, "lut", "build", workplace / "tiny.yaml", "--set", "cost={name: lut, path: table.csv}")
    assert code == 2
    assert "a table is made from another model" in text


def test_the_command_says_what_the_sums_leave_out(workplace, table, capsys):
    arguments = ("--reference", ROOFLINE, "--model", "{name: lut, path: table.csv}", "--designs", 30, "--quiet")
    code, text = coevo(capsys, "costs", workplace / "tiny.yaml", *arguments, "--out", workplace / "found.csv")
    assert code == 0, text
    rows = [line.split(",") for line in (workplace / "found.csv").read_text().splitlines()[1:]]
    by_name = {(row[0], row[1]): row for row in rows}
    assert float(by_name["latency_ms", "lut"][5]) == pytest.approx(1)  # Kendall
    assert float(by_name["latency_ms", "lut"][6]) < 1e-12  # MAPE
    assert float(by_name["energy_mj", "MACs"][5]) < 1.0


def test_each_figure_of_a_mixed_model_is_its_own_models(run):
    slow = f"{{name: '{FAKES}:CostModel', factor: 3.0}}"
    plain = run(out="a")
    mixed = run(f"cost={{name: mixed, latency: {slow}, energy: {ROOFLINE}}}", out="b")
    known = {e.id: e.metrics for e in plain.evaluations if "latency_ms" in e.metrics}
    both = [e for e in mixed.evaluations if e.id in known and "latency_ms" in e.metrics]
    assert both
    for evaluation in both:
        assert evaluation.metrics["latency_ms"] == pytest.approx(3 * known[evaluation.id]["latency_ms"])
        assert evaluation.metrics["energy_mj"] == pytest.approx(known[evaluation.id]["energy_mj"])


def test_a_mixed_model_looks_at_the_network_if_one_of_its_parts_does():
    network, layers = {"name": "measured"}, {"name": "analytical"}
    for sections, wanted in (((network, layers), True), ((layers, network), True), ((layers, layers), False)):
        model = mixed(mixed.Settings(**dict(zip(("latency", "energy"), sections, strict=True))))
        model.attach(CostContext())
        assert model.of_network is wanted


def test_what_one_part_of_a_mixed_model_finds_infeasible_is(workplace, table):
    table.write_text("".join(line for line in table.read_text().splitlines(keepends=True) if ",5,5," not in line))
    lut = "{name: lut, path: table.csv}"
    experiment = load_experiment(workplace / "tiny.yaml", [f"cost={{name: mixed, latency: {lut}, energy: {ROOFLINE}}}"])
    genes = {
        "net.depth": 1,
        "net.width": 8,
        "net.kernel1": 5,
        "small.pe_array.rows": 4,
        "small.memories.buffer.size_kib": 8,
    }
    (score,) = experiment.evaluator.score(experiment.joint.genome(genes)[None, :])
    assert score.violation > 0
    assert "has no layer conv0" in score.reason


def test_objectives_that_a_cost_model_cannot_tell_are_refused_where_they_stand(workplace, table):
    rows = table.read_text().splitlines()
    at = rows[5].split(",").index("energy_pj")
    gone = [",".join("" if i == at else part for i, part in enumerate(row.split(","))) for row in rows[6:]]
    table.write_text("\n".join(rows[:6] + gone))
    overrides = ["cost={name: lut, path: table.csv}", "objectives=[error, latency, energy]"]
    with pytest.raises(SpecError, match=r"objectives\.2: the cost model lut does not tell energy_mj"):
        load_experiment(workplace / "tiny.yaml", overrides)
    with pytest.raises(SpecError, match=r"constraints\.edp_mj_ms: the cost model lut does not tell edp_mj_ms"):
        load_experiment(
            workplace / "tiny.yaml", [overrides[0], "objectives=[error]", "constraints={edp_mj_ms: {max: 1}}"]
        )
    experiment = load_experiment(workplace / "tiny.yaml", [overrides[0], "objectives=[error, latency]"])
    with experiment.study(workplace / "run") as study:
        columns = {column for row in study.run().rows() for column in row}
    assert "latency_ms" in columns
    assert not columns & {"energy_mj", "edp_mj_ms", "edap_mj_ms_mm2"}


def test_a_reference_without_figures_is_refused(workplace, table):
    experiment = load_experiment(workplace / "tiny.yaml")
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:7]))
    with pytest.raises(SpecError, match="fewer than 3 designs"):
        compare_costs(experiment, {"name": "lut", "path": "table.csv"}, {}, 10, 0)


def test_figures_in_a_run_folder_survive_a_line_that_was_torn(tmp_path):
    kept = KeptFigures(tmp_path)
    kept["a"], kept["b"] = [1.5], {"x": None}
    file = tmp_path / "costs.jsonl"
    file.write_text(file.read_text() + '{"key": "c", "val')
    again = KeptFigures(tmp_path)
    assert dict(again) == {"a": [1.5], "b": {"x": None}}
    again["d"] = 4
    assert [json.loads(line)["key"] for line in file.read_text().splitlines()] == ["a", "b", "d"]
    KeptFigures(tmp_path, read_only=True)["e"] = 5
    assert "e" not in KeptFigures(tmp_path)


def test_damage_in_the_middle_of_kept_figures_is_one_line(tmp_path):
    (tmp_path / "costs.jsonl").write_text('{"key": "a", "value": 1}\nnonsense\n{"key": "b", "value": 1}\n')
    with pytest.raises(RunError, match=r"costs.jsonl:2: is damaged"):
        KeptFigures(tmp_path)["a"]


def test_a_users_model_inside_another_is_part_of_what_the_run_is(workplace, capsys):
    plugin = workplace / "mine.py"
    plugin.write_text(FAKES.read_text())
    cost = "cost={name: predictor, of: {name: 'mine.py:CostModel'}, samples: 40, learner: gaussian_process}"
    with load_experiment(workplace / "tiny.yaml", [cost, "budget.designs=6"]).study(workplace / "run") as study:
        study.run()
    assert load_results(workplace / "run").front.designs
    plugin.write_text(FAKES.read_text() + "\n# changed\n")
    with pytest.raises(RunError, match=r"was made with another .*mine\.py"):
        load_results(workplace / "run")
    with pytest.raises(RunError, match=r"plugins\.mine\.py"):
        load_experiment(workplace / "tiny.yaml", [cost]).study(workplace / "run")


def test_a_design_without_a_breakdown_is_written_whole(run, table, workplace, capsys):
    results = run("cost={name: lut, path: table.csv}")
    write_report(results, workplace / "run")
    file = workplace / "run" / "front" / f"{results.front.designs[0].evaluation.id}.yaml"
    code, text = coevo(capsys, "evaluate", file)
    assert code == 2
    assert "has no mappings, as its cost model gave none; --remap searches them" in text
    assert read_design(file).workload.layers[0].name == "conv0"
