"""Numbers as people read them."""

from __future__ import annotations

import pytest

from latentese.report.numbers import percent


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0, "0 %"),
        (0.00012, "0.012 %"),
        (0.05, "5.0 %"),
        (0.0994, "9.9 %"),
        (0.0996, "10 %"),
        (0.5, "50 %"),
        (1, "100 %"),
    ],
)
def test_shares_have_two_digits_and_no_exponent(share: float, said: str) -> None:
    assert percent(share) == said
