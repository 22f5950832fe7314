"""Bounds of what missing answers could have been, against tries at random."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentese.metrics.completion import Range, farthest, least_correlated, most_correlated, nearest
from latentese.metrics.correlation import Floats, pearson, token_sums

UNIT_RANGE = Range(0.0, 1.0)


def of(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def correlation(y: Floats, s: Floats) -> float:
    return float(pearson(token_sums(y, s)))


def test_errors_are_bounded_token_by_token() -> None:
    np.testing.assert_array_equal(nearest(of(-1, 0.5, 3), UNIT_RANGE), [0, 0.5, 1])
    np.testing.assert_array_equal(farthest(of(-1, 0.2, 0.7, 3), UNIT_RANGE), [1, 1, 0, 0])


def test_answers_on_the_line_of_the_others_leave_no_residual() -> None:
    # The truth is 10 s where there are answers: at best the missing ones are y / 10, and r is 1.
    best = most_correlated(of(0, 10), of(0, 1), of(5, 2), UNIT_RANGE)
    assert correlation(of(0, 10, 5, 2), np.concatenate([of(0, 1), best])) == pytest.approx(1, abs=1e-6)


def test_where_nothing_correlates_the_best_is_a_corner() -> None:
    # Truth falls as the simulation rises, and no answer to one more token of the same truth mends that.
    best = most_correlated(of(9, 0), of(0, 1), of(0), UNIT_RANGE)
    assert best.tolist() in ([0.0], [1.0])
    tries = [correlation(of(9, 0, 0), of(0, 1, value)) for value in np.linspace(0, 1, 101)]
    assert correlation(of(9, 0, 0), of(0, 1, *best)) == pytest.approx(max(tries))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 12), st.integers(1, 6))
def test_no_answers_in_the_range_pass_the_bounds(seed: int, n_judged: int, n_missing: int) -> None:
    rng = np.random.default_rng(seed)
    true, missing = rng.exponential(size=n_judged), rng.exponential(size=n_missing)
    simulated = np.clip(rng.normal(0.3, 0.5, n_judged) + 0.2 * true, 0, 1)
    if simulated.std() < 1e-3:
        return
    y = np.concatenate([true, missing])
    best = most_correlated(true, simulated, missing, UNIT_RANGE)
    worst = least_correlated(true, simulated, missing, UNIT_RANGE)
    for bound in (best, worst):
        assert ((bound >= 0) & (bound <= 1)).all()
    high, low = (correlation(y, np.concatenate([simulated, bound])) for bound in (best, worst))
    corners = rng.integers(0, 2, (200, n_missing)).astype(np.float64)
    for answers in (*rng.uniform(0, 1, (200, n_missing)), *corners, np.clip(missing, 0, 1)):
        assert low - 1e-6 <= correlation(y, np.concatenate([simulated, answers])) <= high + 1e-6
