from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from coevo.correlate import agreement

ERRORS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=30)


def test_the_same_order_agrees_fully_and_the_reverse_not_at_all():
    truth = np.arange(20.0)
    same, reverse = agreement(truth**3, truth), agreement(-truth, truth)
    assert (same.spearman, same.kendall, same.precision, same.top) == (pytest.approx(1), pytest.approx(1), 1, 2)
    assert (same.low, same.high) == (pytest.approx(1), pytest.approx(1))
    assert (reverse.spearman, reverse.kendall, reverse.precision) == (pytest.approx(-1), pytest.approx(-1), 0)


@settings(deadline=None)  # the interval takes thousands of samples
@given(ERRORS)
def test_correlations_are_scipys_ties_included(pairs):
    estimate, truth = np.array(pairs, dtype=float).T
    if len(set(estimate)) > 1 and len(set(truth)) > 1:
        found = agreement(estimate, truth)
        assert found.spearman == pytest.approx(spearmanr(estimate, truth).statistic)
        assert found.kendall == pytest.approx(kendalltau(estimate, truth).statistic)


def test_the_interval_holds_the_correlation_and_shrinks_with_more_networks():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=800)
    estimate = truth + rng.normal(size=800)
    few, many = agreement(estimate[:40], truth[:40]), agreement(estimate, truth)
    for found in (few, many):
        assert found.low < found.spearman < found.high
    assert many.high - many.low < (few.high - few.low) / 3


def test_precision_counts_the_best_that_are_found():
    truth = np.arange(10.0)
    estimate = np.array([0, 9, 1, 2, 3, 4, 5, 6, 7, 8.0])  # of the two best, one is taken for the worst
    assert agreement(estimate, truth, top_share=0.2).precision == 0.5


def test_equal_estimates_share_the_places():
    assert agreement(np.array([1.0, 1, 1, 1, 2]), np.arange(5.0), top_share=0.4).precision == 0.5


def test_a_failed_network_ranks_last_and_a_constant_model_has_no_correlation():
    truth = np.array([3.0, 1, 2, 4])
    assert agreement(np.array([3.0, 1, 2, np.inf]), truth).spearman == pytest.approx(1)
    assert np.isnan(agreement(np.ones(4), truth).spearman)


@pytest.mark.parametrize("estimate", [np.ones(2), np.ones((3, 1)), np.array([1, np.nan, 2])])
def test_what_cannot_be_compared_is_refused(estimate):
    with pytest.raises(ValueError, match=r"errors"):
        agreement(estimate, np.arange(float(len(estimate))))
