from __future__ import annotations

import numpy as np
import pytest

from coevo.report.knee import find_knee


def test_the_knee_of_a_bent_line_is_its_bend() -> None:
    front = np.array([[0.0, 1.0], [0.1, 0.5], [0.2, 0.1], [0.6, 0.05], [1.0, 0.0]])
    assert find_knee(front) == 2


def test_the_knee_does_not_depend_on_units() -> None:
    front = np.array([[0.0, 1.0], [0.1, 0.5], [0.2, 0.1], [0.6, 0.05], [1.0, 0.0]])
    assert find_knee(front * [1000.0, 0.001] + [5.0, -3.0]) == 2


def test_the_knee_of_three_objectives_lies_deepest_below_the_plane_of_the_ends() -> None:
    front = np.vstack([np.eye(3), [[0.3, 0.3, 0.3], [0.1, 0.2, 0.1], [0.5, 0.0, 0.4]]])
    assert find_knee(1.0 - np.eye(3)) is None
    assert find_knee(front @ np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])) is not None
    assert find_knee(np.vstack([1.0 - np.eye(3), [[0.5, 0.5, 0.5], [0.2, 0.3, 0.2]]])) == 4


@pytest.mark.parametrize(
    "front",
    [
        np.empty((0, 2)),
        np.array([[1.0, 2.0]]),
        np.array([[0.0, 1.0], [1.0, 0.0]]),
        np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]),
        np.array([[0.0, 1.0], [0.8, 0.8], [1.0, 0.0]]),
        np.array([[1.0], [1.0], [1.0]]),
        np.array([[1.0, 2.0]] * 4),
    ],
    ids=["empty", "single", "two", "straight", "bulging away", "one objective", "all equal"],
)
def test_a_front_without_a_bend_has_no_knee(front: np.ndarray) -> None:
    assert find_knee(front) is None


def test_a_constant_objective_does_not_hide_the_knee() -> None:
    front = np.array([[0.0, 7.0, 1.0], [0.2, 7.0, 0.1], [1.0, 7.0, 0.0]])
    assert find_knee(front) == 1
