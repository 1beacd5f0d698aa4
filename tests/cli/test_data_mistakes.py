"""What users get wrong about the data: one clear line and exit code 2; and a run is tied to the data's code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coevo.cli import main

EXPERIMENT = """\
schema: 1
name: mine
network: {space: digits_mbconv}
accelerators: [eyeriss]
objectives: [error, energy]
accuracy:
  name: train
  data: mine.py:make_data
  epochs: 1
cost: {name: "COST"}
budget: {trainings: 2}
optimizer: {name: random}
""".replace("COST", f"{Path(__file__).parents[1] / 'evaluate' / 'codesign_fakes.py'}:CostModel")

DATA = """\
import numpy as np

rng = np.random.default_rng(0)
pairs = [(rng.integers(0, 256, (8, 8), dtype=np.uint8), i % 2) for i in range(40)]

def make_data():
    return {"train": pairs, "test": pairs[:10], "name": "noise"}

def torn():
    raise OSError("no such disk")

def oblong():
    return [(pairs[0][0][:4], 0)] * 3, pairs
"""


@pytest.fixture(autouse=True)
def _workplace(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COEVO_CACHE", str(tmp_path / "kept"))
    monkeypatch.delenv("COEVO_DATA", raising=False)
    Path("mine.py").write_text(DATA)


def _call(capsys, *arguments):
    """Exit code and what stands on the two outputs."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return stop.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("digitss", ["mine.yaml:8", "accuracy.data", "did you mean 'digits'?", "path/to/file.py:function"]),
        ("fashion-mnist", ["mine.yaml:8", "accuracy.data", "did you mean 'fashion_mnist'?"]),
        ("3", ["mine.yaml:8", "accuracy.data", "3"]),
        ("fashion_mnist", ["fashion_mnist.npz", "COEVO_DATA"]),
        ("absent.py:make_data", ["mine.yaml:8", "accuracy.data", "there is no file absent.py"]),
        ("mine.py:make_dat", ["mine.yaml:8", "accuracy.data", "did you mean 'make_data'?"]),
        ("mine.py:torn", ["mine.py:10", "torn", "OSError: no such disk"]),
        ("mine.py:oblong", ["mine.py", "oblong", "item 0 of train", "1 x 4 x 8", "square"]),
        ("mine.py:pairs", ["mine.py", "pairs", "is no function but list"]),
    ],
)
def test_a_mistake_about_the_data_is_one_line(capsys, data, said):
    Path("mine.yaml").write_text(EXPERIMENT.replace("mine.py:make_data", data))
    code, out, err = _call(capsys, "run", "mine.yaml")
    assert code == 2, (out, err)
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err, err
    for text in said:
        assert text in err


def test_a_run_belongs_to_the_code_of_its_data_and_is_reported_without_it(capsys):
    Path("mine.yaml").write_text(EXPERIMENT)
    code, _, err = _call(capsys, "run", "mine.yaml", "--out", "out")
    assert code == 0, err
    Path("mine.py").write_text(DATA.replace("default_rng(0)", "default_rng(1)"))
    code, _, err = _call(capsys, "run", "mine.yaml", "--out", "out")
    assert code == 2
    assert "plugins.mine.py:make_data" in err
    Path("mine.py").unlink()
    shutil.rmtree("kept")
    code, _, err = _call(capsys, "report", "out")
    assert code == 0, err
    assert any("noise (mine.py:make_data)" in path.read_text() for path in Path("out").glob("*.html"))
