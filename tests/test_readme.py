"""What the README shows works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(mark):
    return re.findall(rf"<!-- {mark} -->\n```\w+\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def folder(tmp_path):
    for name, text in re.findall(r"<!-- file (\S+) -->\n```\w+\n(.*?)```", README, re.DOTALL):
        (tmp_path / name).write_text(text)
    return tmp_path


def coevo(folder, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "coevo", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, env=environment).stdout


def test_its_python_snippet_runs_word_for_word_on_its_files(folder):
    (code,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "runs" / "my" / "report.html").exists()


def test_its_accelerator_and_experiment_pass_the_check(folder):
    assert "my_accelerator: Output stationary" in coevo(folder, "check", "my_accelerator.yaml")
    assert "joint space" in coevo(folder, "check", "my.yaml")


def test_its_metric_serves_as_an_objective(folder):
    settings = ["objectives=[mine.py:ed2p, area]", "constraints={}", "budget={designs: 12}", "optimizer.population=6"]
    coevo(folder, "run", "my.yaml", "--quiet", *(part for text in settings for part in ("--set", text)))
    header = (folder / "runs" / "my" / "front.csv").read_text().splitlines()[0]
    assert "ed2p_mj_ms2" in header


def test_its_two_commands_stand_alone_on_a_line():
    for mark in ("run", "tests"):
        (command,) = blocks(mark)
        assert command.count("\n") == 1 and command.startswith("python3 -m venv .venv && ")


def test_every_shipped_experiment_that_it_names_is_there():
    names = ("quickstart", "digits_sizing", "hardware_only", "tiny_mcu", "cifar10_eyeriss", "cifar10_fixed_eyeriss")
    for name in names:
        assert f"`{name}`" in README
        assert (Path(__file__).parents[1] / "experiments" / f"{name}.yaml").exists()


def test_its_comparison_passes_the_check(folder, monkeypatch):
    from coevo.compare import load_comparison

    monkeypatch.chdir(folder)
    plan = load_comparison("comparison.yaml")
    assert plan.spec.name == "comparison" and plan.trains
