from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from coevo import pareto
from coevo.design import Quantity
from coevo.optim.random import RandomSearch
from coevo.optim.regularized_evolution import RegularizedEvolution, RegularizedEvolutionSettings
from coevo.space import Gene

from .problem import AnalyticProblem

REFERENCE = np.array([100.0, 4.0, 6.0])


def evolution(problem: AnalyticProblem, seed: int = 0, **settings: Any) -> RegularizedEvolution:
    return RegularizedEvolution(problem, RegularizedEvolutionSettings(**settings), np.random.default_rng(seed))


def search(optimizer: Any, problem: AnalyticProblem, budget: int) -> tuple[np.ndarray, ...]:
    """Genomes, values and violation of everything evaluated."""
    batches: list[tuple[np.ndarray, ...]] = []
    while sum(len(batch[0]) for batch in batches) < budget:
        genomes = optimizer.ask()
        batches.append((genomes, *problem.evaluate(genomes)))
        optimizer.tell(*batches[-1])
    return tuple(np.concatenate(parts)[:budget] for parts in zip(*batches, strict=True))


class Line(AnalyticProblem):
    """Two genes of 100 choices; minimises what `figures` makes of the first, which hardware knows but for the error."""

    def __init__(self, figures: Any, objectives: int = 1, error: int | None = None) -> None:
        super().__init__(genes=(Gene("net.x", tuple(range(100))), Gene("chip.y", tuple(range(100)))))
        self.objectives = tuple(Quantity(f"objective{i}") for i in range(objectives))
        self.figures, self.error = figures, error

    def hardware(self, genomes):
        values, violation = self.evaluate(genomes)
        if self.error is not None:
            values[:, self.error] = np.nan
        return values, violation

    def evaluate(self, genomes):
        rows = [self.figures(float(x)) for x in genomes[:, 0]]
        return np.array(rows, dtype=float).reshape(len(genomes), len(self.objectives)), np.zeros(len(genomes))


def designs(*xs: int, y: int = 0) -> np.ndarray:
    return np.array([[x, y] for x in xs], dtype=np.int64)


# -- the search ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("screen", [True, False])
def test_beats_random_search_at_equal_budget_in_nine_of_ten_seeds(screen):
    wins = 0
    for seed in range(10):
        problem = AnalyticProblem()
        random = RandomSearch(problem, RandomSearch.Settings(), np.random.default_rng(seed))
        volumes = []
        for optimizer in (evolution(problem, seed, hardware_screen=screen), random):
            _, values, violation = search(optimizer, problem, budget=300)
            volumes.append(pareto.hypervolume(values[violation == 0], REFERENCE))
        wins += volumes[0] > volumes[1]
    assert wins >= 9


def test_the_hardware_screen_proposes_only_what_can_be_built_where_that_is_easy():
    problem = AnalyticProblem(max_area=300.0)
    assert (search(evolution(problem), problem, budget=90)[2] == 0).all()
    plain = AnalyticProblem(max_area=300.0)
    assert (search(evolution(plain, hardware_screen=False), plain, budget=90)[2] > 0).mean() > 0.2


def test_starts_with_a_whole_population_and_goes_on_by_the_batch():
    problem = AnalyticProblem()
    optimizer = evolution(problem, population=12, batch=5)
    sizes = []
    for _ in range(3):
        genomes = optimizer.ask()
        optimizer.tell(genomes, *problem.evaluate(genomes))
        sizes.append(len(genomes))
    assert sizes == [12, 5, 5]


# -- aging -----------------------------------------------------------------------------------------------------


def test_the_oldest_dies_even_if_it_is_the_best():
    problem = Line(lambda x: [x])
    optimizer = evolution(problem, population=3, sample=3)
    for batch in (designs(0), designs(50, 60), designs(70)):  # 0 is the best, and the first
        optimizer.tell(batch, *problem.evaluate(batch))
    np.testing.assert_array_equal(optimizer.population, designs(50, 60, 70))
    assert set(parents(optimizer)) == {50}


def test_a_design_told_again_grows_no_younger():
    problem = Line(lambda x: [x])
    optimizer = evolution(problem, population=3)
    for batch in (designs(1, 2, 3), designs(1), designs(4)):
        optimizer.tell(batch, *problem.evaluate(batch))
    np.testing.assert_array_equal(optimizer.population, designs(2, 3, 4))


# -- who has children ------------------------------------------------------------------------------------------


def parents(optimizer: RegularizedEvolution, count: int = 400) -> np.ndarray:
    """The network genes of the members that have children."""
    return optimizer._genomes[optimizer._winners(count), 0]


def test_the_weights_spread_the_parents_along_the_front_even_where_it_is_not_convex():
    # A plain weighted sum would only ever choose the two ends of this front.
    problem = Line(lambda x: [1 - (1 - x / 99) ** 1.5, 1 - (x / 99) ** 1.5], objectives=2)
    optimizer = evolution(problem, population=5, sample=5)
    optimizer.tell(designs(0, 20, 50, 80, 99), *problem.evaluate(designs(0, 20, 50, 80, 99)))
    chosen = parents(optimizer)
    assert set(chosen) == {0, 20, 50, 80, 99}
    assert (chosen == 50).mean() > 0.1


def test_a_dominated_member_has_no_children_where_everyone_is_sampled():
    problem = Line(lambda x: [x, 90 - x] if x < 90 else [95, 95], objectives=2)
    optimizer = evolution(problem, population=4, sample=4)
    optimizer.tell(designs(0, 45, 89, 99), *problem.evaluate(designs(0, 45, 89, 99)))
    assert set(parents(optimizer)) == {0, 45, 89}


@pytest.mark.parametrize(("error", "expected"), [(None, 0.32), (0, 0.68)])
def test_costs_count_by_their_ratio_and_errors_by_their_difference(error, expected):
    # x = 50 is in the middle between two ends. By the logarithm of both objectives it is halfway, (0.5, 0.5), and wins
    # for weights w with 1.05 min(w) > 0.5 max(w) + 0.025; by the first as it is, nearly as good there as the best.
    problem = Line(lambda x: [10 ** (x / 20), 10 ** (5 - x / 20)], objectives=2, error=error)
    optimizer = evolution(problem, population=3, sample=3)
    optimizer.tell(designs(0, 50, 99), *problem.evaluate(designs(0, 50, 99)))
    assert (parents(optimizer, 4000) == 50).mean() == pytest.approx(expected, abs=0.04)


def test_the_feasible_beat_the_infeasible_and_these_each_other_by_violation():
    problem = Line(lambda x: [x])
    optimizer = evolution(problem, population=3, sample=3)
    values = np.array([[np.nan], [-1e9], [70.0]])
    optimizer.tell(designs(1, 2, 3), values, np.array([0.5, 0.1, 0.0]))
    assert set(parents(optimizer)) == {3}
    optimizer = evolution(problem, population=2, sample=2)
    optimizer.tell(designs(1, 2), values[:2], np.array([0.5, 0.1]))
    assert set(parents(optimizer)) == {2}


def test_a_sample_of_one_leaves_parents_to_chance():
    problem = Line(lambda x: [x])
    optimizer = evolution(problem, population=4, sample=1)
    optimizer.tell(designs(1, 2, 3, 4), *problem.evaluate(designs(1, 2, 3, 4)))
    shares = np.bincount(parents(optimizer, 4000), minlength=5)[1:] / 4000
    np.testing.assert_allclose(shares, 0.25, atol=0.05)


def test_an_empty_sample_is_refused():
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        RegularizedEvolutionSettings(sample=0)
