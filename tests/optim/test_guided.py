"""What is learnt of errors, and what the search does with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from coevo import pareto
from coevo.optim.error_model import ErrorModel
from coevo.optim.expected_gain import REFERENCE, Front, greedy
from coevo.optim.guided import PairedGain
from coevo.optim.nsga2 import NSGA2, NSGA2Settings
from coevo.optim.operators import apart, scaled
from coevo.optim.ranges import Range
from coevo.space import Gene, Space

from .problem import AnalyticProblem

CORNER = np.array([100.0, 4.0, 6.0])
QUICK: dict[str, Any] = {"inner_population": 40, "inner_generations": 6}
"""A short inner search, where a test is about something else."""


def networks(problem: Any, genomes: np.ndarray) -> list[bytes]:
    is_network = np.array([gene.name.startswith("net.") for gene in problem.space.genes])
    return [row.tobytes() for row in np.ascontiguousarray(genomes[:, is_network])]


def volume(problem: AnalyticProblem, trainings: int, seed: int, **settings: Any) -> float:
    """Hypervolume of what a search finds with so many trained networks."""
    optimizer = NSGA2(problem, NSGA2Settings(**settings), np.random.default_rng(seed))
    trained: set[bytes] = set()
    found = []
    while len(trained) < trainings:
        genomes = optimizer.ask()
        values, violation = problem.evaluate(genomes)
        optimizer.tell(genomes, values, violation)
        for network, figures, broken in zip(networks(problem, genomes), values, violation, strict=True):
            if network in trained or len(trained) < trainings:
                trained |= {network} if broken == 0 else set()
                found += [figures] if broken == 0 else []
    return pareto.hypervolume(np.array(found), CORNER)


@pytest.mark.parametrize("learner", ["gaussian_process", pytest.param("gradient_boosting", marks=pytest.mark.slow)])
def test_learning_errors_finds_more_with_a_third_of_the_trainings(learner):
    for seed in range(2):
        plain = volume(AnalyticProblem(), 90, seed, error_model="none")
        assert volume(AnalyticProblem(), 30, seed, error_model=learner, **QUICK) > plain


def test_no_network_that_hardware_rules_out_is_chosen():
    problem = AnalyticProblem(max_area=150.0)
    optimizer = NSGA2(problem, NSGA2Settings(**QUICK), np.random.default_rng(0))
    for _ in range(4):
        genomes = optimizer.ask()
        values, violation = problem.evaluate(genomes)
        assert (violation == 0).all()
        optimizer.tell(genomes, values, violation)


def test_a_known_network_comes_again_only_with_designs_that_would_be_on_the_front():
    problem = AnalyticProblem()
    optimizer = NSGA2(problem, NSGA2Settings(pairings=1, **QUICK), np.random.default_rng(1))
    told = [np.empty((0, 3))]
    known: set[bytes] = set()
    again = 0
    for _ in range(8):
        genomes = optimizer.ask()
        values, violation = problem.evaluate(genomes)
        front = np.concatenate(told)
        for network, figures in zip(networks(problem, genomes), values, strict=True):
            if network in known:
                again += 1
                assert not ((front <= figures).all(axis=1) & (front < figures).any(axis=1)).any()
        known |= set(networks(problem, genomes))
        told.append(values)
        optimizer.tell(genomes, values, violation)
    assert again > 0


def test_networks_under_way_are_not_asked_for_again():
    problem = AnalyticProblem()
    optimizer = NSGA2(problem, NSGA2Settings(offspring=4, **QUICK), np.random.default_rng(0))
    first = optimizer.ask()
    optimizer.tell(first, *problem.evaluate(first))
    batches = [set(networks(problem, optimizer.ask())) - set(networks(problem, first)) for _ in range(3)]
    assert all(len(batch) == 4 for batch in batches)
    assert len(set.union(*batches)) == 12


def test_where_trainings_fail_their_neighbours_are_avoided():
    class Fails(AnalyticProblem):
        """Nothing wider than 32 in its first stage can be trained, which hardware does not know."""

        def train(self, genomes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            values, violation = self.evaluate(genomes)
            wide = np.array([self.space.decode(genome)["net.stage0.width"] > 32 for genome in genomes])
            return values, np.where(wide, 1.0, violation)

    problem = Fails()
    optimizer = NSGA2(problem, NSGA2Settings(**QUICK), np.random.default_rng(0))
    failures = []
    for _ in range(8):
        genomes = optimizer.ask()
        values, violation = problem.train(genomes)
        optimizer.tell(genomes, values, violation)
        kind = dict(zip(networks(problem, genomes), violation > 0, strict=True))
        failures.append(np.mean(list(kind.values())))
    assert np.mean(failures[4:]) < 0.5 * np.mean(failures[:2])


def test_with_more_than_one_unknown_objective_the_search_is_plain():
    class TwoUnknown(AnalyticProblem):
        def hardware(self, genomes):
            values, violation = super().hardware(genomes)
            values[:, 2] = np.nan
            return values, violation

    problem = TwoUnknown()
    asked = []
    for learner in ("gaussian_process", "none"):
        optimizer = NSGA2(problem, NSGA2Settings(error_model=learner, population=8), np.random.default_rng(0))
        genomes = optimizer.ask()
        optimizer.tell(genomes, *problem.evaluate(genomes))
        asked.append(optimizer.ask())
    assert_array_equal(*asked)


def test_the_first_networks_are_as_many_as_set_and_reach_from_cheap_to_dear():
    problem = AnalyticProblem()
    spans = []
    for settings in ({"error_model": "none", "population": 10}, {"initial": 10}):
        widths = []
        for seed in range(8):
            optimizer = NSGA2(problem, NSGA2Settings(trials=1, **settings), np.random.default_rng(seed))
            genomes = optimizer.ask()
            assert len(genomes) == 10
            widths.append(np.ptp(problem.evaluate(genomes)[0][:, 1:], axis=0))
        spans.append(np.mean(widths, axis=0))
    assert (spans[1] > spans[0]).all()


def test_the_first_networks_lie_farther_apart_than_those_they_are_chosen_from(monkeypatch):
    def nearest() -> float:
        distances = []
        for seed in range(8):
            optimizer = NSGA2(AnalyticProblem(), NSGA2Settings(trials=1), np.random.default_rng(seed))
            costs = AnalyticProblem().evaluate(optimizer.ask())[0][:, 1:]
            gaps = np.linalg.norm(costs[:, None] - costs[None, :], axis=2) + np.diag(np.full(len(costs), np.inf))
            distances.append(gaps.min(axis=1).mean())
        return float(np.mean(distances))

    chosen = nearest()
    monkeypatch.setattr("coevo.optim.nsga2.apart", lambda points, count: np.arange(count))
    assert chosen > 1.2 * nearest()


# -- the parts -------------------------------------------------------------------------------------------------


def test_the_gain_is_the_difference_of_two_hypervolumes():
    rng = np.random.default_rng(0)
    reference = np.full(3, REFERENCE)
    for _ in range(50):
        known, new = rng.random((12, 3)), rng.random((3, 3)) * 1.2
        both = pareto.hypervolume(np.concatenate([known, new]), reference)
        assert Front(known).gain(new) == pytest.approx(both - pareto.hypervolume(known, reference), abs=1e-12)
    assert Front(np.empty((0, 3))).gain(np.full((1, 3), 0.1)) == pytest.approx(1)


def test_greedy_takes_what_adds_most_given_what_was_taken():
    """As computing every gain anew after each."""
    rng = np.random.default_rng(3)
    points = rng.random((40, 3))
    designs = [points[i : i + 2] for i in range(0, 40, 2)]
    draws = rng.random((8, 20))
    front = Front(rng.random((5, 3)) + 0.3)
    success = np.linspace(0.5, 1, 20)
    chosen = greedy(PairedGain(front, designs, draws, 0, success), np.arange(20), 6)
    slow = PairedGain(front, designs, draws, 0, success)
    for number, i in enumerate(chosen):
        gains = slow.of(np.arange(20))
        gains[chosen[:number]] = -1.0
        assert gains[i] == pytest.approx(max(gains))
        slow.take(i)


def test_a_gain_counts_by_how_likely_the_training_is_to_succeed():
    designs, draws = [np.full((1, 3), 0.2)], np.full((4, 1), 0.2)
    front = Front(np.full((1, 3), 0.5))
    sure, doubtful = (
        PairedGain(front, designs, draws, 0, np.array([chance])).of(np.array([0]))[0] for chance in (1.0, 0.25)
    )
    assert sure > 0 and doubtful == pytest.approx(0.25 * sure)


def test_networks_like_those_that_failed_are_expected_to_fail():
    problem = AnalyticProblem()
    rng = np.random.default_rng(0)
    genomes = problem.space.sample(rng, 40)
    values = problem.evaluate(genomes)[0][:, 0]
    model = ErrorModel(problem, "gaussian_process", rng)
    model.fit(genomes[:30], values[:30], genomes[30:33])
    failed, good = model.success(genomes[30:33]), model.success(genomes[:30])
    assert failed.max() < good.mean() <= 1
    model.fit(genomes[:30], values[:30], genomes[:0])
    assert (model.success(genomes) == 1).all()


def test_a_range_takes_logarithms_of_positive_objectives_alone_and_of_those_that_may():
    values = np.array([[0.5, 1.0, -1.0], [0.1, 100.0, 3.0], [0.2, 10.0, 1.0]])
    costs, none = Range(3, np.array([False, True, True])), Range(3, np.zeros(3, dtype=np.bool_))
    assert list(costs.worst) == [0, 0, 0]
    for scale in (costs, none):
        scale.add(values)
    assert list(costs.worst) == [0.5, 100, 3]
    np.testing.assert_allclose(costs.scaled(values), [[1, 0, 0], [0, 1, 1], [0.25, 0.5, 0.5]])
    np.testing.assert_allclose(none.scaled(values)[:, 1], [0, 1, 9 / 99])


def test_scaled_networks_go_from_the_smallest_to_the_largest():
    genes = (*(Gene(f"net.size{i}", (1, 2, 3, 4, 5)) for i in range(6)), Gene("net.kind", ("a", "b"), ordered=False))
    space = Space((*genes, Gene("chip", (1, 2, 3))))
    drawn = scaled(space, 50, np.random.default_rng(0))
    assert_array_equal(drawn[[0, -1], :6], [[0] * 6, [4] * 6])
    # The genes of one network are alike: their spread is well below that of independent draws.
    assert drawn[:, :6].std(axis=1).mean() < 0.7 * np.sqrt(2)
    assert {0, 1} == set(drawn[:, 6]) and {0, 1, 2} == set(drawn[:, 7])
    assert len(scaled(space, 1, np.random.default_rng(0))) == 1


def test_rows_apart_begin_in_the_middle_and_reach_the_ends():
    points = np.array([[0.0], [0.1], [0.5], [0.52], [0.9], [1.0]])
    assert list(apart(points, 3)) == [2, 0, 5] or list(apart(points, 3)) == [3, 0, 5]
    assert sorted(apart(points, 10)) == list(range(6))
