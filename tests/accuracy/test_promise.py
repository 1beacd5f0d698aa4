"""Whom a cascade lets pass."""

from __future__ import annotations

import numpy as np

from coevo.accuracy.promise import promising
from coevo.design import Network
from coevo.protocols import Candidate


def candidate(error: float, *costs: float) -> tuple[Candidate, float]:
    return Candidate(Network("tiny", {"error": error, "costs": costs}), np.array([costs])), error


def test_the_small_and_the_accurate_pass_before_what_they_dominate() -> None:
    networks = [candidate(0.5, 5), candidate(0.1, 9), candidate(0.6, 6), candidate(0.9, 1)]
    assert set(promising(networks, 0)[:3]) == {0, 1, 3}
    assert promising(networks, 0)[-1] == 2


def test_what_earlier_steps_let_pass_counts() -> None:
    past = [candidate(0.1, 2)]
    dominated, better = candidate(0.2, 3), candidate(0.9, 1)
    assert promising([*past, dominated, better], 1) == [1, 0]


def test_units_and_scales_of_costs_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((12, 3))
    plain = promising([candidate(*point) for point in points], 3)
    stretched = promising([candidate(e**3, 1e6 * a, np.exp(b)) for e, a, b in points], 3)
    assert plain == stretched


def test_where_nobody_adds_anything_the_best_of_the_rest_comes_next() -> None:
    past = [candidate(0.0, 0)]
    rest = [candidate(0.3, 3), candidate(0.2, 2), candidate(0.4, 4)]
    assert promising([*past, *rest], 1) == [1, 0, 2]


def test_without_costs_the_least_error_comes_first() -> None:
    assert promising([candidate(error) for error in (0.3, 0.1, 0.2)], 0) == [1, 2, 0]


def test_a_network_stands_for_all_its_designs() -> None:
    fast = Candidate(Network("tiny", {"a": 1}), np.array([[9.0, 9.0], [1.0, 1.0]]))
    slow = Candidate(Network("tiny", {"a": 2}), np.array([[2.0, 2.0]]))
    assert promising([(slow, 0.5), (fast, 0.5)], 0) == [1, 0]
