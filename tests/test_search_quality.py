"""NSGA-II against random search at equal budget, on hardware that the cost model scores."""

from __future__ import annotations

import numpy as np
import pytest

from coevo import load_experiment
from coevo.pareto import hypervolume

SEEDS = range(10)
DESIGNS = 300


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nsga2_beats_random_search_in_at_least_nine_of_ten_seeds(tmp_path):
    """Ten seeds, 300 designs each: sizing Eyeriss for one network by latency, energy and area."""
    base = ["accelerators=[eyeriss]", "constraints={}", f"budget={{designs: {DESIGNS}}}"]
    found = {}
    for name in ("nsga2", "random"):
        for seed in SEEDS:
            experiment = load_experiment("hardware_only", [*base, f"optimizer={{name: {name}}}", f"seed={seed}"])
            with experiment.study(tmp_path / f"{name}{seed}", jobs=2) as study:
                study.run()
                found[name, seed] = np.log10([e.values for e in study.evaluations if e.violation == 0])
    everything = np.concatenate(list(found.values()))
    low, high = everything.min(axis=0), everything.max(axis=0)
    volume = {key: hypervolume((values - low) / (high - low), np.ones(3)) for key, values in found.items()}
    wins = sum(volume["nsga2", seed] > volume["random", seed] for seed in SEEDS)
    medians = {name: float(np.median([volume[name, seed] for seed in SEEDS])) for name in ("nsga2", "random")}
    print(f"hypervolume, median of {len(SEEDS)} seeds: {medians}; nsga2 ahead in {wins}")
    assert wins >= 9
