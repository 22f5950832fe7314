"""Agreement of rankings, against worked values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from latentese.metrics.intervals import Bootstrap
from latentese.metrics.ranks import lengthened, spearman, spearman_interval


def test_worked_values() -> None:
    # 1 - 6 * sum of squared differences of ranks / (n (n^2 - 1)): one swap of neighbours among four is 1 - 12 / 60.
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([10.0, 30, 20, 40])) == pytest.approx(0.8)
    assert spearman(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1)


def test_only_the_order_counts_and_ties_share_a_rank() -> None:
    first = np.array([0.1, 0.2, 0.3, 0.9])
    assert spearman(first, np.exp(5 * first)) == pytest.approx(1)
    # Ranks 1.5, 1.5, 3, 4 against 1, 2, 3, 4: covariance 1.125 over deviations sqrt(1.125 * 1.25).
    assert spearman(np.array([0.0, 0, 1, 2]), first) == pytest.approx(1.125 / math.sqrt(1.125 * 1.25))


def test_units_without_a_score_are_left_out_and_nothing_is_said_of_one() -> None:
    nan = float("nan")
    assert spearman(np.array([1.0, nan, 3, 2]), np.array([1.0, 9, 3, 2])) == pytest.approx(1)
    assert math.isnan(spearman(np.array([1.0, nan]), np.array([1.0, 2])))
    assert math.isnan(spearman(np.array([1.0, 1, 1]), np.array([1.0, 2, 3])))


def test_the_interval_holds_the_value_and_narrows_with_units() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for n_units in (20, 200):
        first = rng.normal(size=n_units)
        value, low, high = spearman_interval(first, first + rng.normal(size=n_units), Bootstrap(200))
        assert low is not None and high is not None and value is not None and low < value < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_a_test_of_twice_the_length() -> None:
    assert lengthened(0.5) == pytest.approx(2 / 3)
    assert lengthened(1.0) == 1.0
