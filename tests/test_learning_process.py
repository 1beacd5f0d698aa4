"""The Gaussian process over features."""

from __future__ import annotations

import numpy as np
import pytest

from coevo.learning.process import Process

RNG = np.random.default_rng(0)
X = RNG.random((40, 3))
Y = 20 + 30 * np.sin(3 * X[:, 0]) + 5 * X[:, 1]


def test_expectation_and_spread_are_scikit_learns():
    process = Process(X, Y)
    from sklearn.gaussian_process import GaussianProcessRegressor

    twin = GaussianProcessRegressor(process.kernel, optimizer=None, normalize_y=True)
    standard = (X - X.mean(axis=0)) / X.std(axis=0)
    twin.fit(standard, Y)
    new = RNG.random((10, 3))
    mean, deviation = twin.predict((new - X.mean(axis=0)) / X.std(axis=0), return_std=True)
    np.testing.assert_allclose(process.bound(new, 0.0), mean, rtol=1e-5)
    noise = twin.kernel_.k2.noise_level * Y.std() ** 2  # scikit-learn's spread is that of a noisy value
    np.testing.assert_allclose(process.bound(new, 1.0), mean + np.sqrt(np.maximum(deviation**2 - noise, 0)), rtol=1e-3)


def test_draws_have_the_expectation_the_spread_and_the_likeness():
    process = Process(X, Y)
    new = np.vstack([RNG.random((4, 3)), [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]])
    draws = process.draws(new, RNG.standard_normal((20_000, 6)))
    spread = process.bound(new, 1.0) - process.bound(new, 0.0)
    np.testing.assert_allclose(draws.mean(axis=0), process.bound(new, 0.0), atol=4 * spread.max() / np.sqrt(20_000))
    np.testing.assert_allclose(draws.std(axis=0), spread, rtol=0.05)
    np.testing.assert_allclose(draws[:, 4], draws[:, 5], atol=1e-3 * spread.max())  # the same network


def test_likeness_is_one_for_the_same_features_and_falls_with_distance():
    process = Process(X, Y)
    alike = process.likeness(X[:1], np.vstack([X[0], X[0] + 0.1, X[0] + 1.0]))[0]
    assert alike[0] == pytest.approx(1)
    assert alike[0] > alike[1] > alike[2] >= 0
    assert process.likeness(X[:2]).shape == (2, 40)
