from __future__ import annotations

import math

import pytest

from latentese.records import Context
from latentese.report.heatmap import Peaks, at_counted, correlation, dense, level, view

CONTEXT = Context(7, ("The", " cat", " sat", ""), (False, True, True, False), 3, "prose", "test")


def test_levels_go_from_silence_to_the_peak() -> None:
    assert [level(value, 2.0) for value in (None, -1.0, 0.0, 0.01, 1.0, 2.0, 9.0)] == [0, 0, 0, 1, 5, 10, 10]
    assert level(1.0, 0.0) == 0


def test_dense_fills_in_silence() -> None:
    assert dense([1, 3], [0.5, 2.0], 4) == (0.0, 0.5, 0.0, 2.0)


def test_values_of_counted_positions_find_their_tokens() -> None:
    assert at_counted([0.5, 1.0], CONTEXT.keep) == (None, 0.5, 1.0, None)


def test_a_wrong_number_of_values_is_refused() -> None:
    with pytest.raises(ValueError, match="3 values for 2 counted positions"):
        at_counted([1, 2, 3], CONTEXT.keep)


def test_correlation_by_hand() -> None:
    # true - mean = (-1, 0, 1), expected - mean = (-1, 1, 0): r = 1 / sqrt(2 * 2)
    found = correlation([None, 0.0, 1.0, 2.0], [None, 0.0, 2.0, 1.0])
    assert found is not None
    assert math.isclose(found, 0.5)
    assert correlation([1.0, 1.0], [0.0, 1.0]) is None


def test_a_view_leaves_padding_out_and_scales_each_side_by_its_own_peak() -> None:
    shown = view(CONTEXT, "near_miss", (None, 1.0, 2.0, None), (None, 0.0, 0.4, None), Peaks(2.0, 0.4))
    assert [cell.true_level for cell in shown.cells] == [0, 5, 10]
    assert [cell.expected_level for cell in shown.cells] == [0, 0, 10]
    assert shown.kind == "near miss"
    assert shown.max_true == 2.0
    assert shown.cells[0].true is None


def test_a_failed_simulation_is_said() -> None:
    shown = view(CONTEXT, "top", (None, 1.0, 2.0, None), None, Peaks(2.0, 0.0), error="17 numbers\nof 18")
    assert not shown.simulated
    assert shown.error == "17 numbers↵of 18"
    assert shown.correlation is None
