from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from coevo.errors import CoevoError, SpecError
from coevo.experiment import load_experiment

REPOSITORY = Path(__file__).parents[1]
FAKES = Path(__file__).parent / "evaluate" / "codesign_fakes.py"

GOOD = f"""\
schema: 1
name: tiny
network:
  space: space.yaml
accelerators:
  - machine.yaml
objectives:
  - error
  - latency
constraints:
  area_mm2: {{max: 0.5}}
accuracy:
  name: {FAKES}:AccuracyModel
  delay_s: 0
cost:
  name: {FAKES}:CostModel
optimizer:
  name: {FAKES}:Optimizer
  batch: 6
budget:
  designs: 60
seed: 0
"""

SPACE = f"""\
schema: 1
name: tiny
description: One or two convolutions.
family: {FAKES}:Family
"""

MACHINE = """\
schema: 1
name: small
description: A buffer over an array.
technology_nm: 65
clock_mhz: 100
word_bits: 16
pe_array: {rows: 4, columns: 4}
memories:
  - {name: dram, kind: dram, holds: [weights, inputs, outputs], words_per_cycle: 4}
  - {name: buffer, kind: sram, size_kib: 8, holds: [weights, inputs, outputs], words_per_cycle: 8}
dataflow: free
vary:
  pe_array.rows: {any_of: [1, 2, 4]}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes the good experiment with one replacement into the working directory; returns its name."""
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(SPACE)
    Path("machine.yaml").write_text(MACHINE)

    def file(old: str = "", new: str = "") -> str:
        assert old in GOOD
        Path("tiny.yaml").write_text(GOOD.replace(old, new))
        return "tiny.yaml"

    return file


MISTAKES = {
    "unknown key": ("seed: 0", "sead: 0", "tiny.yaml:22: sead: unknown key (did you mean 'seed'?"),
    "duplicate key": ("seed: 0", "seed: 0\nseed: 1", "tiny.yaml:23: seed: stands twice (first on line 22)"),
    "missing section": ("budget:\n  designs: 60\n", "", "budget: is missing"),
    "no schema": ("schema: 1\n", "", "schema: is missing"),
    "unknown schema": ("schema: 1", "schema: 2", "tiny.yaml:1: schema: 2 is not known"),
    "missing space": ("space.yaml", "spice.yaml", "tiny.yaml:4: network.space: no space named 'spice.yaml'"),
    "missing template": ("machine.yaml", "eyerisss", "tiny.yaml:6: accelerators.0: no accelerator named 'eyerisss'"),
    "bad vary": (
        "  - machine.yaml",
        "  - template: machine.yaml\n    vary:\n      pe_array.cows: {any_of: [1, 2]}",
        "tiny.yaml:8: accelerators.0.vary.pe_array.cows: ",
    ),
    "bad vary range": (
        "  - machine.yaml",
        "  - template: machine.yaml\n    vary:\n      pe_array.rows:\n        any_of: [1, -2]",
        "accelerators.0.vary.pe_array.rows",
    ),
    "template twice": ("  - machine.yaml", "  - machine.yaml\n  - machine.yaml", "tiny.yaml:7: accelerators.1: "),
    "unknown metric": ("- latency", "- latenzy", "tiny.yaml:9: objectives.1: no metric named 'latenzy' (did you mean"),
    "metric twice": ("- latency", "- error", "tiny.yaml:9: objectives.1: 'error' stands twice"),
    "no objective": ("objectives:\n  - error\n  - latency", "objectives: []", "tiny.yaml:7: objectives: "),
    "plain function as metric": ("- latency", f"- {FAKES}:not_a_metric", "tiny.yaml:9: objectives.1: "),
    "constraint unit": ("area_mm2", "area_um2", "tiny.yaml:11: constraints.area_um2: no such metric; a constraint is "),
    "constraint without limit": ("{max: 0.5}", "{}", "tiny.yaml:11: constraints.area_mm2: needs max, min or both"),
    "limit with unit": ("max: 0.5", "max: 0.5mm2", "tiny.yaml:11: constraints.area_mm2.max: must be a plain number"),
    "limits crossed": ("{max: 0.5}", "{max: 1, min: 2}", "constraints.area_mm2: min 2 is above max 1"),
    "negative budget": ("designs: 60", "designs: -1", "tiny.yaml:21: budget.designs: "),
    "only a time limit": ("designs: 60", "time_limit_s: 9", "tiny.yaml:20: budget: needs designs or trainings"),
    "no accuracy section": (
        f"accuracy:\n  name: {FAKES}:AccuracyModel\n  delay_s: 0\n",
        "deployment: {resolution: 8, classes: 10}\n",
        "tiny.yaml:8: objectives.0: needs the accuracy; add a section such as",
    ),
    "no task": (
        f"- error\n  - latency\nconstraints:\n  area_mm2: {{max: 0.5}}\naccuracy:\n  name: {FAKES}:AccuracyModel\n"
        "  delay_s: 0\n",
        "- latency\n",
        "deployment: without an accuracy section, say what networks are scored for",
    ),
    "unknown optimiser": ("name: " + f"{FAKES}:Optimizer\n  batch: 6", "name: nsga3", "tiny.yaml:18: optimizer.name: "),
    "unknown optimiser setting": ("batch: 6", "bitch: 6", "tiny.yaml:19: optimizer.bitch: unknown key (did you mean"),
    "bad optimiser setting": ("batch: 6", "batch: many", "tiny.yaml:19: optimizer.batch: must be a plain number"),
    "optimiser without name": (f"name: {FAKES}:Optimizer\n  batch", "batch", "optimizer.name: is missing"),
    "missing plug-in file": (f"{FAKES}:Optimizer", "gone.py:Optimizer", "there is no file gone.py"),
    "missing plug-in class": (f"{FAKES}:Optimizer", f"{FAKES}:Optimiser", "did you mean 'Optimizer'"),
    "name out of the folder": ("name: tiny", "name: ../../tiny", "tiny.yaml:2: name: "),
    "bad fixed network": (
        "space: space.yaml",
        "space: space.yaml\n  fixed: {depth: 1, width: 7, kernel1: 3}",
        "tiny.yaml:5: network.fixed: width: 7 is not one of",
    ),
    "negative seed": ("seed: 0", "seed: -1", "tiny.yaml:22: seed: "),
    "not YAML": ("seed: 0", "seed: [0", "tiny.yaml:23: not YAML"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_its_place(write, mistake):
    old, new, said = MISTAKES[mistake]
    with pytest.raises(CoevoError) as caught:
        load_experiment(write(old, new))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


OVERRIDES = {
    "budget.designs=-3": "--set budget.designs=-3: budget.designs: ",
    "budget.design=3": "budget.design: unknown key (did you mean 'designs'?",
    "budgett.designs=3": "budgett: unknown key (did you mean 'budget'?",
    "optimizer.batch=x": "--set optimizer.batch=x: optimizer.batch: must be a plain number",
    "objectives.7=area": "--set objectives.7=area: objectives: no item '7'",
    "objectives.1=aria": "--set objectives.1=aria: objectives.1: no metric named 'aria' (did you mean 'area'?",
    "seed.deep=3": "--set seed.deep=3: seed: is 0 and has no fields",
    "seed": "--set seed: must read key.path=value",
    "=3": "must read key.path=value",
    "seed=[1": "--set seed=[1: not YAML",
    "seed=1\nname: evil": "must be one line of YAML",
    "budget={trainings: 5}": None,
    "objectives=[latency]": None,
    "accelerators=[{template: machine.yaml, vary: {}}]": None,
    "deployment.resolution=16": None,
    "accuracy.delay_s=1e-3": None,
    "description='a: b'": None,
}


@pytest.mark.parametrize("text", OVERRIDES)
def test_an_override_is_checked_like_the_file(write, text):
    expected = OVERRIDES[text]
    if expected is None:
        load_experiment(write(), [text])
        return
    with pytest.raises(SpecError) as caught:
        load_experiment(write(), [text])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_trainings_cannot_be_budgeted_where_nothing_is_trained(write):
    expected = "--set budget={trainings: 4}: budget.trainings: nothing is trained"
    with pytest.raises(SpecError, match=re.escape(expected)):
        load_experiment(write("  - error\n", ""), ["budget={trainings: 4}"])


def test_overrides_reach_into_keys_with_dots(write):
    file = write("  - machine.yaml", "  - template: machine.yaml\n    vary:\n      pe_array.rows: {any_of: [1, 2]}")
    assert load_experiment(file).joint.sizes["hardware"] == 2
    changed = load_experiment(file, ["accelerators.0.vary.pe_array.rows={any_of: [1, 2, 3, 4]}"])
    assert changed.joint.sizes["hardware"] == 4


def test_an_experiment_knows_its_spaces_and_scores_designs(write):
    experiment = load_experiment(write())
    assert experiment.joint.sizes == {"network": 48, "hardware": 3, "joint": 144}
    genome = experiment.joint.genome({"net.depth": 1, "net.width": 8, "net.kernel1": 3, "small.pe_array.rows": 4})
    values, violation = experiment.evaluator.hardware(genome[None, :])
    assert values.shape == (1, 2)
    assert violation.tolist() == [0]
    assert experiment.evaluator.inspect(genome).evaluation.metrics["error_pct"] > 0


def test_the_deployment_is_what_hardware_is_scored_for(write):
    small, large = load_experiment(write()), load_experiment(write(), ["deployment={resolution: 32, classes: 1000}"])
    (genome,) = small.joint.space.sample(np.random.default_rng(0), 1)
    network = small.joint.design(genome).network
    assert large.joint.workload(network).macs == 16 * small.joint.workload(network).macs


def test_the_identity_is_of_contents_not_of_names_and_places(write, tmp_path):
    file = write()
    before = load_experiment(file).plan.hash
    assert load_experiment(str(tmp_path / file)).plan.hash == before
    Path("machine.yaml").rename("renamed.yaml")
    assert load_experiment(write("machine.yaml", "renamed.yaml")).plan.hash == before
    assert load_experiment(write("machine.yaml", "renamed.yaml"), ["budget.designs=7"]).plan.hash == before
    assert load_experiment(write("machine.yaml", "renamed.yaml"), ["optimizer.batch=7"]).plan.hash != before


def test_an_absent_file_is_one_line():
    with pytest.raises(SpecError, match=r"no experiment named 'nowhere\.yaml'"):
        load_experiment("nowhere.yaml")


def test_a_cost_only_experiment_imports_no_torch(write, tmp_path):
    write()
    script = (
        "import sys; from coevo.experiment import load_experiment\n"
        "e = load_experiment('tiny.yaml', ['objectives=[latency, energy]', 'accuracy=null', "
        "'deployment={resolution: 8, classes: 10}'])\n"
        "with e.study('run') as study: print(len(study.run().designs) > 0, 'torch' in sys.modules)\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(REPOSITORY)})
    assert done.stdout.split() == ["True", "False"]


def test_runs_go_to_a_folder_of_the_experiments_name(write):
    with load_experiment(write(), ["budget.designs=1"]).study() as study:
        study.run()
    assert Path("runs/tiny/run.sqlite").is_file()
