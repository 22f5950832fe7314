from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentese.errors import SettingError
from latentese.evaluation.compute_equivalent import KnownCheckpoint, check_series, compute_of

SERIES = [(1e18, 4.0), (1e20, 1.0)]


def test_between_checkpoints_the_line_is_straight_in_log_log() -> None:
    # log 2 is half of log 4, so the compute is half way between 1e18 and 1e20 on the log scale
    assert compute_of(2.0, SERIES) == pytest.approx(1e19)
    assert compute_of(2.0, SERIES[::-1]) == pytest.approx(1e19)


@pytest.mark.parametrize(("loss", "compute"), SERIES)
def test_at_a_checkpoint_it_is_the_checkpoint(loss: float, compute: float) -> None:
    assert compute_of(compute, SERIES) == pytest.approx(loss)


@pytest.mark.parametrize("loss", [0.99, 4.01, 100.0])
def test_outside_the_series_there_is_no_answer(loss: float) -> None:
    assert compute_of(loss, SERIES) is None


def test_a_series_that_gets_worse_for_a_while_gives_the_least_compute() -> None:
    # 3 is first reached between the first two, again between the third and the fourth
    series = [(1.0, 4.0), (2.0, 2.0), (3.0, 3.5), (4.0, 1.0)]
    found = compute_of(3.0, series)
    assert found is not None and 1 < found < 2
    found = compute_of(1.5, series)
    assert found is not None and 3 < found < 4


def test_equal_losses_give_the_cheaper_one() -> None:
    assert compute_of(2.0, [(1.0, 2.0), (5.0, 2.0)]) == 1.0


@given(st.floats(1.0, 4.0), st.floats(1.0, 4.0))
def test_a_better_loss_takes_more_compute(first: float, second: float) -> None:
    better, worse = sorted([first, second])
    more, less = compute_of(better, SERIES), compute_of(worse, SERIES)
    assert more is not None and less is not None and more >= less


def test_a_series_needs_two_different_members() -> None:
    check_series([], "series")
    check_series([KnownCheckpoint(1.0, 3.0), KnownCheckpoint(2.0, 3.0)], "series")
    with pytest.raises(SettingError, match=r"series=\[1.0, 1.0\]"):
        check_series([KnownCheckpoint(1.0, 3.0), KnownCheckpoint(1.0, 2.0)], "series")


@pytest.mark.parametrize(("compute", "loss"), [(0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_logarithms_need_positive_numbers(compute: float, loss: float) -> None:
    with pytest.raises(SettingError, match="above 0"):
        KnownCheckpoint(compute, loss)
