"""Calibrations by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentese.metrics.calibration import Linear, fit_linear, fit_percentile
from latentese.metrics.correlation import Floats, token_sums
from latentese.metrics.deviation import absolute_deviation, deviation_sums, r2

pairs = st.lists(st.tuples(st.floats(0, 9, width=16), st.floats(0, 9, width=16)), min_size=1, max_size=30)


def of(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def test_the_line_of_least_squares_by_hand() -> None:
    # s = 0 1 2 has mean 1 and squares 2; y = 1 1 4 has mean 2; products 1 + 0 + 2 = 3: slope 1.5, intercept .5.
    line = fit_linear(of(1, 1, 4), of(0, 1, 2))
    assert line is not None
    assert (line.slope, line.intercept) == pytest.approx((1.5, 0.5))
    np.testing.assert_allclose(line(of(0, 4)), [0.5, 6.5])


def test_a_constant_simulation_becomes_the_mean() -> None:
    assert fit_linear(of(1, 2, 6), of(0.1, 0.1, 0.1)) == Linear(0.0, 3.0)


def test_percentiles_match_ranks() -> None:
    matched = fit_percentile(of(30, 10, 20), of(1, 3, 2))
    assert matched is not None
    np.testing.assert_allclose(matched(of(0, 1, 1.5, 3, 99)), [10, 10, 15, 30, 30])


def test_values_that_are_simulated_often_take_the_mean_of_their_ranks() -> None:
    # Sorted: s = 0 0 0 1, y = 0 0 3 9. Nothing tells the three zeros apart, so each takes (0 + 0 + 3) / 3.
    matched = fit_percentile(of(3, 0, 9, 0), of(0, 0, 1, 0))
    assert matched is not None
    np.testing.assert_allclose(matched(of(0, 1)), [1, 9])


def test_nothing_to_fit_on_fits_nothing() -> None:
    assert fit_linear(of(), of()) is None
    assert fit_percentile(of(), of()) is None


@given(pairs)
def test_percentiles_keep_the_mean_and_the_order(values: list[tuple[float, float]]) -> None:
    y, s = (np.array(side, dtype=np.float64) for side in zip(*values, strict=True))
    matched = fit_percentile(y, s)
    assert matched is not None
    assert matched(s).mean() == pytest.approx(y.mean())
    assert (np.diff(matched(np.sort(s))) >= -1e-9).all()


@given(pairs)
def test_no_line_is_closer_on_what_it_was_fitted_to(values: list[tuple[float, float]]) -> None:
    y, s = (np.array(side, dtype=np.float64) for side in zip(*values, strict=True))
    line = fit_linear(y, s)
    assert line is not None
    fitted = np.sum((y - line(s)) ** 2)
    for other in (Linear(1.0, 0.0), Linear(0.0, float(y.mean())), Linear(line.slope + 0.1, line.intercept)):
        assert fitted <= np.sum((y - other(s)) ** 2) + 1e-6


def test_errors_by_hand() -> None:
    # y = 0 2 4, s = 1 2 1: squares 1 + 0 + 9 of 4 + 16, distances 1 + 0 + 3 of 6.
    assert r2(token_sums([0, 2, 4], [1, 2, 1])) == pytest.approx(1 - 10 / 20)
    assert absolute_deviation(deviation_sums(of(0, 2, 4), of(1, 2, 1))) == pytest.approx(1 - 4 / 6)


def test_a_silent_unit_has_no_error_to_compare_with() -> None:
    assert np.isnan(r2(token_sums([0, 0], [0, 1])))
    assert np.isnan(absolute_deviation(deviation_sums(of(0, 0), of(0, 1))))
