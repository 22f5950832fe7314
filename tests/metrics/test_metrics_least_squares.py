"""Least squares in the logarithm of a sum of exponentials: the linear case in closed form, and exact data."""

from __future__ import annotations

import numpy as np
import pytest

from latentese.metrics.correlation import Floats
from latentese.metrics.least_squares import fit_log_sums, told_apart

X = np.log(np.array([2.0, 4.0, 8.0, 16.0, 32.0, 64.0]))
LINE = np.stack([np.ones_like(X), X], axis=1)
LEVEL = np.ones((len(X), 1))


def even(n_fits: int) -> Floats:
    return np.ones((n_fits, len(X)))


def test_one_term_is_linear_regression() -> None:
    # Values 1, 2, 4 at 0, 1, 2: slope (sum xy - n mx my) / (sum xx - n mx^2) = (10 - 7) / (5 - 3) = 1.5,
    # intercept 7/3 - 1.5 = 5/6; residuals 1/6, -1/3, 1/6, squares 1/36 + 4/36 + 1/36 = 1/6.
    line = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    found, costs = fit_log_sums([line], np.array([1.0, 2.0, 4.0]), np.ones((1, 3)), np.zeros((1, 2)))
    np.testing.assert_allclose(found, [[5 / 6, 1.5]], rtol=1e-9)
    np.testing.assert_allclose(costs, [1 / 6], rtol=1e-9)


def test_weights_count_points() -> None:
    # A weight of 0 leaves 0, 1 and 2, 4: slope 1.5 exactly through (0, 1) and (2, 4).
    line = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    weights = np.array([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    found, costs = fit_log_sums([line], np.array([1.0, 2.0, 4.0]), weights, np.zeros((2, 2)))
    np.testing.assert_allclose(found, [[1.0, 1.5], [1.0, 1.0]], rtol=1e-9)
    np.testing.assert_allclose(costs, [0, 0], atol=1e-18)


def test_two_terms_are_recovered_from_a_distant_start() -> None:
    values = np.log(np.exp(LINE @ np.array([0.5, -0.7])) + np.exp(-2.0))
    starts = np.array([[0.0, 0.0, -1.0], [2.0, -2.0, -5.0], [-1.0, -0.1, 0.0]])
    found, costs = fit_log_sums([LINE, LEVEL], values, even(3), starts)
    best = found[np.argmin(costs)]
    np.testing.assert_allclose(best, [0.5, -0.7, -2.0], rtol=1e-5)


def test_no_start_ends_higher_than_it_began() -> None:
    rng = np.random.default_rng(0)
    values, starts = rng.normal(size=len(X)), rng.normal(size=(20, 3))
    parts = np.stack([starts[:, :2] @ LINE.T, starts[:, 2:] @ LEVEL.T])
    before = np.square(values - np.logaddexp.reduce(parts)).sum(axis=1)
    _, after = fit_log_sums([LINE, LEVEL], values, even(20), starts)
    assert (after <= before).all()
    assert np.isfinite(after).all()


def test_fits_side_by_side_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(1)
    values, starts, weights = rng.normal(size=len(X)), rng.normal(size=(5, 3)), rng.random((5, len(X)))
    together, _ = fit_log_sums([LINE, LEVEL], values, weights, starts)
    for i in range(5):
        alone, _ = fit_log_sums([LINE, LEVEL], values, weights[i : i + 1], starts[i : i + 1])
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-6)


def test_a_term_that_vanishes_harms_nothing() -> None:
    values = LINE @ np.array([0.3, -0.4])  # no second term in the data
    found, costs = fit_log_sums([LINE, LEVEL], values, even(1), np.array([[0.0, 0.0, -3.0]]))
    assert costs[0] == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(found[0, :2], [0.3, -0.4], atol=1e-3)
    assert np.exp(found[0, 2]) < 1e-3


def test_parameters_are_told_apart_where_the_factors_vary() -> None:
    assert told_apart([LINE, LEVEL])
    assert told_apart([LINE[:2]])  # two points are a line
    assert not told_apart([LINE[:1]])
    assert not told_apart([np.ones((6, 2))])  # one value of the input: its factor is parallel to 1
    assert not told_apart([LINE[[0, 0, 1, 1]], LEVEL[:4]])  # two distinct points, three parameters


def test_points_that_are_almost_the_same_loss_make_nothing_singular() -> None:
    # What an untrained grid looks like: no slope to speak of, and a second term that nothing holds.
    rng = np.random.default_rng(2)
    values = 0.98 + 1e-5 * rng.normal(size=len(X))
    starts = np.stack([rng.normal(size=50), rng.normal(size=50), rng.uniform(-40, 2, size=50)], axis=1)
    found, costs = fit_log_sums([LINE, LEVEL], values, rng.random((50, len(X))), starts)
    assert np.isfinite(found).all()
    assert (costs < 1e-8).all()
