from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

from coevo.errors import BackendError
from coevo.library import find_plugin, list_plugins
from coevo.optim.optuna import Optuna, OptunaSettings, _quiet
from coevo.space import Gene

from .problem import AnalyticProblem

optuna = pytest.importorskip("optuna")


def adapter(problem: AnalyticProblem, seed: int = 0, **settings: Any) -> Optuna:
    return Optuna(problem, OptunaSettings(**settings), np.random.default_rng(seed))


def theirs(problem: AnalyticProblem, seed: int, sampler: str, count: int) -> np.ndarray:
    """The designs ``(count, gene)`` that Optuna's own loop tries, without coevo between."""
    tried = []

    def objective(trial: Any) -> list[float]:
        genome = [
            trial.suggest_int(gene.name, 0, len(gene.choices) - 1)
            if gene.ordered
            else trial.suggest_categorical(gene.name, range(len(gene.choices)))
            for gene in problem.space.genes
        ]
        tried.append(problem.space.canonical(np.array([genome], dtype=np.int64)))
        (values,), (violation,) = problem.evaluate(tried[-1])
        trial.set_constraint("violation", float(violation))
        return list(values)

    number = int(np.random.default_rng(seed).integers(2**32))
    with _quiet():
        if sampler == "nsga2":
            chosen: Any = optuna.samplers.NSGAIISampler(population_size=10, seed=number)
        else:
            chosen = optuna.samplers.TPESampler(n_startup_trials=10, multivariate=True, seed=number)
        optuna.create_study(sampler=chosen, directions=["minimize"] * 3).optimize(objective, n_trials=count)
    return np.concatenate(tried)


@pytest.mark.skipif(not hasattr(optuna.trial.Trial, "set_constraint"), reason="the loop is written for Optuna 5")
@pytest.mark.parametrize(("sampler", "count"), [("nsga2", 60), ("tpe", 40)])
def test_asks_for_exactly_what_optuna_tries_by_itself_until_that_repeats_itself(sampler, count):
    problem = AnalyticProblem()
    optimizer = adapter(problem, seed=12, sampler=sampler, batch=1, n_startup=10, population=10)
    expected = theirs(problem, 12, sampler, count)
    assert len(np.unique(expected, axis=0)) == count
    asked, infeasible = [], 0
    for _ in range(count):
        asked.append(optimizer.ask())
        values, violation = problem.evaluate(asked[-1])
        optimizer.tell(asked[-1], values, violation)
        infeasible += int(violation[0] > 0)
    assert 5 < infeasible < count - 5
    np.testing.assert_array_equal(np.concatenate(asked), expected)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
class TestBothSamplers:
    def test_finds_the_best_of_a_line(self, sampler):
        problem = Slope()
        optimizer = adapter(problem, sampler=sampler, population=10, n_startup=10)
        best = []
        for _ in range(12):
            genomes = optimizer.ask()
            optimizer.tell(genomes, *problem.evaluate(genomes))
            best.append(genomes.sum(axis=1).mean())
        assert np.mean(best[-3:]) < 0.7 * best[0]

    def test_learns_from_designs_it_did_not_ask_for(self, sampler):
        problem = Slope()
        optimizer = adapter(problem, sampler=sampler, population=10, n_startup=10)
        good = problem.space.canonical(np.random.default_rng(1).integers(0, 6, size=(40, 4)))
        bad = problem.space.canonical(np.random.default_rng(2).integers(20, 40, size=(40, 4)))
        for genomes in (good, bad):
            optimizer.tell(genomes, *problem.evaluate(genomes))
        # Uniform draws have a mean of 19.5 per gene; 8 designs by chance below 16 are four standard errors off.
        assert optimizer.ask().mean() < 16

    def test_goes_by_the_violation_where_nothing_is_feasible(self, sampler):
        problem = Slope(most=-1.0)
        optimizer = adapter(problem, sampler=sampler, population=10, n_startup=10)
        asked = []
        for _ in range(12):
            genomes = optimizer.ask()
            values, violation = problem.evaluate(genomes)
            optimizer.tell(genomes, np.full_like(values, np.nan), violation)
            asked.append(genomes.sum(axis=1).mean())
        assert np.mean(asked[-3:]) < 0.7 * asked[0]

    def test_a_bound_keeps_it_from_what_violates_it(self, sampler):
        totals = []
        for problem in (Slope(least=80.0), Slope()):
            optimizer = adapter(problem, sampler=sampler, population=10, n_startup=10)
            asked = []
            for _ in range(16):
                asked.append(optimizer.ask())
                optimizer.tell(asked[-1], *problem.evaluate(asked[-1]))
            totals.append(np.concatenate(asked[-4:]).sum(axis=1).mean())
        assert totals[0] > 70 and totals[1] < 50


class Slope(AnalyticProblem):
    """Minimises the sum of four genes of 40 choices, which must lie between bounds."""

    def __init__(self, least: float = -np.inf, most: float = np.inf) -> None:
        super().__init__(genes=tuple(Gene(f"net.x{i}", tuple(range(40))) for i in range(4)))
        self.objectives = self.objectives[:1]
        self.least, self.most = least, most

    def evaluate(self, genomes):
        total = genomes.sum(axis=1).astype(float)
        return total[:, None], np.maximum(total - self.most, 0.0) + np.maximum(self.least - total, 0.0)


def test_takes_unordered_genes_as_categories_and_ordered_ones_as_numbers():
    distributions = adapter(AnalyticProblem())._distributions
    assert type(distributions["template"]).__name__ == "CategoricalDistribution"
    assert type(distributions["array.rows"]).__name__ == "IntDistribution"


def test_a_seed_fixes_the_search_whatever_was_searched_before():
    problem = AnalyticProblem()
    first = adapter(problem, seed=5).ask()
    adapter(problem, seed=1).ask()
    np.testing.assert_array_equal(adapter(problem, seed=5).ask(), first)


def test_prints_nothing_and_leaves_the_verbosity_and_the_filters_of_warnings_alone(capfd):
    before = optuna.logging.get_verbosity(), list(warnings.filters), logging.getLogger("optuna").level
    problem = AnalyticProblem()
    optimizer = adapter(problem)
    genomes = optimizer.ask()
    optimizer.tell(genomes, *problem.evaluate(genomes))
    assert capfd.readouterr() == ("", "")
    assert (optuna.logging.get_verbosity(), list(warnings.filters), logging.getLogger("optuna").level) == before


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(BackendError) as caught:
        adapter(AnalyticProblem())
    assert str(caught.value) == "the optimiser optuna needs the package optuna: pip install 'coevo[optuna]'"
    assert "optuna" in list_plugins("optim") and find_plugin("optim", "optuna") is Optuna


def test_finding_the_plugin_does_not_import_the_package():
    code = "import sys, coevo.library as l; l.find_plugin('optim', 'optuna'); print('optuna' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
