"""A claim is judged by its whole interval, between arms that spend the same, over seeds that both have."""

from __future__ import annotations

from math import sqrt

import pytest

from latentese.errors import SettingError
from latentese.metrics.claims import Claim, Figures, Judged, Matching, judge, mean_of, spread_of
from latentese.metrics.contrasts import Figure
from latentese.metrics.intervals import Bootstrap

BOOTSTRAP = Bootstrap(n_boot=100)
EQUAL = Matching(0.1, {"topk": 32.0, "relu": 33.0, "loose": 40.0, "unknown": None})
T1 = 12.706205
"""97.5 % quantile of Student's t with one degree of freedom."""


def figures(*values: float | None) -> Figures:
    return [None if value is None else Figure(value) for value in values]


def judged(claim: Claim, **of_arms: Figures) -> Judged:
    return judge(claim, of_arms, EQUAL, BOOTSTRAP)


def better(**changes: object) -> Claim:
    given = {"says": "s", "source": "p", "measure": "fvu", "weights": {"relu": 1, "topk": -1}, "expect": "above"}
    return Claim(**{**given, **changes})  # type: ignore[arg-type]


def test_a_clear_difference_holds() -> None:
    # Differences .20 and .22: mean .21, standard error .01 (|.22 - .20| / 2), times t = .127
    found = judged(better(), relu=figures(0.50, 0.52), topk=figures(0.30, 0.30))
    assert found.verdict == "held"
    assert found.found.interval == pytest.approx((0.21, 0.21 - T1 * 0.01, 0.21 + T1 * 0.01), rel=1e-5)
    assert found.means == {"relu": pytest.approx(0.51), "topk": pytest.approx(0.30)}
    assert found.why == ""


def test_the_opposite_claim_did_not_hold() -> None:
    found = judged(better(expect="below"), relu=figures(0.50, 0.52), topk=figures(0.30, 0.30))
    assert found.verdict == "did not hold"


def test_a_difference_that_seeds_disagree_on_is_undecided() -> None:
    # Differences .1 and .3: mean .2, standard error .1, times t = 1.27
    found = judged(better(), relu=figures(0.4, 0.6), topk=figures(0.3, 0.3))
    assert found.verdict == "undecided"
    assert found.found.interval.low == pytest.approx(0.2 - T1 * 0.1, rel=1e-5)


def test_a_ratio_is_compared_with_1_and_a_difference_with_0() -> None:
    assert better().border == 0
    assert better(scale="ratio").border == 1
    assert better(scale="ratio", than=1.5).border == 1.5
    found = judged(better(scale="ratio", than=1.5), relu=figures(1.6, 1.6), topk=figures(1.0, 1.0))
    assert (found.verdict, found.found.interval.value) == ("held", pytest.approx(1.6))


def test_arms_that_spend_differently_are_not_compared() -> None:
    claim = better(weights={"loose": 1, "topk": -1}, matched=True)
    found = judged(claim, loose=figures(0.5, 0.5), topk=figures(0.3, 0.3))
    assert (found.verdict, found.why) == ("undecided", "their L0 differ: loose 40, topk 32")
    assert found.found.interval.value == pytest.approx(0.2), "what was found is shown all the same"
    assert judged(better(matched=True), relu=figures(0.5, 0.5), topk=figures(0.3, 0.3)).verdict == "held"
    unmatched = better(weights={"loose": 1, "topk": -1})
    assert judged(unmatched, loose=figures(0.5, 0.5), topk=figures(0.3, 0.3)).verdict == "held"


def test_arms_match_within_a_share_of_the_smaller_one() -> None:
    matching = Matching(0.1, {"a": 10.0, "b": 11.0, "c": 11.1})
    assert matching.complaint(["a", "b"]) == ""
    assert matching.complaint(["a", "b", "c"]) == "their L0 differ: a 10, b 11, c 11.1"
    assert EQUAL.complaint(["topk", "unknown"]) == "their L0 differ: topk 32, unknown -"


def test_what_is_not_defined_is_undecided_and_says_so() -> None:
    found = judged(better(), relu=figures(0.5, None), topk=figures(0.3, 0.3))
    assert (found.verdict, found.why, found.found) == ("undecided", "not defined for relu", None)
    assert found.means["relu"] == 0.5


def test_what_cannot_be_compared_is_undecided_and_says_so() -> None:
    found = judged(better(scale="ratio"), relu=figures(0.0, 0.0), topk=figures(0.1, 0.1))
    assert (found.verdict, found.why) == ("undecided", "a ratio needs figures above 0")


def test_one_arm_alone_is_compared_with_a_value() -> None:
    claim = better(weights={"topk": 1}, expect="below", than=0.07)
    # .02 and .03: mean .025, standard error .005, times t = .064
    found = judged(claim, topk=figures(0.02, 0.03))
    assert found.found.interval.high == pytest.approx(0.025 + T1 * 0.01 / (2 * sqrt(1)), rel=1e-4)
    assert found.verdict == "undecided"
    assert judged(claim, topk=figures(0.02, 0.0201)).verdict == "held"


def test_means_and_spreads_leave_out_what_is_not_defined() -> None:
    assert mean_of(figures(1.0, None, 3.0)) == 2.0
    assert spread_of(figures(1.0, None, 3.0)) == (2.0, 1.0, 3.0)
    assert mean_of(figures(None)) is None
    assert spread_of(figures(None)) == (None, None, None)


@pytest.mark.parametrize("change", [{"expect": "over"}, {"scale": "log"}, {"weights": {}}])
def test_a_claim_that_says_nothing_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(SettingError, match=r"claims\.claims\."):
        better(**change)
