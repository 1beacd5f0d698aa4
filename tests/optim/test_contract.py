"""What every optimiser promises. Finds the plug-ins by itself; a new one needs no line here."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from coevo.library import find_plugin, list_plugins
from coevo.protocols import Optimizer

from .problem import TINY, AnalyticProblem, ErrorAlone

OPTIMIZERS = list_plugins("optim")
Garble = Callable[[np.ndarray, np.ndarray], np.ndarray]


def build(name: str, problem: AnalyticProblem, seed: int = 0) -> Any:
    plugin = find_plugin("optim", name)
    return plugin(problem, plugin.Settings(), np.random.default_rng(seed))


def play(optimizer: Optimizer, problem: AnalyticProblem, rounds: int, garble: Garble | None = None) -> list[np.ndarray]:
    """Alternates ask and tell; returns what was asked."""
    asked = []
    for _ in range(rounds):
        genomes = optimizer.ask()
        values, violation = problem.evaluate(genomes)
        optimizer.tell(genomes, garble(values, violation) if garble else values, violation)
        asked.append(genomes)
    return asked


def play_steadily(optimizer: Optimizer, problem: AnalyticProblem, tells: int, in_flight: int = 3) -> list[np.ndarray]:
    """Tells one design at a time, whichever of those under way ends first, and asks as soon as fewer are under way."""
    asked: list[np.ndarray] = []
    queue: list[np.ndarray] = []
    ends = np.random.default_rng(7)
    for _ in range(tells):
        while len(queue) < in_flight:
            asked.append(optimizer.ask())
            queue.extend(asked[-1])
            if not len(asked[-1]):
                break
        if not queue:
            break
        genome = queue.pop(int(ends.integers(min(in_flight, len(queue)))))[None, :]
        optimizer.tell(genome, *problem.evaluate(genome))
    return asked


def assert_same(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_optimisers_are_found():
    assert {"nsga2", "optuna", "pymoo", "random", "regularized_evolution"} <= set(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
class TestEveryOptimiser:
    def test_asks_canonical_genomes_each_once(self, name):
        problem = AnalyticProblem()
        asked = play(build(name, problem), problem, rounds=4)
        for genomes in asked:
            assert genomes.dtype == np.int64
            assert genomes.ndim == 2 and len(genomes) > 0
            np.testing.assert_array_equal(problem.space.canonical(genomes), genomes)
        rows = np.concatenate(asked)
        assert len(np.unique(rows, axis=0)) == len(rows)

    def test_asks_the_same_again_from_the_same_seed_and_tells(self, name):
        problem = AnalyticProblem()
        first = play(build(name, problem, seed=3), problem, rounds=4)
        assert_same(first, play(build(name, problem, seed=3), problem, rounds=4))
        assert not np.array_equal(first[0], build(name, problem, seed=4).ask())

    def test_draws_from_its_own_generator_alone(self, name):
        problem = AnalyticProblem()
        before = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global one must stay put
        play(build(name, problem), problem, rounds=4)
        assert random.getstate() == before[0]
        np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002

    def test_never_reads_values_of_infeasible_rows(self, name):
        problem = AnalyticProblem(max_area=150.0)
        clean = build(name, problem)
        rng = np.random.default_rng(9)
        genomes = problem.space.sample(rng, 40)
        values, violation = problem.evaluate(genomes)
        assert 0 < (violation > 0).sum() < 40
        clean.tell(genomes, values, violation)
        expected = play(clean, problem, rounds=4)

        def garble(values: np.ndarray, violation: np.ndarray) -> np.ndarray:
            rubbish = np.resize([np.nan, -1e9, np.inf], len(values))
            return np.where(violation[:, None] > 0, rubbish[:, None], values)

        optimizer = build(name, problem)
        optimizer.tell(genomes, garble(values, violation), violation)
        assert_same(play(optimizer, problem, rounds=4, garble=garble), expected)

    def test_leaves_what_it_is_told_and_what_it_asked_alone(self, name):
        problem = AnalyticProblem()
        optimizer = build(name, problem)
        genomes = optimizer.ask()
        values, violation = problem.evaluate(genomes)
        told = genomes.copy(), values.copy(), violation.copy()
        optimizer.tell(genomes, values, violation)
        optimizer.ask()
        for given, kept in zip((genomes, values, violation), told, strict=True):
            np.testing.assert_array_equal(given, kept)
        # Nor may the caller's later writes reach it.
        twin = build(name, problem)
        twin.ask()
        twin.tell(genomes, values, violation)
        genomes[:], values[:], violation[:] = 0, np.nan, 0
        untouched = build(name, problem)
        untouched.ask()
        untouched.tell(*told)
        np.testing.assert_array_equal(twin.ask(), untouched.ask())

    def test_exhausts_a_small_space_and_then_asks_nothing(self, name):
        problem = AnalyticProblem(genes=TINY)
        optimizer = build(name, problem)
        asked = [rows for rows in play(optimizer, problem, rounds=problem.space.size + 3) if len(rows)]
        rows = np.concatenate(asked)
        assert len(np.unique(rows, axis=0)) == len(rows) == problem.space.size == 8
        assert optimizer.ask().shape == (0, len(TINY))
        assert optimizer.ask().dtype == np.int64

    def test_takes_an_empty_tell(self, name):
        problem = AnalyticProblem()
        optimizer = build(name, problem)
        optimizer.tell(problem.space.sample(np.random.default_rng(0), 0), np.empty((0, 3)), np.empty(0))
        assert len(optimizer.ask()) > 0

    def test_accepts_designs_it_did_not_ask_for_and_never_asks_for_them(self, name):
        problem = AnalyticProblem(genes=TINY)
        optimizer = build(name, problem)
        foreign = problem.space.canonical(np.array([[0, 0, 0], [1, 2, 1], [1, 0, 1]], dtype=np.int64))
        optimizer.tell(foreign, *problem.evaluate(foreign))
        rows = np.concatenate(play(optimizer, problem, rounds=8))
        assert len(rows) == problem.space.size - len(foreign)
        assert not {tuple(row) for row in rows} & {tuple(row) for row in foreign}

    def test_takes_a_design_told_twice(self, name):
        problem = AnalyticProblem()
        optimizer = build(name, problem)
        for genomes in play(optimizer, problem, rounds=2):
            optimizer.tell(genomes, *problem.evaluate(genomes))
        rows = np.concatenate(play(optimizer, problem, rounds=2))
        assert len(np.unique(rows, axis=0)) == len(rows)

    def test_searches_for_the_least_error_alone_within_bounds(self, name):
        problem = ErrorAlone()
        for genomes in play(build(name, problem), problem, rounds=4):
            assert len(genomes) > 0

    def test_survives_a_search_without_any_feasible_design(self, name):
        problem = AnalyticProblem(max_area=1.0)
        for genomes in play(build(name, problem), problem, rounds=3):
            assert len(genomes) > 0

    def test_may_be_asked_again_before_it_is_told(self, name):
        problem = AnalyticProblem()
        optimizer = build(name, problem)
        rows = np.concatenate([optimizer.ask() for _ in range(3)])
        assert len(np.unique(rows, axis=0)) == len(rows)

    def test_takes_a_batch_in_parts_in_any_order_with_asks_between(self, name):
        problem = AnalyticProblem()
        optimizer = build(name, problem)
        rows = optimizer.ask()
        batches = [rows]
        for part in np.array_split(np.random.default_rng(5).permutation(len(rows)), 2):
            optimizer.tell(rows[part], *problem.evaluate(rows[part]))
            batches.append(optimizer.ask())
        assert all(len(batch) for batch in batches)
        rows = np.concatenate(batches)
        assert len(np.unique(rows, axis=0)) == len(rows)

    def test_told_one_at_a_time_it_asks_new_designs_and_the_same_ones_again_from_the_same_seed(self, name):
        problem = AnalyticProblem()
        asked = play_steadily(build(name, problem), problem, tells=20)
        rows = np.concatenate(asked)
        np.testing.assert_array_equal(problem.space.canonical(rows), rows)
        assert len(np.unique(rows, axis=0)) == len(rows) >= 20
        assert_same(asked, play_steadily(build(name, problem), problem, tells=20))

    def test_told_one_at_a_time_it_exhausts_a_small_space_too(self, name):
        problem = AnalyticProblem(genes=TINY)
        optimizer = build(name, problem)
        rows = np.concatenate(play_steadily(optimizer, problem, tells=20))
        assert len(np.unique(rows, axis=0)) == len(rows) == problem.space.size
        assert len(optimizer.ask()) == 0

    def test_refuses_wrong_shapes_values_and_genomes(self, name):
        problem = AnalyticProblem()
        optimizer = build(name, problem)
        genomes = optimizer.ask()[:4]
        values, violation = problem.evaluate(genomes)
        violation[:] = 0
        nan = values.copy()
        nan[2, 1] = np.nan
        with pytest.raises(ValueError, match="row 2"):
            optimizer.tell(genomes, nan, violation)
        with pytest.raises(ValueError, match=r"values must be \(batch, objective\) = \(4, 3\); got \(4, 2\)"):
            optimizer.tell(genomes, values[:, :2], violation)
        with pytest.raises(ValueError, match=r"violation must be"):
            optimizer.tell(genomes, values, violation[:3])
        with pytest.raises(ValueError, match="got"):
            optimizer.tell(genomes[:3], values, violation)
        with pytest.raises(ValueError, match=r"genomes must be int64 \(batch, gene\)"):
            optimizer.tell(genomes[:, :-1], values, violation)
        with pytest.raises(ValueError, match="outside its gene's choices"):
            optimizer.tell(genomes + 100, values, violation)
        with pytest.raises(ValueError, match="canonical"):
            optimizer.tell(problem.space.canonical(genomes) + ~problem.space.active(genomes), values, violation)

    def test_refuses_unknown_settings(self, name):
        with pytest.raises(ValueError, match="extra"):
            find_plugin("optim", name).Settings(no_such_setting=1)
