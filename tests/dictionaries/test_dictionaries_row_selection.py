"""The steps of the selection; what they make together is tested in test_dictionaries_selection."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentese.dictionaries import row_selection as rows

KEYS = st.lists(st.integers(-9, 9) | st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=40)


@settings(deadline=None)
@given(KEYS, st.integers(1, 45))
def test_kth_largest_is_what_sorting_finds(keys, k):
    above = sorted((key for key in keys if key > 0), reverse=True)
    assert rows.kth_largest(np.array(keys, np.int32), k) == (above[k - 1] if k <= len(above) else 0)


@settings(deadline=None)
@given(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=100), st.integers(1, 2**15 - 1), st.data())
def test_collect_finds_positions_in_order(keys, least, data):
    below = data.draw(st.integers(least, 2**15 - 1))
    array, maxima = np.array(keys, np.int16), np.empty(-(-len(keys) // rows.BLOCK), np.int16)
    rows.block_maxima(array, maxima)
    assert maxima.tolist() == [max(keys[i : i + rows.BLOCK]) for i in range(0, len(keys), rows.BLOCK)]
    found = np.empty(len(keys) + rows.BLOCK, np.int32)
    n_found = rows.collect(array, maxima, np.array([least, below], np.int16), found)
    assert found[:n_found].tolist() == [i for i, key in enumerate(keys) if least <= key < below]


@pytest.mark.parametrize("bit", range(32))
def test_every_bit_of_a_mask_is_found(bit):
    keys, maxima = np.zeros(rows.BLOCK, np.int16), np.ones(1, np.int16)
    keys[bit] = 1
    found = np.empty(2 * rows.BLOCK, np.int32)
    assert rows.collect(keys, maxima, np.array([1, 2], np.int16), found) == 1
    assert found[0] == bit


def test_fill_unused_skips_what_is_used():
    indices = np.array([0, 2, 3, -1, -1, -1])
    rows.fill_unused(indices, 3)
    assert indices.tolist() == [0, 2, 3, 1, 4, 5]
