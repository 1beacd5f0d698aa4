"""Runs on a dask cluster whose workers, scheduler and program are killed: the front is that of a run that never was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coevo.study import load_results

pytest.importorskip("distributed", reason="the extra `dask` is not installed")
from machines import Machines

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")]

TRAINED = """
schema: 1
name: tiny
network: {{space: trained.yaml}}
accelerators: [machine.yaml]
objectives: [error, latency, energy]
accuracy: {{name: train, data: digits, epochs: 1, train_images: 100, test_images: 50, device: cpu}}
cost: {{name: "{fakes}:CostModel"}}
optimizer: {{name: nsga2, error_model: none, population: 6}}
budget: {{trainings: 30}}
"""
HERE = Path(__file__).parent
FAKES = HERE.parent / "evaluate"


@pytest.fixture
def trained(workplace: Path) -> Path:
    """The experiment; ``begun`` beside it has a line for every training that was begun."""
    family = f"family: {HERE / 'journal_family.py'}:Family\njournal: {workplace / 'begun'}\n"
    (workplace / "trained.yaml").write_text(f"schema: 1\nname: tiny\ndescription: Trained.\n{family}")
    (workplace / "trained_run.yaml").write_text(TRAINED.format(fakes=FAKES / "codesign_fakes.py"))
    return workplace / "trained_run.yaml"


@pytest.fixture
def start(trained: Path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")])}

    def start(out: str, *options: str, group: bool = False) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "coevo", "run", str(trained), "--quiet", "--out", str(trained.parent / out)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*command, *options], stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=group
        )

    return start


def begun(folder: Path) -> list[str]:
    journal = folder / "begun"
    return journal.read_text().splitlines() if journal.exists() else []


def wait_for_more(folder: Path, lines: int, process: subprocess.Popen[str]) -> None:
    wanted = len(begun(folder)) + lines
    while len(begun(folder)) < wanted:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_with_worker_program_and_scheduler_killed_the_front_is_that_of_one_machine(start, workplace, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")]))
    machines = Machines(workplace)
    try:
        for name in ("one", "two"):
            machines.start_worker(name)
        process = start("cluster", "--cluster", machines.address)
        wait_for_more(workplace, 5, process)
        machines.kill("one")  # a worker, mid-training
        wait_for_more(workplace, 3, process)
        machines.start_worker("three")  # one that joins
        wait_for_more(workplace, 4, process)
        process.send_signal(signal.SIGKILL)  # the program
        process.communicate()
        process = start("cluster", "--cluster", machines.address)
        wait_for_more(workplace, 4, process)
        machines.scheduler.kill()
        said = process.communicate()
        assert process.returncode == 2, said
        assert f"the dask scheduler {machines.address} is gone" in said[1]
        assert said[1].count("\n") == 1, said[1]
        for name in list(machines.workers):
            machines.kill(name)
        machines.start_scheduler()
        for name in ("four", "five"):
            machines.start_worker(name)
        process = start("cluster", "--cluster", machines.address)
        said = process.communicate()
        assert (process.returncode, said[1]) == (0, "")
    finally:
        machines.stop()
    count = len(begun(workplace))
    alone = start("alone", "--jobs", "2")
    assert (alone.communicate()[1], alone.returncode) == ("", 0)
    there, here = load_results(workplace / "cluster"), load_results(workplace / "alone")
    assert there.front.rows() == here.front.rows()
    assert there.evaluations == here.evaluations
    assert there.trainings == here.trainings == 30
    assert (workplace / "cluster" / "front.csv").read_bytes() == (workplace / "alone" / "front.csv").read_bytes()
    assert 30 <= count <= 30 + 3 * 2  # at most what was under way at each of three kills was begun anew


def test_ctrl_c_ends_workers_of_this_machine_in_one_line_and_the_run_goes_on_exactly(start, workplace, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")]))
    options = ("--jobs", "2", "--set", "budget.trainings=16")
    process = start("cluster", "--cluster", "local", *options, group=True)
    wait_for_more(workplace, 9, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers too
    said = process.communicate()
    assert process.returncode == 130
    assert said[1].strip() == "interrupted; nothing evaluated is lost, the same command goes on"
    process = start("cluster", "--cluster", "local", *options)
    assert (process.communicate()[1], process.returncode) == ("", 0)
    assert 16 <= len(begun(workplace)) <= 16 + 2
    assert (start("alone", *options).communicate()[1]) == ""
    there, here = load_results(workplace / "cluster"), load_results(workplace / "alone")
    assert there.evaluations == here.evaluations
    assert there.trainings == here.trainings == 16


def test_in_steady_state_every_worker_of_a_cluster_is_kept_busy(start, workplace, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")]))
    process = start("steady", "--cluster", "local", "--jobs", "2", "--set", "steady_state={in_flight: 3}")
    assert (process.communicate()[1], process.returncode) == ("", 0)
    results = load_results(workplace / "steady")
    assert results.trainings == 30 == len(begun(workplace))


COMPARISON = """
schema: 1
name: few
experiment: trained_run.yaml
overrides: {accuracy.train_images: 80}
optimizers: {random: {name: random}, evolution: {name: regularized_evolution, population: 4, sample: 2}}
seeds: 2
at: [4]
"""


def test_a_comparison_on_a_cluster_is_the_one_made_here(trained, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")]))
    (workplace / "few.yaml").write_text(COMPARISON)
    tables = []
    for out, options in (("here", ["--jobs", "1"]), ("there", ["--jobs", "2", "--cluster", "local"])):
        command = [sys.executable, "-m", "coevo", "compare", "few.yaml", "--quiet", "--out", out, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        tables.append(done.stdout.replace(out, ""))
    assert tables[0] == tables[1]
