"""Speed of the cost model: ``pytest tests/benchmarks/test_cost_speed.py --benchmark-only``."""

from __future__ import annotations

import numpy as np

from coevo import load_experiment

COST_ONLY = [
    "objectives=[latency, energy]",
    "accuracy=null",
    "constraints={}",
    "deployment={channels: 1, resolution: 8, classes: 10}",
    "budget={designs: 1000}",
]


def test_a_thousand_random_digits_designs(benchmark):
    """1,000 distinct designs of the quickstart's space, every (layer, accelerator) pair mapped anew, one core."""
    experiment = load_experiment("quickstart", COST_ONLY)
    genomes = experiment.joint.space.sample(np.random.default_rng(0), 1000)

    def fresh():
        return (load_experiment("quickstart", COST_ONLY).plan.evaluator(jobs=1), genomes), {}

    _, violation = benchmark.pedantic(lambda evaluator, g: evaluator.hardware(g), setup=fresh, rounds=3)
    assert (violation == 0).all()


def test_one_network_on_one_machine(benchmark):
    """The CIFAR-10 network of `hardware_only` on Eyeriss, all of its layers mapped anew, one core."""
    experiment = load_experiment(
        "hardware_only", ["accelerators=[{template: eyeriss, vary: {}}]", "budget={designs: 1}"]
    )

    def fresh():
        evaluator = load_experiment("hardware_only", ["accelerators=[{template: eyeriss, vary: {}}]"]).plan.evaluator()
        return (evaluator, np.zeros((1, len(experiment.joint.space.genes)), dtype=np.int64)), {}

    benchmark.pedantic(lambda evaluator, g: evaluator.hardware(g), setup=fresh, rounds=3)


def test_the_second_thousand_designs_of_an_nsga2_run(benchmark, tmp_path):
    """Networks of `cifar10_eyeriss` at 224 x 224 and variants of Eyeriss, cost model alone, one core: the log included.

    Most layers and machines of a later generation are known; the rest are mapped anew.
    """
    overrides = [
        "objectives=[latency, energy]",
        "accuracy=null",
        "constraints={}",
        "deployment={channels: 3, resolution: 224, classes: 1000}",
        "budget={designs: 2000}",
        "optimizer={name: nsga2, population: 100}",
    ]
    with load_experiment("cifar10_eyeriss", overrides).study(str(tmp_path / "run"), jobs=1) as study:
        progress = study.iterate()
        while next(progress).evaluations < 1000:
            pass
        benchmark.pedantic(lambda: list(progress), rounds=1)
    print(f"\n{1000 / benchmark.stats.stats.median:.0f} designs a second")
