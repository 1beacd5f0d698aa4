"""``coevo export``: what a user gets, and what they are told where there is nothing to get."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys

import pytest
from shared_experiments import SEVERAL_PARTS

from coevo.accuracy.train import TrainedAccuracy
from coevo.cli import main
from coevo.errors import RunError
from coevo.export.chosen import find_design
from coevo.library import read_yaml
from coevo.report.points import Points
from coevo.study import load_results, load_run


@pytest.fixture
def coevo(capsys):
    """Calls the program; returns exit code, standard output and standard error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(list(map(str, arguments)))
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return call


def made(folder, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(["run", *arguments, "--out", str(folder), "--quiet", "--jobs", "1"])
    assert stop.value.code == 0
    return folder


def rows(folder):
    with (folder / "front.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def untrained_run(tmp_path_factory):
    return made(tmp_path_factory.mktemp("run") / "hw", "hardware_only", "--set", "budget={designs: 30}")


@pytest.fixture
def run_folder(untrained_run, tmp_path):
    shutil.copytree(untrained_run, tmp_path / "hw")
    return tmp_path / "hw"


def test_all_files_are_written_and_named(coevo, run_folder):
    own = rows(run_folder)[0]["id"]
    code, out, err = coevo("export", run_folder, own[:7], "--untrained")
    folder = run_folder / "export" / own
    names = {
        "design.yaml",
        "accelerator.yaml",
        "mapping.yaml",
        "weights.safetensors",
        "model.py",
        "model.onnx",
        "timeloop",
        "README.md",
    }
    assert (code, err) == (0, "") and {file.name for file in folder.iterdir()} == names
    assert out.splitlines()[1:] == ["UNTRAINED weights, drawn with seed 0", f"exported: {folder}"]
    page = (folder / "README.md").read_text()
    assert "UNTRAINED" in page and all(f"`{name}`" in page for name in names - {"README.md"})
    assert "UNTRAINED" in (folder / "model.py").read_text()


def test_a_design_goes_by_id_beginning_row_or_knee(coevo, run_folder):
    ids = [row["id"] for row in rows(run_folder)]
    results = load_results(run_folder)
    knee = Points.of(results).knee
    assert knee is not None
    assert find_design(results, "knee").evaluation.id == results.evaluations[knee].id in ids
    for i, own in enumerate(ids):
        assert find_design(results, own).evaluation.id == own
        assert find_design(results, str(i + 1)).evaluation.id == own
        others = [other for other in ids if other != own]
        length = next(
            n for n in range(1, 11) if not any(x.startswith(own[:n]) for x in others) and not own[:n].isdecimal()
        )
        assert find_design(results, own[:length]).evaluation.id == own


def test_machine_and_mappings_read_back_to_the_same_figures(coevo, run_folder, tmp_path):
    for i, row in enumerate(rows(run_folder)[:3], 1):
        code, _, err = coevo("export", run_folder, i, "-o", tmp_path / "out", "--to", "accelerator", "--to", "mapping")
        assert (code, err) == (0, "")
        design, machine, mapping = (str(tmp_path / "out" / f"{x}.yaml") for x in ("design", "accelerator", "mapping"))
        assert read_yaml(tmp_path / "out" / "design.yaml").data["id"] == row["id"]
        assert "vary" not in read_yaml(tmp_path / "out" / "accelerator.yaml").data
        for arguments in (("evaluate", design), ("evaluate", design, "--accelerator", machine)):
            again = json.loads(coevo(*arguments, "--json")[1])
            for column in ("latency_ms", "energy_mj", "area_mm2", "peak_memory_kib"):
                assert again[column] == pytest.approx(float(row[column]), rel=1e-12)
        mapped = json.loads(coevo("map", design, "--accelerator", machine, "--mapping", mapping, "--json")[1])
        assert mapped["latency_ms"] == pytest.approx(float(row["latency_ms"]), rel=1e-12)
        assert mapped["energy_pj"] / 1e9 == pytest.approx(float(row["energy_mj"]), rel=1e-12)
        assert all(layer["mapping_given"] for layer in mapped["layers"])


def test_the_commands_of_the_page_run(coevo, run_folder, tmp_path, monkeypatch):
    coevo("export", run_folder, "1", "--untrained", "-o", tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    commands = re.findall(r"^    coevo (.*)$", page, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        code, out, err = coevo(*command.split())
        assert (code, err) == (0, "") and out
    ran = subprocess.run([sys.executable, "model.py"], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("55,610 parameters\nlogits of a blank image: [")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("zz",), r"error: DESIGN: no design of the front named 'zz' \(known: .*also 1 to \d+, or knee"),
        (("0",), "error: DESIGN: .* designs? of the front named '0'"),
        (("",), "error: DESIGN: no design of the front named ''"),
        (("1",), "error: .*hw: the run trained nothing, so there are no weights; --untrained writes untrained ones"),
        (("1", "--to", "onx"), "error: Invalid value for '--to': 'onx' is not one of 'all', 'accelerator'"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(coevo, run_folder, arguments, complaint):
    code, out, err = coevo("export", run_folder, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.match(complaint, err)
    assert not (run_folder / "export").exists()


def test_a_folder_without_a_run_is_one_line(coevo, tmp_path):
    code, _, err = coevo("export", tmp_path, "1")
    assert code == 2 and "no run here" in err
    code, _, err = coevo("export", tmp_path / "nowhere", "1")
    assert code == 2 and "does not exist" in err


def test_a_missing_package_is_one_line(coevo, run_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, _, err = coevo("export", run_folder, "1", "--untrained", "--to", "onnx")
    assert (code, err.count("\n")) == (2, 1) and "pip install 'coevo[onnx]'" in err


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["quickstart", "digits_bits"])
def test_a_network_is_trained_once_more_as_the_run_did(coevo, experiment, tmp_path, monkeypatch):
    sets = ("accuracy.epochs=1", "budget.trainings=2", "optimizer.population=4")
    folder = made(tmp_path / "r", experiment, *(x for one in sets for x in ("--set", one)))
    row = rows(folder)[0]
    code, out, err = coevo("export", folder, row["id"])
    assert code == 0 and re.fullmatch("network .*: its weights were not kept; training it once more, 1 epochs\n", err)
    found = re.search(r"error ([\d.]+) % .* in the run ([\d.]+) %", out)
    assert found is not None and found[1] == found[2] == f"{float(row['error_pct']):.2f}"
    monkeypatch.setattr(TrainedAccuracy, "_train_again", None)
    shutil.rmtree(folder / "export")
    code, _, err = coevo("export", folder, row["id"])
    assert (code, err) == (0, ""), "the second time, its weights are kept"


OWN_FAMILY = """\
from coevo.networks.mbconv import MBConv


class Plain(MBConv):
    '''Without a description.'''

    graph = None

    def module(self, choices):
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def workload(self, choices, task=None):
        return MBConv(self._settings, self._task).workload(choices, task)
"""


@pytest.fixture
def own_run(tmp_path):
    """A run of a user's own family, whose networks have no graph, and of an experiment on several targets."""
    (tmp_path / "mine.py").write_text(OWN_FAMILY)
    (tmp_path / "own.yaml").write_text(
        "schema: 1\nname: own\ndescription: d\nfamily: mine.py:Plain\nstem: {width: [4, 8]}\n"
        "stages: [{depth: 1, width: 4}]\n"
    )
    (tmp_path / "experiment.yaml").write_text("""\
schema: 1
name: own
network: {space: own.yaml}
targets: {edge: tiny, server: tpu}
objectives: [latency, energy]
deployment: {channels: 1, resolution: 8, classes: 10}
budget: {designs: 2}
""")
    return made(tmp_path / "run", str(tmp_path / "experiment.yaml"))


def test_a_network_without_a_graph_gives_its_weights_and_says_what_it_cannot(coevo, own_run, tmp_path):
    code, _, err = coevo("export", own_run, "1", "--untrained")
    assert (code, err.count("\n")) == (2, 1) and "take --to weights --to accelerator --to mapping" in err
    code, out, err = coevo("export", own_run, "1", "--untrained", "--to", "weights", "-o", tmp_path / "out")
    assert (code, err) == (0, "") and "UNTRAINED" in out
    from safetensors.torch import load_file

    assert set(load_file(tmp_path / "out" / "weights.safetensors")) == {"1.weight", "1.bias"}


def test_every_target_has_its_machine_and_mappings(coevo, own_run, tmp_path, monkeypatch):
    code, out, err = coevo("export", own_run, "1", "--to", "accelerator", "--to", "mapping", "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    for label in ("edge", "server"):
        assert f"accelerator-{label}.yaml" in out and f"mapping-{label}.yaml" in out
    monkeypatch.chdir(tmp_path / "out")
    commands = re.findall(r"^    coevo (.*)$", (tmp_path / "out" / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        assert coevo(*command.split())[0] == 0


def test_a_machine_of_several_parts_has_a_folder_of_timeloops_for_each_and_its_commands_give_the_runs_figures(
    coevo, tmp_path, monkeypatch
):
    (tmp_path / "parts.yaml").write_text(SEVERAL_PARTS)
    run = made(tmp_path / "run", str(tmp_path / "parts.yaml"))
    code, out, err = coevo("export", run, "1", "--untrained", "-o", tmp_path / "out")
    assert (code, err) == (0, "") and "without" not in out
    assert {path.name for path in (tmp_path / "out" / "timeloop").iterdir()} <= {"dense", "depthwise"}
    monkeypatch.chdir(tmp_path / "out")
    commands = re.findall(r"^    coevo (.*)$", (tmp_path / "out" / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 3
    interval = float(rows(run)[0]["interval_ms"])
    for command in commands:
        code, out, err = coevo(*command.split())
        assert (code, err) == (0, "")
        assert float(re.search(r"interval +([\d.e-]+) ms", out)[1]) == pytest.approx(interval, rel=1e-5)


OWN_ACCURACY = """\
from pydantic import BaseModel

from coevo.accuracy.restored import Restored
from coevo.design import Accuracy
from coevo.protocols import Task


class Told:
    '''Says one error of all networks; its weights are those that the module is built with.'''

    class Settings(BaseModel):
        error: float

    def __init__(self, settings, near_file=""):
        self._error = settings.error
        self.task = Task(channels=1, resolution=8, classes=10)

    def score(self, family, networks, seed, jobs=1, context=None):
        for i, _ in enumerate(networks):
            yield i, Accuracy(self._error, fidelity="told")

    def restored(self, family, network, seed, folder):
        return Restored(family.module(network.choices).eval(), (0.5,), (0.25,), self._error, self._error, (30, 40))
"""


def test_a_final_training_by_a_users_own_model_is_taken_if_its_file_is_the_runs(coevo, tmp_path):
    for name in ("search.py", "last.py"):
        (tmp_path / name).write_text(OWN_ACCURACY)
    experiment = tmp_path / "experiment.yaml"
    experiment.write_text("""\
schema: 1
name: own
network: {space: digits_mbconv}
accelerators: [eyeriss]
objectives: [error, latency]
accuracy: {name: "search.py:Told", error: 0.5}
final: {seeds: 1, accuracy: {name: "last.py:Told", error: 0.125}}
optimizer: {name: random}
budget: {designs: 2}
""")
    run = made(tmp_path / "run", str(experiment))
    code, out, err = coevo("export", run, "1", "--to", "torch")
    assert (code, err) == (0, "")
    assert "section `final`, seed 1 (told): error 12.50 % of 30 validation images, test 12.50 % of 40" in out
    (tmp_path / "last.py").write_text(f"{OWN_ACCURACY}\n# changed")
    code, _, err = coevo("export", run, "1", "--to", "torch")
    assert (code, err.count("\n")) == (2, 1) and re.search(r"was made with another \S*last\.py; put back the one", err)
    (tmp_path / "last.py").unlink()
    code, _, err = coevo("export", run, "1", "--to", "torch")
    assert (code, err.count("\n")) == (2, 1) and "plug-in last.py:Told, whose file is gone; put it back" in err


def test_a_file_that_a_run_never_wrote_down_is_not_said_to_be_another(run_folder, tmp_path):
    (tmp_path / "last.py").write_text(OWN_ACCURACY)
    with pytest.raises(RunError, match=r"holds no fingerprint of \S*last\.py; the same `coevo run` once more"):
        load_run(run_folder).sources.check_plugin(run_folder, "last.py:Told", str(tmp_path / "experiment.yaml"))
