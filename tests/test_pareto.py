from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymoo.indicators.hv import HV
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from coevo import pareto


def random_points(seed: int, count: int = 60, objectives: int = 3, levels: int | None = None) -> np.ndarray:
    """Random points; with ``levels``, on a coarse grid, so that ties and duplicates abound."""
    rng = np.random.default_rng(seed)
    if levels is None:
        return rng.random((count, objectives))
    return rng.integers(0, levels, (count, objectives)).astype(float)


def staircase(n: int) -> np.ndarray:
    return np.array([(i, n - 1 - i) for i in range(n)], dtype=float)


def beats(values: np.ndarray, violation: np.ndarray, i: int, j: int) -> bool:
    """Deb's definition 1, word for word."""
    if violation[i] > 0 or violation[j] > 0:
        return bool(violation[i] < violation[j])
    return bool((values[i] <= values[j]).all() and (values[i] < values[j]).any())


def brute_force_ranks(values: np.ndarray, violation: np.ndarray) -> list[int]:
    """Peels fronts off by pairwise comparison; equal violations share a front because neither beats the other."""
    ranks, left, rank = [0] * len(values), set(range(len(values))), 0
    while left:
        front = {i for i in left if not any(beats(values, violation, j, i) for j in left)}
        for i in front:
            ranks[i] = rank
        left, rank = left - front, rank + 1
    return ranks


# -- ranks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [None, 3, 6])
@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_ranks_agree_with_pymoo_on_random_fronts(objectives, levels):
    for seed in range(10):
        values = random_points(seed, objectives=objectives, levels=levels)
        fronts = NonDominatedSorting().do(values)
        expected = np.empty(len(values), dtype=int)
        for rank, rows in enumerate(fronts):
            expected[rows] = rank
        np.testing.assert_array_equal(pareto.ranks(values, np.zeros(len(values))), expected)


@pytest.mark.parametrize("seed", range(20))
def test_constrained_ranks_agree_with_debs_definition(seed):
    rng = np.random.default_rng(seed)
    values = random_points(seed, count=40, levels=5)
    violation = rng.choice([0.0, 0.0, 0.5, 1.0, 2.5, np.inf], size=40)
    np.testing.assert_array_equal(pareto.ranks(values, violation), brute_force_ranks(values, violation))


def test_infeasible_points_come_after_all_feasible_ones_and_equal_violations_share_a_rank():
    values = np.array([[9.0, 9.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0], [5.0, 5.0]])
    np.testing.assert_array_equal(pareto.ranks(values, [0, 2.0, 0, 2.0, 0.1]), [1, 3, 0, 3, 2])


def test_values_of_infeasible_points_are_never_read():
    values = random_points(1)
    violation = (np.arange(len(values)) % 3).astype(float)
    garbage = np.where(violation[:, None] > 0, np.nan, values)
    reference = np.full(3, 1.1)
    np.testing.assert_array_equal(pareto.ranks(values, violation), pareto.ranks(garbage, violation))
    np.testing.assert_array_equal(pareto.nondominated(values, violation), pareto.nondominated(garbage, violation))
    np.testing.assert_array_equal(
        pareto.hypervolume_history(values, violation, reference),
        pareto.hypervolume_history(garbage, violation, reference),
    )


def test_all_infeasible_and_no_points_at_all_are_ranked():
    np.testing.assert_array_equal(pareto.ranks(np.full((3, 2), np.nan), [3.0, 1.0, 3.0]), [1, 0, 1])
    assert pareto.ranks(np.empty((0, 3)), []).dtype == np.int64
    assert pareto.ranks(np.empty((0, 3)), []).shape == (0,)


# -- crowding --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [None, 4, 12])
@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_crowding_agrees_with_pymoo_within_each_front(objectives, levels):
    for seed in range(10):
        values = random_points(seed, objectives=objectives, levels=levels)
        ranks = pareto.ranks(values, np.zeros(len(values)))
        crowding = pareto.crowding(values, ranks)
        for rank in range(ranks.max() + 1):
            front = ranks == rank
            expected = calc_crowding_distance(values[front]) if front.sum() > 2 else np.full(front.sum(), np.inf)
            np.testing.assert_allclose(crowding[front], expected, rtol=1e-12)


def test_crowding_of_an_even_staircase_is_the_same_inside_and_infinite_at_the_ends():
    n = 6
    crowding = pareto.crowding(staircase(n), np.zeros(n, dtype=np.int64))
    np.testing.assert_allclose(crowding, [np.inf, *[2 / (n - 1)] * (n - 2), np.inf])


def test_crowding_is_not_mixed_between_ranks():
    front, behind = staircase(5), staircase(4) * 7 + 100
    both = np.empty((9, 2))
    ranks = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0])
    both[ranks == 0], both[ranks == 1] = front, behind
    crowding = pareto.crowding(both, ranks)
    np.testing.assert_allclose(crowding[ranks == 0], pareto.crowding(front, np.zeros(5, dtype=np.int64)))
    np.testing.assert_allclose(crowding[ranks == 1], pareto.crowding(behind, np.zeros(4, dtype=np.int64)))


def test_an_objective_in_which_a_front_does_not_differ_adds_no_crowding():
    flat = np.column_stack([staircase(5), np.full(5, 3.0)])
    zero = np.zeros(5, dtype=np.int64)
    np.testing.assert_allclose(pareto.crowding(flat, zero), pareto.crowding(staircase(5), zero) * 2 / 3)
    np.testing.assert_array_equal(pareto.crowding(np.ones((4, 2)), zero[:4]), np.zeros(4))


# -- fronts ----------------------------------------------------------------------------------------------------


def test_nondominated_keeps_all_equal_points_and_no_infeasible_one():
    values = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-5.0, -5.0]])
    np.testing.assert_array_equal(pareto.nondominated(values, [0, 0, 0, 0, 0.1]), [True, True, True, False, False])


@pytest.mark.parametrize("levels", [None, 4])
def test_nondominated_is_rank_0_of_the_feasible(levels):
    for seed in range(10):
        values = random_points(seed, levels=levels)
        violation = np.random.default_rng(seed).choice([0.0, 1.0], size=len(values))
        expected = (pareto.ranks(values, violation) == 0) & (violation == 0)
        np.testing.assert_array_equal(pareto.nondominated(values, violation), expected)


# -- hypervolume -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_hypervolume_of_a_staircase_is_its_closed_form(n):
    assert pareto.hypervolume(staircase(n), [n, n]) == n * n - n * (n - 1) / 2


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_hypervolume_of_a_staircase_in_3d_is_a_tetrahedral_number(n):
    # Unit cubes above the lattice plane i + j + k = n - 1 in an n-cube: all but those below it.
    points = [p for p in itertools.product(range(n), repeat=3) if sum(p) == n - 1]
    below = sum(1 for p in itertools.product(range(n), repeat=3) if sum(p) < n - 1)
    assert pareto.hypervolume(points, [n, n, n]) == n**3 - below


def test_hypervolume_of_a_box_and_of_two_overlapping_boxes():
    assert pareto.hypervolume([[1.0, 2.0, 3.0]], [4.0, 4.0, 4.0]) == 3 * 2 * 1
    assert pareto.hypervolume([[0.0, 2.0], [1.0, 1.0]], [3.0, 3.0]) == 3 * 1 + 2 * 2 - 2 * 1


@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_hypervolume_agrees_with_pymoo_on_random_fronts(objectives, levels):
    for seed in range(5):
        values = random_points(seed, objectives=objectives, levels=levels)
        reference = values.mean(axis=0) + 0.3 * np.ptp(values, axis=0)
        expected = HV(ref_point=reference)(values) if objectives > 1 else max(0.0, float((reference - values).max()))
        assert pareto.hypervolume(values, reference) == pytest.approx(expected, rel=1e-12)


def test_points_not_below_the_reference_add_no_hypervolume():
    inside = [[0.5, 0.5]]
    outside = [[1.0, 0.0], [-100.0, 2.0], [3.0, 3.0]]
    assert pareto.hypervolume(inside + outside, [1.0, 1.0]) == 0.25
    assert pareto.hypervolume(outside, [1.0, 1.0]) == 0.0
    assert pareto.hypervolume(np.empty((0, 2)), [1.0, 1.0]) == 0.0


@pytest.mark.parametrize("levels", [None, 6])
@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_hypervolume_history_equals_the_hypervolume_of_every_beginning(objectives, levels):
    values = random_points(3, objectives=objectives, levels=levels)
    violation = np.random.default_rng(5).choice([0.0, 0.0, 2.0], size=len(values))
    reference = values.mean(axis=0) + 0.4 * np.ptp(values, axis=0)
    history = pareto.hypervolume_history(values, violation, reference)
    for i in range(len(values)):
        seen = values[: i + 1][violation[: i + 1] == 0]
        assert history[i] == pytest.approx(pareto.hypervolume(seen, reference), rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3, st.sampled_from([0.0, 0.0, 1.0])), min_size=1, max_size=30))
def test_hypervolume_history_never_falls(rows):
    table = np.array(rows)
    history = pareto.hypervolume_history(table[:, :3], table[:, 3], [1e5, 1e5, 1e5])
    assert (np.diff(history) >= 0).all()
    assert history[0] >= 0


def test_hypervolume_history_does_not_fall_by_the_rounding_of_a_tiny_improvement():
    # Each nudged point improves on a known one by 1 ulp: its box less what is covered rounds to below 0 for some.
    values = random_points(8, count=400)
    nudged = np.nextafter(values, -np.inf)
    history = pareto.hypervolume_history(np.concatenate([values, nudged]), np.zeros(800), [1.1, 1.1, 1.1])
    assert (np.diff(history) >= 0).all()


def test_hypervolume_history_measures_a_volume_only_for_newcomers_against_the_front_alone(monkeypatch):
    sizes = []
    measure = pareto.moocore.hypervolume

    def counted(points, ref):
        sizes.append(len(points))
        return measure(points, ref=ref)

    monkeypatch.setattr(pareto.moocore, "hypervolume", counted)
    values = random_points(0, count=3_000)
    history = pareto.hypervolume_history(values, np.zeros(3_000), [1.1, 1.1, 1.1])
    assert len(sizes) == (history > np.append(0, history[:-1])).sum() - 1
    assert max(sizes) < 150


# -- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", [pareto.ranks, pareto.nondominated])
def test_a_feasible_value_that_is_not_finite_is_refused_by_row(function, bad):
    with pytest.raises(ValueError, match=r"finite; row 1 is \[0\.0, (nan|inf|-inf)\]"):
        function([[0.0, 0.0], [0.0, bad]], [0.0, 0.0])


@pytest.mark.parametrize("bad", [np.nan, -1.0])
def test_a_violation_that_is_negative_or_nan_is_refused_by_row(bad):
    with pytest.raises(ValueError, match="0 or more; row 1 is"):
        pareto.ranks([[0.0], [0.0]], [0.0, bad])


def test_wrong_shapes_are_refused_with_what_was_wanted_and_what_came():
    with pytest.raises(ValueError, match=r"values must be \(point, objective\).*got \(3,\)"):
        pareto.ranks([1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match=r"values must be .* at least one objective; got \(2, 0\)"):
        pareto.ranks(np.empty((2, 0)), [0.0, 0.0])
    with pytest.raises(ValueError, match=r"violation must be \(point,\) = \(1,\); got \(2,\)"):
        pareto.nondominated([[1.0, 2.0]], [0.0, 0.0])
    with pytest.raises(ValueError, match=r"ranks must be \(point,\) = \(1,\); got \(2,\)"):
        pareto.crowding([[1.0, 2.0]], np.array([0, 0]))
    with pytest.raises(ValueError, match=r"reference must be \(objective,\) = \(2,\); got \(3,\)"):
        pareto.hypervolume([[1.0, 2.0]], [3.0, 3.0, 3.0])
    with pytest.raises(ValueError, match="reference must be finite"):
        pareto.hypervolume_history([[1.0, 2.0]], [0.0], [3.0, np.inf])
    with pytest.raises(ValueError, match="row 0"):
        pareto.hypervolume([[np.nan, 2.0]], [3.0, 3.0])
    with pytest.raises(ValueError, match="row 0"):
        pareto.crowding([[np.nan, 2.0]], np.array([0]))
