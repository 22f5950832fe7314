"""Correlations by hand, and sums that add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentese.metrics.correlation import document_sums, pearson, token_sums

values = st.lists(st.tuples(st.floats(-5, 5, width=32), st.floats(-5, 5, width=32)), min_size=3, max_size=30)


def test_pearson_by_hand() -> None:
    # y = 0 0 1 3 has mean 1 and deviations -1 -1 0 2; s = 0 2 2 4 has mean 2 and deviations -2 0 0 2.
    # covariance sum 2 + 0 + 0 + 4 = 6, squares 6 and 8: r = 6 / sqrt(48).
    assert pearson(token_sums([0, 0, 1, 3], [0, 2, 2, 4])) == pytest.approx(6 / np.sqrt(48))


@pytest.mark.parametrize("side", [[0.0, 0.0, 0.0], [0.1, 0.1, 0.1], [1e6, 1e6, 1e6]])
def test_a_constant_side_gives_no_value(side: list[float]) -> None:
    assert np.isnan(pearson(token_sums(side, [1, 2, 3])))
    assert np.isnan(pearson(token_sums([1, 2, 3], side)))


@given(values)
def test_pearson_is_numpys(pairs: list[tuple[float, float]]) -> None:
    y, s = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
    if y.std() > 1e-3 and s.std() > 1e-3:
        assert pearson(token_sums(y, s)) == pytest.approx(np.corrcoef(y, s)[0, 1], abs=1e-6)


@given(values, st.integers(1, 2))
def test_sums_of_parts_are_the_sums_of_the_whole(pairs: list[tuple[float, float]], cut: int) -> None:
    y, s = (list(side) for side in zip(*pairs, strict=True))
    np.testing.assert_allclose(token_sums(y[:cut], s[:cut]) + token_sums(y[cut:], s[cut:]), token_sums(y, s), atol=1e-9)


def test_contexts_of_a_document_are_added_in_the_order_of_documents() -> None:
    sums = document_sums([7, 3, 7], [token_sums([1], [2]), token_sums([3], [4]), token_sums([5], [6])])
    np.testing.assert_array_equal(sums, [[1, 3, 4, 9, 16, 12], [2, 6, 8, 26, 40, 32]])


def test_nothing_judged_has_no_value() -> None:
    sums = document_sums([], [])
    assert sums.shape == (0, 6)
    assert np.isnan(pearson(sums.sum(axis=0)))


def test_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 for 3"):
        token_sums([1, 2, 3], [1, 2])
