"""Wilson's interval, against worked values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentese.metrics.proportions import wilson_interval


def test_worked_values() -> None:
    # z = 1.95996: for 0 of 10 the upper edge is z^2 / (10 + z^2) = 3.8415 / 13.8415.
    assert wilson_interval(0, 10) == (0, 0, pytest.approx(3.8415 / 13.8415, abs=1e-4))
    assert wilson_interval(10, 10) == (1, pytest.approx(10 / 13.8415, abs=1e-4), 1)
    # 5 of 10: half of z^2/n above 1/2 is taken back by the denominator; reach = z sqrt(.025 + .0096) / 1.38415.
    value, low, high = wilson_interval(5, 10)
    assert (value, low, high) == (0.5, pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))


def test_no_cases_have_no_share() -> None:
    assert wilson_interval(0, 0) == (None, None, None)


def test_more_hits_than_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="3 hits among 2 cases"):
        wilson_interval(3, 2)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_share_lies_within_and_the_interval_is_symmetric_in_hits_and_misses(case: tuple[int, int]) -> None:
    n_hits, n = case
    value, low, high = wilson_interval(n_hits, n)
    assert value is not None
    assert low is not None
    assert high is not None
    assert 0 <= low <= value + 1e-12
    assert value - 1e-12 <= high <= 1
    _, other_low, other_high = wilson_interval(n - n_hits, n)
    assert (other_low, other_high) == (pytest.approx(1 - high), pytest.approx(1 - low))
