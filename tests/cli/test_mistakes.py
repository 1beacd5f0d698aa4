"""What users get wrong: each gives one clear line on standard error, exit code 2, and no traceback."""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from coevo.cli import main

EYERISS = Path(__file__).parents[2] / "accelerators" / "eyeriss.yaml"
EXPERIMENT = """\
schema: 1
name: mine
network: {space: digits_mbconv}
accelerators: [eyeriss]
deployment: {resolution: 8, classes: 10, channels: 1}
objectives: [latency, energy]
constraints:
  area_mm2: {max: 16}
optimizer: {name: nsga2, population: 8}
budget: {designs: 8}
seed: 0
"""


@pytest.fixture
def complaint(capsys, tmp_path, monkeypatch):
    """Calls the program with a mistake; returns its one line."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert stop.value.code == 2, (out, err)
        assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err, err
        return err

    return call


def experiment(old="", new=""):
    assert old in EXPERIMENT
    path = Path("mine.yaml")
    path.write_text(EXPERIMENT.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("objectives:", "objectivs:", ["mine.yaml:6", "objectivs", "did you mean 'objectives'?"]),
        ("seed: 0", "seed: 0\nseed: 1", ["mine.yaml:12", "seed", "stands twice (first on line 11)"]),
        ("[eyeriss]", "[{template: eyeriss, vary: 3}]", ["mine.yaml:4", "accelerators.0.vary", "3"]),
        ("resolution: 8", "resolution: 10000000", ["mine.yaml:5", "deployment.resolution", "65536"]),
        ("population: 8", "population: 1000000000", ["mine.yaml:9", "optimizer.population", "65536"]),
        ("seed: 0", "seed: -1", ["mine.yaml:11", "seed", "-1"]),
        ("seed: 0", "seed: one", ["mine.yaml:11", "seed", "'one'"]),
        ("schema: 1", "schema: 7", ["mine.yaml:1", "schema", "reads schema 1"]),
        ("[latency, energy]", "[latency, enrgy]", ["mine.yaml:6", "did you mean 'energy'?"]),
        ("[latency, energy]", "[latency, latency]", ["mine.yaml:6", "stands twice"]),
        ("[latency, energy]", "[]", ["mine.yaml:6", "objectives"]),
        ("[latency, energy]", "[error, energy]", ["mine.yaml:6", "accuracy"]),
        ("area_mm2: {max: 16}", "area: {max: 16}", ["mine.yaml:8", "did you mean 'area_mm2'?"]),
        ("area_mm2: {max: 16}", "area_mm2: {max: 16 mm2}", ["mine.yaml:8", "16 mm2"]),
        ("area_mm2: {max: 16}", "area_mm2: {}", ["mine.yaml:8", "needs max, min or both"]),
        ("{designs: 8}", "{designs: 0}", ["mine.yaml:10", "budget.designs"]),
        ("{designs: 8}", "{trainings: 8}", ["mine.yaml:10", "budget.trainings", "nothing is trained"]),
        ("[eyeriss]", "[eyeris]", ["mine.yaml:4", "did you mean 'eyeriss'?"]),
        ("[eyeriss]", "[]", ["mine.yaml:4", "accelerators"]),
        ("digits_mbconv", "digits_mbcon", ["mine.yaml:3", "did you mean 'digits_mbconv'?"]),
        ("name: nsga2", "name: nsga3", ["mine.yaml:9", "did you mean 'nsga2'?"]),
        ("population: 8", "population: 0", ["mine.yaml:9", "optimizer.population", "0"]),
        ("population: 8", "pop: 8", ["mine.yaml:9", "optimizer.pop", "population"]),
        ("name: mine", "name: ../../x", ["mine.yaml:2", "name", "../../x"]),
        ("seed: 0", "seed: *x", ["mine.yaml:11", "aliases"]),
        ("seed: 0", "seed: [", ["mine.yaml:", "not YAML"]),
        ("seed: 0", "seed: " + "[" * 200, ["mine.yaml:11", "nested deeper"]),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
def test_a_mistake_in_an_experiment_names_line_and_field(complaint, old, new, said):
    line = complaint("run", experiment(old, new))
    for text in said:
        assert text in line


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("size_kib: 108", 'size_kib: "108 KB"', ["memories.glb.size_kib", "'108 KB'"]),
        ("size_kib: 108", "size_kib: -108", ["memories.glb.size_kib", "-108"]),
        ("size_kib: 108", "size_kb: 108", ["memories.glb.size_kb", "did you mean 'size_kib'?"]),
        ("holds: [inputs, outputs]", "holds: [inputs, psum]", ["memories.glb.holds", "psum"]),
        ("pe_array.rows:", "pe_array.row:", ["vary.pe_array.row", "pe_array.rows"]),
        ("dataflow: row_stationary", "dataflow: row_statonary", ["row_statonary", "row_stationary"]),
        ("rows: 12", "rows: 0", ["pe_array.rows", "0"]),
    ],
)
def test_a_mistake_in_an_accelerator_names_line_and_field(complaint, old, new, said):
    Path("bad.yaml").write_text(EYERISS.read_text().replace(old, new, 1))
    line = complaint("check", "bad.yaml")
    for text in ["bad.yaml:", *said]:
        assert text in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "absent.yaml"], ["absent.yaml"]),
        (["run", "nothing"], ["no experiment named 'nothing'", "quickstart"]),
        (["run", "hardware_only", "--jobs", "0"], ["--jobs", "0"]),
        (["run", "hardware_only", "--jbs", "2"], ["--jbs"]),
        (["run", "hardware_only", "--seed", "x"], ["--seed", "x"]),
        (["run", "hardware_only", "--set", "seed"], ["--set"]),
        (["run", "hardware_only", "--set", "sed=1"], ["--set", "did you mean 'seed'?"]),
        (["run", "hardware_only", "--set", "optimizer.population=lots"], ["--set", "population", "lots"]),
        (["rn"], ["rn"]),
        (["report", "nowhere"], ["nowhere"]),
        (["check", "nothing"], ["nothing"]),
        (["check", "."], ["nothing that ships"]),
        (["list", "planets"], ["planets"]),
        (["evaluate"], ["give a design file"]),
        (["evaluate", "absent.yaml"], ["absent.yaml"]),
        (["evaluate", "--network", "digits_mbconv", "--accelerator", "eyeriss", "--set", "x=1"], ["--set x"]),
        (
            ["evaluate", "--network", "digits_mbconv", "--accelerator", "eyeriss", "--set", "pe_array.rows=5"],
            ["rows", "5"],
        ),
        (
            ["evaluate", "--network", "digits_mbconv", "--accelerator", "eyeriss", "--gene", "depth"],
            ["--gene", "'depth'"],
        ),
        (["evaluate", "--network", "digits_mbconv", "--accelerator", "eyeriss", "--input", "8x8"], ["--input", "8x8"]),
        (["evaluate", "--network", "digits_mbconv", "--accelerator", "eyeriss", "--input", "1x²x²"], ["--input"]),
        (["evaluate", "design.yaml", "--set", "pe_array.rows=8"], ["--set", "without --accelerator"]),
        (["evaluate", "design.yaml", "--gene", "head.width=8"], ["--gene", "without --network"]),
        (["evaluate", "design.yaml", "--input", "3x64x64"], ["--input", "without --network"]),
    ],
    ids=" ".join,
)
def test_a_mistake_on_the_command_line_is_one_line(complaint, arguments, said):
    line = complaint(*arguments)
    for text in said:
        assert text in line


PLUGINS = """\
from pydantic import BaseModel
from coevo import metric
import numpy as np

@metric(unit="x")
def raises(cost): return cost.no_such_figure

@metric(unit="x")
def nothing(cost): return None

@metric(unit="x")
def endless(accelerator): return float("nan")

@metric(unit="ms")
def latency(cost): return 1.0

class Settings(BaseModel):
    size: int = 3

class Optimizer:
    Settings = Settings
    def __init__(self, problem, settings, rng): self.problem = problem
    def ask(self): return np.zeros((3, 2), dtype=int)
    def tell(self, genomes, values, violation): pass

class Raises(Optimizer):
    def ask(self): raise KeyError("lost")

class OutOfRange(Optimizer):
    def ask(self): return np.full((3, len(self.problem.space.genes)), 999)

class Unbuildable(Optimizer):
    def __init__(self): pass

class Unset(Optimizer):
    Settings = dict

class Cost:
    Settings = Settings
    def __init__(self, settings): pass
    def evaluate(self, pairs, jobs=1): return pairs[1:]
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("latency,", "plugins.py:raises,", ["plugins.py:6: the plug-in fails", "no_such_figure"]),
        ("latency,", "plugins.py:nothing,", ["plugins.py", "nothing_x", "None", "finite"]),
        ("latency,", "plugins.py:endless,", ["plugins.py", "endless_x", "nan", "finite"]),
        ("latency,", "plugins.py:latency,", ["mine.yaml:6", "objectives.0", "latency_ms", "coevo's own"]),
        ("name: nsga2, population: 8", 'name: "plugins.py:Optimizer"', ["Optimizer asks for no genomes", "(3, 2)"]),
        ("name: nsga2, population: 8", 'name: "plugins.py:OutOfRange"', ["OutOfRange asks", "outside"]),
        ("name: nsga2, population: 8", 'name: "plugins.py:Raises"', ["plugins.py:27: the plug-in fails", "lost"]),
        ("name: nsga2, population: 8", 'name: "plugins.py:Unbuildable"', ["mine.yaml:9", "cannot be built"]),
        ("name: nsga2, population: 8", 'name: "plugins.py:Unset"', ["mine.yaml:9", "pydantic"]),
        ("name: nsga2, population: 8", 'name: "plugins.py:Cost"', ["mine.yaml:9", "no optimizer plug-in", "ask"]),
        ("seed: 0", 'cost: {name: "plugins.py:Cost"}', ["cost model Cost must return a list of"]),
    ],
)
def test_a_plugin_of_the_users_that_misbehaves_is_one_line(complaint, old, new, said):
    Path("plugins.py").write_text(PLUGINS)
    line = complaint("run", experiment(old, new), "--jobs", "1", "--quiet")
    for text in said:
        assert text in line


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run's folder, to be copied and damaged, and its experiment."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "mine.yaml").write_text(EXPERIMENT)
    with pytest.raises(SystemExit) as stop:
        main(["run", str(folder / "mine.yaml"), "--out", str(folder / "run"), "--quiet"])
    assert stop.value.code == 0
    return folder


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished / "run", tmp_path / "run")
    return tmp_path / "run"


def test_a_changed_experiment_is_not_mixed_into_an_old_run(complaint, run):
    line = complaint("run", experiment("max: 16", "max: 12"), "--out", run)
    assert "constraints.area_mm2.max: 16" in line and "12" in line


def test_a_smaller_budget_than_is_spent_is_refused(complaint, run):
    assert "8 designs" in complaint("run", experiment("designs: 8", "designs: 4"), "--out", run)


def test_a_run_folder_that_is_no_database_is_refused(complaint, run):
    (run / "run.sqlite").write_bytes(b"not a database at all" * 100)
    assert "run" in complaint("run", experiment(), "--out", run)
    complaint("report", run)


def test_a_run_folder_with_a_damaged_row_is_refused(complaint, run):
    with sqlite3.connect(run / "run.sqlite") as store:
        store.execute("UPDATE evaluations SET genome = '[99999]' WHERE position = 0")
    assert "damaged" in complaint("run", experiment(), "--out", run)
    complaint("report", run)


def test_an_empty_folder_is_no_run(complaint, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty" in complaint("report", "empty")


def test_a_design_file_that_was_tampered_with_is_refused(complaint, run):
    design = next((run / "front").iterdir())
    text = design.read_text()
    for old, new, said in [
        ("kind: design", "kind: desing", "kind"),
        ("clock_mhz: 200.0", "clock_mhz: -200.0", "clock_mhz"),
        ("kind: conv", "kind: konv", "layers"),
        ("m=", "z=", "mappings"),
        ("word_bits: 16", "word_bits: sixteen", "word_bits"),
    ]:
        assert old in text
        design.write_text(text.replace(old, new, 1))
        assert said in complaint("evaluate", design)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("fanout_x", "99999999", "99999999 makes"),
        ("fanout_y", "0", "must be positive, got 0"),
        ("size_bits", ".nan", "must be positive, got nan"),
        ("read_energy_pj", ".inf", "must be finite, got inf"),
    ],
)
def test_an_absurd_machine_in_a_design_file_names_line_and_field(complaint, run, field, value, said):
    design = next((run / "front").iterdir())
    lines = design.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if field + ":" in line)
    lines[at] = re.sub(rf"{field}: [^,}}\n]+", f"{field}: {value}", lines[at], count=1)
    design.write_text("".join(lines))
    line = complaint("evaluate", design)
    assert f"{design}:{at + 1}: accelerator.machine.memories.dram.{field}: {said}" in line


def test_a_design_file_without_layers_is_refused(complaint, run):
    design = next((run / "front").iterdir())
    text = design.read_text()
    design.write_text(text[: text.index("\nlayers:")] + "\nlayers: []\nmappings: {}\n")
    assert "layers" in complaint("evaluate", design)


def test_a_machine_without_any_energy_is_scored(capsys, run):
    design = next((run / "front").iterdir())
    head, machine, tail = re.split(r"(?m)^(?=  machine:|metrics:|layers:)", design.read_text(), maxsplit=2)
    design.write_text(head + re.sub(r"(_pj|_mw): [0-9.e+-]+", r"\1: 0.0", machine) + tail)
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(design)])
    out, err = capsys.readouterr()
    assert (stop.value.code, err) == (0, "")
    assert re.search(r"^  dram +0 mJ, 0.0%$", out, re.MULTILINE)


def test_a_missing_data_set_says_where_to_put_it(complaint, monkeypatch, tmp_path):
    monkeypatch.setenv("COEVO_DATA", str(tmp_path))
    line = complaint("run", "cifar10_eyeriss")
    assert "cifar10.npz" in line and "COEVO_DATA" in line
