"""How busy are the workers, batch by batch and in steady state? Trainings sleep, some ten times as long as others.

    pytest -s tests/benchmarks/test_steady_speed.py --benchmark-only

Utilisation is the trainings' own time over workers times the clock's. The same optimiser, seed and number of trainings.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from coevo.experiment import load_experiment

EXPERIMENT = """\
schema: 1
name: napping
network: {space: digits_mbconv}
accelerators: [eyeriss]
objectives: [error, latency]
accuracy: {name: "NAPPING:Napping"}
optimizer: {name: regularized_evolution, population: 8, batch: 8}
budget: {trainings: 48}
"""
SPARE = 2
"""Trainings in flight beside those that run: they begin while the optimiser is asked."""


@pytest.mark.parametrize("workers", [2, 4])
def test_utilisation_in_steady_state_beside_batches(benchmark, tmp_path: Path, workers: int) -> None:
    file = tmp_path / "napping.yaml"
    file.write_text(EXPERIMENT.replace("NAPPING", str(Path(__file__).with_name("napping.py"))))

    def run(name: str, *overrides: str) -> float:
        experiment = load_experiment(file, overrides)
        with experiment.study(tmp_path / name, workers) as study:
            began = time.perf_counter()
            for _ in study.iterate():
                pass
            seconds = time.perf_counter() - began
            return study.results().training_seconds / (workers * seconds)

    run("warm", "budget.trainings=2")
    batches = run("batches")
    in_flight = workers + SPARE
    steady = benchmark.pedantic(
        lambda: run("steady", f"steady_state={{in_flight: {in_flight}}}"), rounds=1, iterations=1
    )
    benchmark.extra_info["utilisation"] = {"batches": batches, "steady": steady}
    text = f"{batches:.0%} of the time in batches of 8, {steady:.0%} in steady state with {in_flight} in flight"
    print(f"\n{workers} workers are busy {text}: {steady / batches:.2f} x")
