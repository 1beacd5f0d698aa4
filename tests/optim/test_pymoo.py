from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from coevo import pareto
from coevo.errors import BackendError
from coevo.library import find_plugin, list_plugins
from coevo.optim.pymoo import Pymoo, PymooSettings, _algorithm, _directions
from coevo.space import Gene

from .problem import AnalyticProblem

pytest.importorskip("pymoo")

ALGORITHMS = ("nsga2", "nsga3", "age2", "sms")
REFERENCE = np.array([100.0, 4.0, 6.0])


def adapter(problem: AnalyticProblem, seed: int = 0, **settings: Any) -> Pymoo:
    return Pymoo(problem, PymooSettings(**settings), np.random.default_rng(seed))


def volume(problem: AnalyticProblem, budget: int, seed: int, **settings: Any) -> float:
    """Hypervolume of what the adapter finds."""
    optimizer = adapter(problem, seed, **settings)
    found: list[np.ndarray] = []
    count = 0
    while count < budget:
        genomes = optimizer.ask()[: budget - count]
        values, violation = problem.evaluate(genomes)
        optimizer.tell(genomes, values, violation)
        found.append(values[violation == 0])
        count += len(genomes)
    return pareto.hypervolume(np.concatenate(found), REFERENCE)


def direct_volume(problem: AnalyticProblem, budget: int, seed: int, settings: PymooSettings) -> float:
    """Hypervolume of what pymoo's own loop finds with the same operators, without coevo between."""
    from pymoo.operators.sampling.rnd import IntegerRandomSampling

    algorithm = _algorithm(problem, settings, np.random.default_rng(seed))
    algorithm.initialization.sampling = IntegerRandomSampling()
    found: list[np.ndarray] = []
    count = 0
    while count < budget:
        generation = algorithm.ask()
        genomes = problem.space.canonical(generation.get("X").astype(np.int64))[: budget - count]
        values, violation = problem.evaluate(genomes)
        generation = generation[: budget - count]
        generation.set("F", values, "G", violation[:, None], "H", np.empty((len(values), 0)))
        algorithm.tell(infills=generation)
        found.append(values[violation == 0])
        count += len(genomes)
    return pareto.hypervolume(np.concatenate(found), REFERENCE)


class Slope(AnalyticProblem):
    """Minimises the sum of four genes of 40 choices, and their spread; the sum must lie between bounds."""

    def __init__(self, least: float = -np.inf, most: float = np.inf) -> None:
        super().__init__(genes=tuple(Gene(f"net.x{i}", tuple(range(40))) for i in range(4)))
        self.objectives = self.objectives[:2]
        self.least, self.most = least, most

    def evaluate(self, genomes):
        total = genomes.sum(axis=1).astype(float)
        values = np.column_stack([total, genomes.std(axis=1) if len(genomes) else total])
        return values, np.maximum(total - self.most, 0.0) + np.maximum(self.least - total, 0.0)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
class TestEveryAlgorithm:
    @pytest.mark.slow
    def test_finds_as_much_as_pymoo_does_by_itself(self, algorithm):
        settings = PymooSettings(algorithm=algorithm)
        ours, direct = [], []
        for seed in range(3):
            ours.append(volume(AnalyticProblem(), 150, seed, algorithm=algorithm))
            direct.append(direct_volume(AnalyticProblem(), 150, seed, settings))
        print(f"hypervolume of 150 designs, medians: {np.median(ours):.1f}, direct {np.median(direct):.1f}")
        assert np.median(ours) > 0.95 * np.median(direct)

    def test_learns_from_designs_it_did_not_ask_for(self, algorithm):
        problem = Slope()
        optimizer = adapter(problem, algorithm=algorithm, population=10)
        good = np.random.default_rng(1).integers(0, 6, size=(40, 4))
        bad = np.random.default_rng(2).integers(20, 40, size=(40, 4))
        for genomes in (good, bad):
            optimizer.tell(genomes, *problem.evaluate(genomes))
        optimizer.ask()
        # Its first generation is all that was told; with the second, only as many as the population holds survive.
        fresh = np.random.default_rng(3).integers(20, 40, size=(10, 4))
        optimizer.tell(fresh, *problem.evaluate(fresh))
        assert optimizer.ask().mean() < 14  # uniform draws have a mean of 19.5, those told of 16

    def test_goes_by_the_violation_where_nothing_is_feasible(self, algorithm):
        problem = Slope(most=-1.0)
        optimizer = adapter(problem, algorithm=algorithm, population=10)
        asked = []
        for _ in range(15):
            genomes = optimizer.ask()
            values, violation = problem.evaluate(genomes)
            optimizer.tell(genomes, np.full_like(values, np.nan), violation)
            asked.append(genomes.sum(axis=1).mean())
        assert np.mean(asked[-3:]) < 0.7 * asked[0]

    def test_a_bound_keeps_it_from_what_violates_it(self, algorithm):
        totals = []
        for problem in (Slope(least=80.0), Slope()):
            optimizer = adapter(problem, algorithm=algorithm, population=10)
            asked = []
            for _ in range(40):
                asked.append(optimizer.ask())
                optimizer.tell(asked[-1], *problem.evaluate(asked[-1]))
            totals.append(np.concatenate(asked[-10:]).sum(axis=1).mean())
        assert totals[0] > 70 and totals[1] < 60

    def test_takes_one_objective(self, algorithm):
        problem = Slope()
        problem.objectives = problem.objectives[:1]
        optimizer = adapter(problem, algorithm=algorithm, population=10)
        for _ in range(4):
            genomes = optimizer.ask()
            values, violation = problem.evaluate(genomes)
            optimizer.tell(genomes, values[:, :1], violation)
        assert len(optimizer.ask()) == 8


@pytest.mark.parametrize(
    ("objectives", "most", "count"), [(1, 30, 1), (2, 30, 30), (3, 30, 28), (3, 2, 3), (5, 100, 70)]
)
def test_the_reference_directions_are_as_many_as_the_population_holds(objectives, most, count):
    assert _directions(objectives, most).shape == (count, objectives)


def test_starts_with_a_whole_population_and_goes_on_by_the_offspring():
    problem = AnalyticProblem()
    optimizer = adapter(problem, population=12, offspring=5)
    sizes = []
    for _ in range(3):
        genomes = optimizer.ask()
        optimizer.tell(genomes, *problem.evaluate(genomes))
        sizes.append(len(genomes))
    assert sizes == [12, 5, 5]


def test_prints_nothing_and_leaves_the_packages_settings_alone(capfd):
    from pymoo.config import Config

    before = dict(Config.warnings)
    problem = AnalyticProblem()
    for algorithm in ALGORITHMS:
        optimizer = adapter(problem, algorithm=algorithm)
        for _ in range(3):
            genomes = optimizer.ask()
            optimizer.tell(genomes, *problem.evaluate(genomes))
    assert capfd.readouterr() == ("", "") and Config.warnings == before


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "pymoo"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pymoo", None)
    with pytest.raises(BackendError) as caught:
        adapter(AnalyticProblem())
    assert str(caught.value) == "the optimiser pymoo needs the package pymoo: pip install 'coevo[pymoo]'"
    assert "pymoo" in list_plugins("optim") and find_plugin("optim", "pymoo") is Pymoo


def test_finding_the_plugin_does_not_import_the_package():
    code = "import sys, coevo.library as l; l.find_plugin('optim', 'pymoo'); print('pymoo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
