"""Calling Timeloop, by a program on PATH that stands in for it: CI has no Timeloop."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from pathlib import Path

import pytest
from shared_experiments import SEVERAL_PARTS
from timeloop_machines import CASES, machine, mapping_of

from coevo.accelerator import load_template
from coevo.cost import evaluate_mapping
from coevo.cost.analytical import AnalyticalCost
from coevo.cost.timeloop import TimeloopCost, TimeloopSettings
from coevo.errors import BackendError
from coevo.timeloop.conventions import machine_seen
from coevo.timeloop.process import Timeloop, check
from coevo.verify.seen import form_of
from coevo.workload import Layer, Workload

RECORDED = Path(__file__).parent / "recorded"
NET = Workload(
    "net",
    (
        Layer("a", "conv", m=8, c=3, p=8, q=8, r=3, s=3),
        Layer("pool", "pool", g=8, p=4, q=4, r=2, s=2),
        Layer("b", "linear", m=10, c=128),
        Layer("c", "linear", m=10, c=128),
    ),
)

STAND_IN = """\
#!{python}
import pathlib, re, sys
folder = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
mapping = [path for path in sys.argv[1:] if path.endswith("mapping.yaml")][0]
cycles, temporal = 1, False
for line in open(mapping):
    if "type:" in line:
        temporal = "type: temporal" in line
    if temporal and "factors:" in line:
        for bound in re.findall(r"=([0-9]+)", line):
            cycles *= int(bound)
stats = "=== mac ===\\n    Energy (total)  : 5.00 pJ\\n=== dram ===\\n"
stats += "    Leakage energy (total) : 2.00 pJ\\n    Weights:\\n        Energy (total)  : 3.00 pJ\\n"
(folder / "timeloop-model.stats.txt").write_text(stats + f"Cycles: {{cycles}}\\n")
with open({calls!r}, "a") as log:
    log.write("call\\n")
"""


def install(folder, monkeypatch, text, program="timeloop-model"):
    """Puts a program of this text on PATH."""
    path = folder / "bin" / program
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    return path


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A Timeloop whose cycles are the mapping's own, and whose energy is 10 pJ; gives the file of its calls."""
    calls = tmp_path / "calls"
    install(tmp_path, monkeypatch, STAND_IN.format(python=sys.executable, calls=str(calls)))
    return calls


@pytest.fixture
def no_timeloop(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def form():
    layer, bits, _ = CASES["strided"]
    return form_of(evaluate_mapping(layer, machine(bits), mapping_of("strided")), machine(bits))


def test_a_missing_timeloop_is_one_line_that_says_where_it_is_documented(no_timeloop, form):
    for call in (lambda: check("flat", "timeloop-model"), lambda: Timeloop().model(form, "layer a")):
        with pytest.raises(BackendError, match=r"timeloop-model is not on PATH.*https://timeloop\.csail\.mit\.edu"):
            call()


def test_v4_without_pytimeloop_says_what_to_do(stand_in):
    if importlib.util.find_spec("pytimeloop") is not None:
        pytest.skip("pytimeloop is installed")
    with pytest.raises(BackendError, match="format v4 needs the Python package pytimeloop"):
        check("v4", "timeloop-model")


def test_what_timeloop_complains_of_is_told_with_layer_and_design(tmp_path, monkeypatch, form):
    said = "ERROR: couldn't map level buffer: mapped tile size 70 exceeds buffer capacity 64"
    install(tmp_path, monkeypatch, f'#!/bin/sh\necho fine\necho "{said}" >&2\necho more\nexit 1\n')
    with pytest.raises(BackendError) as caught:
        Timeloop().model(form, "design 0123, layer a")
    assert str(caught.value) == f"design 0123, layer a: timeloop-model failed (exit 1): {said}"


def test_a_crash_names_the_signal(tmp_path, monkeypatch, form):
    install(tmp_path, monkeypatch, "#!/bin/sh\nkill -SEGV $$\n")
    with pytest.raises(BackendError, match=r"layer a: timeloop-model failed \(signal SIGSEGV\): it said nothing"):
        Timeloop().model(form, "layer a")


def test_a_timeloop_that_hangs_is_ended_with_its_children(tmp_path, monkeypatch, form):
    left = tmp_path / "left"
    install(tmp_path, monkeypatch, f"#!/bin/sh\n(sleep 2; touch {left}) &\nsleep 60\n")
    start = time.monotonic()
    with pytest.raises(BackendError, match=r"design 0123, layer a: timeloop-model: no answer in 0\.3 s"):
        Timeloop(seconds=0.3).model(form, "design 0123, layer a")
    assert time.monotonic() - start < 2
    time.sleep(2)
    assert not left.exists()


def test_a_timeloop_that_writes_nothing_is_told(tmp_path, monkeypatch, form):
    install(tmp_path, monkeypatch, "#!/bin/sh\necho done\n")
    with pytest.raises(BackendError, match="layer a: Timeloop wrote no stats: done"):
        Timeloop().model(form, "layer a")


def test_the_mappers_mapping_is_read_back(tmp_path, monkeypatch, form):
    recorded = RECORDED / "mapper.map.yaml"
    text = f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\ncp {recorded} "$2/timeloop-mapper.map.yaml"\n'
    install(tmp_path, monkeypatch, text, "timeloop-mapper")
    found = Timeloop().mapper(form, "layer a")
    assert found.mapping.extents() == form.layer.bounds
    assert found.mapping != form.mapping


def test_a_mapper_that_finds_nothing_is_told(tmp_path, monkeypatch, form):
    install(tmp_path, monkeypatch, "#!/bin/sh\necho 'ERROR: no valid mappings found'\n", "timeloop-mapper")
    with pytest.raises(BackendError, match="layer a: Timeloop found no mapping that fits: ERROR: no valid mappings"):
        Timeloop().mapper(form, "layer a")


def test_the_cost_model_gives_timeloops_figures_of_our_mappings(stand_in):
    built = load_template("eyeriss").build({})
    (cost,) = TimeloopCost().evaluate([(NET, built)], jobs=2)
    (ours,) = AnalyticalCost().evaluate([(Workload("net", (NET.layers[0], *NET.layers[2:])), machine_seen(built))])
    assert [x.layer.name for x in cost.layers] == ["a", "b", "c"], "the pooling moves data, and is left out"
    assert [x.cycles for x in cost.layers] == [x.compute_cycles for x in ours.layers]
    assert cost.latency_cycles == sum(x.compute_cycles for x in ours.layers)
    assert cost.energy_pj == 30.0
    first = cost.layers[0]
    assert (first.mac_energy_pj, first.leakage_pj, first.energy_pj.sum()) == (5.0, 2.0, 3.0)
    assert cost.area_mm2 == built.area_mm2
    assert len(stand_in.read_text().split()) == 2, "b and c are alike"


def test_the_cost_model_asks_once_for_what_it_knows(stand_in):
    model, built = TimeloopCost(), load_template("eyeriss").build({})
    first = model.evaluate([(NET, built)])
    again = model.evaluate([(NET, built), (NET, built)], jobs=2)
    assert {cost.latency_cycles for cost in (*first, *again)} == {first[0].latency_cycles}
    assert len(stand_in.read_text().split()) == 2


def test_the_cost_model_says_why_a_design_cannot_be(stand_in):
    tiny = load_template("eyeriss").build({})
    wide = Workload("wide", (Layer("w", "conv", m=2, c=2, bits=(32, 32, None)),))
    (cost,) = TimeloopCost().evaluate([(wide, tiny)])
    assert cost.violation > 0
    assert "layer w" in cost.reason


def test_the_cost_models_failure_names_layer_and_machine(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "#!/bin/sh\necho 'ERROR: no'\nexit 1\n")
    with pytest.raises(BackendError, match=r"^layer a on eyeriss: timeloop-model failed \(exit 1\): ERROR: no$"):
        TimeloopCost().evaluate([(NET, load_template("eyeriss").build({}))])


def test_timeloops_own_mapper_can_give_the_mappings(tmp_path, monkeypatch, stand_in):
    log = tmp_path / "mapped"
    text = f'#!/bin/sh\necho "$@" >> {log}\necho "ERROR: no valid mappings found"\n'
    install(tmp_path, monkeypatch, text, "timeloop-mapper")
    settings = TimeloopSettings(mapping="timeloop", objective="latency")
    with pytest.raises(BackendError, match="found no mapping that fits"):
        TimeloopCost(settings).evaluate([(NET, load_template("eyeriss").build({}))])
    assert "mapper.yaml" in log.read_text()
    assert "mapping.yaml" not in log.read_text()


# -- coevo verify and export -----------------------------------------------------------------------------------

RUN = ["run", "hardware_only", "--quiet", "--set", "budget.designs=4", "--set", "optimizer.population=4"]


@pytest.fixture(scope="module")
def a_run(tmp_path_factory):
    """A run folder of a few designs."""
    from coevo.cli import main

    folder = tmp_path_factory.mktemp("run") / "run"
    with pytest.raises(SystemExit):
        main([*RUN, "--jobs", "1", "--out", str(folder)])
    return folder


def call(*arguments):
    from coevo.cli import main

    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


def test_verify_writes_the_deviation_beside_each_design(a_run, stand_in, capsys):
    assert call("verify", a_run, "--backend", "timeloop", "--jobs", "2") == 0
    printed = capsys.readouterr().out
    data = json.loads((a_run / "verified.json").read_text())
    ids = [line.split(",")[0] for line in (a_run / "front.csv").read_text().splitlines()[1:]]
    assert {row["id"] for row in data["designs"]} == set(ids)
    assert all(one in printed for one in ids)
    row = data["designs"][0]
    assert row["timeloop_cycles"] == sum(x["count"] * x["timeloop_cycles"] for x in row["layers"])
    assert row["timeloop_energy_pj"] == 10 * sum(x["count"] for x in row["layers"])
    off = 100 * (row["energy_pj"] / row["timeloop_energy_pj"] - 1)
    assert row["energy_deviation_pct"] == pytest.approx(off)
    assert (a_run / "verified.csv").read_text().startswith("id,target,layer,count,cycles,timeloop_cycles,")
    assert "Verified by Timeloop" in (a_run / "report.html").read_text()


def test_verify_scores_every_layer_of_several_parts_on_the_part_that_runs_it(tmp_path, stand_in, capsys):
    (tmp_path / "parts.yaml").write_text(SEVERAL_PARTS)
    run = tmp_path / "run"
    assert call("run", tmp_path / "parts.yaml", "--quiet", "--jobs", "1", "--out", run) == 0
    assert call("verify", run, "--jobs", "2") == 0
    printed = capsys.readouterr().out
    rows = json.loads((run / "verified.json").read_text())["designs"]
    designs = {row["id"] for row in rows}
    assert designs == {line.split(",")[0] for line in (run / "front.csv").read_text().splitlines()[1:]}
    for design in designs:
        own = {row["part"]: row for row in rows if row["id"] == design}
        assert own.keys() <= {"dense", "depthwise"}
        given = json.loads(_evaluated(run, design, capsys))["layers"]
        for part, row in own.items():
            mine = [x for x in given if x["part"] == part]
            assert row["run_cycles"] == pytest.approx(sum(x["cycles"] for x in mine))
            assert row["timeloop_energy_pj"] == 10 * sum(x["macs"] > 0 for x in mine)
            assert f"{design}, {part}" in printed
            assert f"{design}, {part}</th>" in (run / "report.html").read_text()
    head, first, *_ = (run / "verified.csv").read_text().splitlines()
    assert head.startswith("id,target,part,layer,") and first.split(",")[2] == rows[0]["part"]


def _evaluated(run, design, capsys):
    assert call("evaluate", run / "front" / f"{design}.yaml", "--json") == 0
    return capsys.readouterr().out


def test_verify_tells_failures_and_still_writes(a_run, tmp_path, monkeypatch, capsys):
    install(tmp_path, monkeypatch, "#!/bin/sh\necho 'ERROR: no'\nexit 1\n")
    assert call("verify", a_run) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: design ")
    assert "layer stem: timeloop-model failed (exit 1): ERROR: no" in captured.err
    assert captured.err.count("\n") == 1
    assert "failed" in captured.out
    assert all(row["failure"] for row in json.loads((a_run / "verified.json").read_text())["designs"])
    (a_run / "verified.json").unlink()


def test_verify_without_timeloop_is_one_line(a_run, no_timeloop, capsys):
    assert call("verify", a_run) == 2
    assert capsys.readouterr().err.startswith("error: timeloop-model is not on PATH")


def test_a_damaged_verdict_is_told(a_run, capsys):
    (a_run / "verified.json").write_text("{}")
    assert call("report", a_run) == 2
    assert "verified.json: is damaged" in capsys.readouterr().err
    (a_run / "verified.json").unlink()


def test_export_writes_a_folder_per_layer_and_our_figures(a_run, tmp_path):
    import yaml

    assert call("export", a_run, "1", "--to", "timeloop", "-o", tmp_path / "chip") == 0
    folder = tmp_path / "chip" / "timeloop"
    expected = yaml.safe_load((folder / "expected.yaml").read_text())
    names = [layer["folder"] for layer in expected["layers"]]
    for form, files in (("flat", 5), ("v4", 3)):
        assert sorted(x.name for x in (folder / form).iterdir()) == sorted(names)
        assert len(list((folder / form / names[0] / "model").iterdir())) == files
    assert expected["total"]["cycles"] == sum(len(x["layers"]) * x["cycles"] for x in expected["layers"])
    left_out = sum(x["cycles"] for x in expected["left_out"])
    assert expected["total"]["cycles"] + left_out <= expected["total"]["run_cycles"]
    assert "no data movers" in (folder / "README.md").read_text()
    assert "nothing stays on chip" in (folder / "flat" / names[0] / "model" / "problem.yaml").read_text()
