"""Precision, recall and thresholds by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentese.metrics.firing import base_rate, best_threshold, f1, firing_sums, precision, recall


def test_counts_by_hand() -> None:
    # It fires on tokens 0 and 1, said of 1, 2 and 3: one of three, one of two.
    fires, predicted = np.array([1, 1, 0, 0, 0], bool), np.array([0, 1, 1, 1, 0], bool)
    sums = firing_sums(fires, predicted)
    assert sums.tolist() == [1, 3, 2, 5]
    assert [float(metric(sums)) for metric in (precision, recall, f1, base_rate)] == pytest.approx(
        [1 / 3, 0.5, 0.4, 0.4]
    )


def test_what_is_never_predicted_has_no_precision() -> None:
    sums = firing_sums(np.array([True, False]), np.array([False, False]))
    assert np.isnan(precision(sums))
    assert (float(recall(sums)), float(f1(sums))) == (0, 0)
    assert np.isnan(f1(firing_sums(np.array([False]), np.array([False]))))


def test_the_threshold_with_the_largest_f1() -> None:
    # From 5: 1 of 1, F1 2/3; from 3: 1 of 2, 1/2; from 2: 2 of 3, 4/5; from 0: 2 of 5, 4/7.
    fires = np.array([1, 0, 1, 0, 0], bool)
    assert best_threshold(fires, np.array([5.0, 3.0, 2.0, 0.0, 0.0])) == 2.0


def test_a_silent_unit_has_no_threshold() -> None:
    assert best_threshold(np.array([False, False]), np.array([1.0, 2.0])) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=20))
def test_no_other_threshold_is_better(tokens: list[tuple[bool, int]]) -> None:
    fires, simulated = np.array([f for f, _ in tokens]), np.array([float(s) for _, s in tokens])
    threshold = best_threshold(fires, simulated)
    if threshold is None:
        assert not fires.any()
        return
    found = f1(firing_sums(fires, simulated >= threshold))
    assert all(found >= f1(firing_sums(fires, simulated >= other)) for other in range(6) if (simulated >= other).any())
