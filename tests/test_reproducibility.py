"""The same experiment gives the same files: twice, with any number of workers, and however often it is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TRAINED = """\
schema: 1
name: small
network: {space: digits_mbconv}
accelerators: [eyeriss, shidiannao]
objectives: [error, latency, area]
constraints: {area_mm2: {max: 16}}
accuracy: {name: train, data: digits, epochs: 3, train_images: 400, test_images: 100}
optimizer: {name: nsga2, population: 6}
budget: {trainings: 14}
seed: 3
"""

TRAIN = "{name: train, data: digits, epochs: 2, train_images: 300, test_images: 100, device: cpu}"

RUNGS = {
    "zero_cost": "{name: zero_cost, data: digits, reference: 6, proxies: [macs, synflow, naswot], device: cpu}",
    "predictor": f"{{name: predictor, of: {TRAIN}, labels: 10, least_tau: -1, measure: 0.3}}",
    "inherit": TRAIN.replace("train,", "inherit,", 1),
    "supernet": TRAIN.replace("train,", "supernet,", 1),
    "cascade": "{name: cascade, rungs: ["
    "{model: {name: zero_cost, data: digits, reference: 6, proxies: [macs, synflow], device: cpu}, keep: 0.6}, "
    f"{{model: {TRAIN}, keep: 0.6}}, {{model: {TRAIN}}}]}}",
}
"""An accuracy section for each rung of the ladder."""

UNTRAINED = """\
schema: 1
name: small
network: {space: digits_mbconv}
accelerators: [eyeriss, nvdla]
deployment: {resolution: 8, classes: 10, channels: 1}
objectives: [latency, energy, area]
optimizer: {name: nsga2, population: 10}
budget: {designs: 60}
seed: 3
"""


def start(experiment: str, folder: Path, jobs: int) -> subprocess.Popen[bytes]:
    file = folder.parent / "small.yaml"
    file.write_text(experiment)
    command = [sys.executable, "-m", "coevo", "run", str(file), "--out", str(folder), "--jobs", str(jobs)]
    errors = (folder.parent / "errors").open("wb")  # a file: workers that outlive a kill would keep a pipe open
    with errors:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)


def front(experiment: str, folder: Path, jobs: int = 1) -> bytes:
    process = start(experiment, folder, jobs)
    assert process.wait(timeout=280) == 0, (folder.parent / "errors").read_text()
    return (folder / "front.csv").read_bytes()


def killed(experiment: str, folder: Path, seconds: float, jobs: int = 2) -> None:
    """Starts a run, and kills it with all it started, as hard as can be, after so many seconds."""
    process = start(experiment, folder, jobs)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_the_same_seed_gives_the_same_front_with_one_worker_and_with_two(tmp_path):
    once = front(UNTRAINED, tmp_path / "a", jobs=1)
    assert once.count(b"\n") > 3
    assert front(UNTRAINED, tmp_path / "b", jobs=2) == once
    assert front(UNTRAINED.replace("seed: 3", "seed: 4"), tmp_path / "c") != once


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_training_gives_the_same_front_twice_with_two_workers_and_killed_three_times(tmp_path):
    began = time.monotonic()
    once = front(TRAINED, tmp_path / "once", jobs=1)
    whole = time.monotonic() - began
    assert once.count(b"\n") > 2
    assert front(TRAINED, tmp_path / "twice", jobs=2) == once
    instants = random.Random(0)
    for _ in range(3):
        killed(TRAINED, tmp_path / "killed", instants.uniform(0.1, 0.9) * whole / 2)
    assert front(TRAINED, tmp_path / "killed", jobs=2) == once
    assert (tmp_path / "killed" / "designs.csv").read_bytes() == (tmp_path / "once" / "designs.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rung", RUNGS)
def test_every_rung_gives_the_same_front_with_other_workers_and_killed_twice(tmp_path, rung):
    line = next(line for line in TRAINED.splitlines() if line.startswith("accuracy:"))
    experiment = TRAINED.replace(line, f"accuracy: {RUNGS[rung]}")
    experiment = experiment.replace(
        "budget: {trainings: 14}", f"budget: {{trainings: 16}}\nfinal: {{accuracy: {TRAIN}}}"
    )
    began = time.monotonic()
    once = front(experiment, tmp_path / "once", jobs=1)
    whole = time.monotonic() - began
    assert once.count(b"\n") > 1
    instants = random.Random(rung)
    for _ in range(2):
        killed(experiment, tmp_path / "killed", instants.uniform(0.2, 0.9) * whole / 2)
    assert front(experiment, tmp_path / "killed", jobs=2) == once
    assert (tmp_path / "killed" / "designs.csv").read_bytes() == (tmp_path / "once" / "designs.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rung", ["inherit", "zero_cost", "supernet"])
def test_in_steady_state_one_worker_gives_the_same_front_killed_three_times(tmp_path, rung):
    line = next(line for line in TRAINED.splitlines() if line.startswith("accuracy:"))
    steady = TRAINED.replace(line, f"accuracy: {RUNGS[rung]}\nsteady_state: {{in_flight: 3}}")
    began = time.monotonic()
    once = front(steady, tmp_path / "once", jobs=1)
    whole = time.monotonic() - began
    assert once.count(b"\n") > 2
    instants = random.Random(0)
    for _ in range(3):
        killed(steady, tmp_path / "killed", instants.uniform(0.2, 0.9) * whole / 2, jobs=1)
    assert front(steady, tmp_path / "killed", jobs=1) == once
    assert (tmp_path / "killed" / "designs.csv").read_bytes() == (tmp_path / "once" / "designs.csv").read_bytes()


def test_ctrl_c_is_one_line_and_the_run_goes_on(tmp_path):
    process = start(UNTRAINED.replace("designs: 60", "designs: 4000"), tmp_path / "run", jobs=1)
    while not (tmp_path / "run" / "run.sqlite").exists():
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    said = (tmp_path / "errors").read_text().strip()
    assert said == "interrupted; nothing evaluated is lost, the same command goes on"
