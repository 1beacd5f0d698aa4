"""Runs that are really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from coevo.errors import RunError
from coevo.experiment import load_experiment
from coevo.study import load_results

REPOSITORY = Path(__file__).parents[2]

SCRIPT = """
import sys
from coevo.errors import RunError
from coevo.experiment import load_experiment
try:
    with load_experiment(sys.argv[1], sys.argv[3:]).study(sys.argv[2], jobs=2) as study:
        study.run()
except RunError as error:
    sys.exit(f"refused: {error}")
"""


def start(workplace: Path, out: str, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(workplace / "tiny.yaml"), str(workplace / out), *overrides]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )


def wait_for(process: subprocess.Popen[str], journal: Path, lines: int) -> None:
    while process.poll() is None and (not journal.exists() or len(journal.read_text().split()) < lines):
        time.sleep(0.002)


def test_killed_three_times_and_resumed_the_front_is_that_of_a_run_never_killed(workplace, run, trained):
    rng = np.random.default_rng(2)
    slow = ("accuracy.delay_s=0.02", "optimizer.mutate=0.8", "budget.designs=70")
    journal = workplace / "journal"
    killed = 0
    for _ in range(3):
        process = start(workplace, "killed", *slow)
        wait_for(process, journal, len(trained()) + int(rng.integers(1, 9)))
        time.sleep(float(rng.uniform(0, 0.03)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed == 3
    process = start(workplace, "killed", *slow)
    assert process.communicate() == (None, "")
    resumed = load_results(workplace / "killed")
    count = len(trained())
    straight = run(*slow, out="straight")
    assert resumed.front.rows() == straight.front.rows()
    assert resumed.evaluations == straight.evaluations
    assert resumed.trainings == straight.trainings > 24  # so that every kill hit a run under way
    # At most the two trainings under way were lost by each kill.
    assert count <= straight.trainings + 3 * 2


def test_a_second_process_is_refused_and_the_first_goes_on(workplace):
    with load_experiment(workplace / "tiny.yaml", ["budget.designs=12"]).study(workplace / "run") as study:
        second = start(workplace, "run", "budget.designs=12")
        _, said = second.communicate()
        assert said.startswith("refused: ")
        assert "another process is running in it" in said
        assert said.count("\n") == 1
        study.run()
        assert len(study.evaluations) == 12


def test_a_second_study_in_the_same_process_is_refused_too(workplace):
    experiment = load_experiment(workplace / "tiny.yaml")
    with experiment.study(workplace / "run"), pytest.raises(RunError, match="another process"):
        experiment.study(workplace / "run")
    experiment.study(workplace / "run").close()


def test_interrupted_from_the_keyboard_it_leaves_what_was_done(workplace, run):
    process = start(workplace, "stopped", "accuracy.delay_s=0.02")
    wait_for(process, workplace / "journal", 5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert "KeyboardInterrupt" in said
    assert process.returncode in (1, 130, -signal.SIGINT)
    resumed = run("accuracy.delay_s=0.02", out="stopped")
    assert resumed.evaluations == run("accuracy.delay_s=0.02", out="straight").evaluations
