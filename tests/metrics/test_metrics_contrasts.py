"""Comparisons between dictionaries: intervals and verdicts computed by hand, and coverage where the truth is known."""

from __future__ import annotations

from math import e, log, sqrt

import numpy as np
import pytest

from latentese.errors import LatenteseError
from latentese.metrics.contrasts import Arm, Figure, contrast, verdict
from latentese.metrics.intervals import Bootstrap, Interval

BOOTSTRAP = Bootstrap(n_boot=2000, seed=0)
T2 = 4.302653
"""97.5 % quantile of Student's t with two degrees of freedom."""


def arm(weight: float, *values: float) -> Arm:
    return Arm(weight, [Figure(value) for value in values])


def test_difference_over_three_seeds_by_hand() -> None:
    # Differences .1, .2, .3: mean .2, standard deviation .1, standard error .1 / sqrt(3).
    found = contrast([arm(1, 0.5, 0.7, 0.9), arm(-1, 0.4, 0.5, 0.6)], "difference", BOOTSTRAP)
    reach = T2 * 0.1 / sqrt(3)
    assert found.interval == pytest.approx((0.2, 0.2 - reach, 0.2 + reach), rel=1e-5)
    assert (found.n_seeds, found.n_documents) == (3, None)


def test_pairing_by_seed_takes_out_what_seeds_share() -> None:
    found = contrast([arm(1, 0.9, 0.5, 0.1), arm(-1, 0.8, 0.4, 0.0)], "difference", BOOTSTRAP)
    assert found.interval == pytest.approx((0.1, 0.1, 0.1))


def test_ratio_is_compared_in_logarithms() -> None:
    # Ratios e, e^2, e^3: mean of the logarithms 2, standard deviation 1.
    found = contrast([arm(1, e, e**2, e**3), arm(-1, 1, 1, 1)], "ratio", BOOTSTRAP)
    reach = T2 / sqrt(3)
    assert [log(edge) for edge in found.interval] == pytest.approx([2, 2 - reach, 2 + reach], rel=1e-5)


def test_gap_that_grows_is_a_contrast_of_four() -> None:
    # (wide relu - wide topk) - (narrow relu - narrow topk) = (.5 - .3) - (.6 - .5) = .1 for both seeds
    arms = [arm(1, 0.5, 0.5), arm(-1, 0.3, 0.3), arm(-1, 0.6, 0.6), arm(1, 0.5, 0.5)]
    assert contrast(arms, "difference", BOOTSTRAP).interval == pytest.approx((0.1, 0.1, 0.1))


def documents(values: list[float], denominator: float = 1.0) -> Figure:
    """A figure that is the mean of its documents' values."""
    sums = np.array([[value * denominator, denominator] for value in values])
    return Figure(float(np.mean(values)), sums)


def test_documents_that_agree_add_no_doubt() -> None:
    first = [documents([value] * 5) for value in (0.5, 0.7, 0.9)]
    second = [documents([value] * 5) for value in (0.4, 0.5, 0.6)]
    found = contrast([Arm(1, first), Arm(-1, second)], "difference", BOOTSTRAP)
    reach = T2 * 0.1 / sqrt(3)
    assert found.interval == pytest.approx((0.2, 0.2 - reach, 0.2 + reach), rel=1e-5)
    assert found.n_documents == 5


def test_seeds_that_agree_leave_the_doubt_of_documents() -> None:
    # Both seeds differ by 0 or 1 on half of 20 documents each: mean .5, and the bootstrap's variance of a mean is
    # .25 / 20, with 19 degrees of freedom (t = 2.093024).
    first, second = documents([1.0, 0.0] * 10), documents([0.0] * 20)
    found = contrast([Arm(1, [first, first]), Arm(-1, [second, second])], "difference", BOOTSTRAP)
    assert found.interval.value == pytest.approx(0.5)
    assert found.interval.high - found.interval.value == pytest.approx(2.093024 * sqrt(0.25 / 20), rel=0.05)


def test_documents_are_resampled_alike_for_both_sides() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(30)
    sides = [[documents([*(values + shift)]) for _ in range(2)] for shift in (0.3, 0.0)]
    found = contrast([Arm(1, sides[0]), Arm(-1, sides[1])], "difference", BOOTSTRAP)
    assert found.interval == pytest.approx((0.3, 0.3, 0.3), abs=1e-9)


def test_long_documents_weigh_more() -> None:
    # One document of 9 tokens with error 1 and one of 1 token with error 0: .9 of the total.
    figure = Figure(0.9, np.array([[9.0, 9.0], [0.0, 1.0]]))
    found = contrast([Arm(1, [figure, figure])], "difference", BOOTSTRAP)
    assert found.interval.value == pytest.approx(0.9)


def test_one_document_gives_an_interval_over_seeds_alone() -> None:
    arms = [Arm(1, [documents([0.5]), documents([0.6])])]
    assert contrast(arms, "difference", BOOTSTRAP).n_documents is None


def test_intervals_cover_differences_of_seeds_and_documents() -> None:
    rng, covered, n_trials, bootstrap = np.random.default_rng(3), 0, 200, Bootstrap(n_boot=300)
    for _ in range(n_trials):
        shared = rng.normal(0, 0.3, 25)  # how much harder each document is for the second side
        sides = []
        for shift in (0.0, shared - 0.2):
            seeds = rng.normal(0, 0.05, 3)
            sides.append([documents([*(1 + np.zeros(25) + shift + seed)]) for seed in seeds])
        found = contrast([Arm(1, sides[0]), Arm(-1, sides[1])], "difference", bootstrap)
        covered += found.interval.low <= 0.2 <= found.interval.high
    assert 0.9 <= covered / n_trials <= 1


@pytest.mark.parametrize(
    ("arms", "scale", "said"),
    [
        ([arm(1, 0.5)], "difference", "at least 2 of them"),
        ([arm(1, 0.5, 0.6), arm(-1, 0.5, 0.6, 0.7)], "difference", "the same seeds of every dictionary"),
        ([arm(1, 0.5, 0.0), arm(-1, 0.5, 0.6)], "ratio", "a ratio needs figures above 0"),
        (
            [Arm(1, [documents([1, 2])] * 2), Arm(-1, [documents([1, 2, 3])] * 2)],
            "difference",
            "the same documents of every dictionary",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(arms, scale, said) -> None:
    with pytest.raises(LatenteseError, match=said):
        contrast(arms, scale, BOOTSTRAP)


@pytest.mark.parametrize(
    ("interval", "side", "than", "expected"),
    [
        ((0.2, 0.1, 0.3), "above", 0, "held"),
        ((0.2, -0.1, 0.5), "above", 0, "undecided"),
        ((-0.2, -0.3, -0.1), "above", 0, "did not hold"),
        ((-0.2, -0.3, -0.1), "below", 0, "held"),
        ((0.2, 0.1, 0.3), "below", 0, "did not hold"),
        ((0.1, 0.0, 0.2), "above", 0, "undecided"),
        ((0.0, 0.0, 0.0), "above", 0, "undecided"),
        ((1.4, 1.2, 1.6), "above", 1.5, "undecided"),
        ((1.2, 1.1, 1.3), "above", 1.5, "did not hold"),
        ((1.2, 1.1, 1.3), "above", 1, "held"),
        ((0.2, None, None), "above", 0, "undecided"),
        ((None, None, None), "above", 0, "undecided"),
    ],
)
def test_verdicts(interval, side, than, expected) -> None:
    assert verdict(Interval(*interval), side, than) == expected
