"""Student's t against its closed forms for one and two degrees of freedom, and against the normal distribution."""

from __future__ import annotations

from math import pi, sqrt, tan

import pytest

from latentese.metrics.student import t_over_normal, t_quantile


@pytest.mark.parametrize("share", [0.6, 0.9, 0.975, 0.995])
def test_one_degree_is_cauchys_distribution(share: float) -> None:
    assert t_quantile(share, 1) == pytest.approx(tan(pi * (share - 0.5)), rel=1e-6)


@pytest.mark.parametrize("share", [0.6, 0.9, 0.975, 0.995])
def test_two_degrees_have_a_closed_form(share: float) -> None:
    u = 2 * share - 1  # F(t) = 1/2 + t / (2 sqrt(2 + t^2)), solved for t
    assert t_quantile(share, 2) == pytest.approx(u * sqrt(2 / (1 - u**2)), rel=1e-6)


def test_the_median_is_zero() -> None:
    assert t_quantile(0.5, 4) == 0


def test_between_whole_degrees_it_lies_between_their_values() -> None:
    assert t_quantile(0.975, 3) < t_quantile(0.975, 2.5) < t_quantile(0.975, 2)


def test_many_degrees_are_the_normal_distribution() -> None:
    assert t_quantile(0.975, 1e5) == pytest.approx(1.959964, abs=1e-4)
    assert t_over_normal(1e5, 0.95) == pytest.approx(1, abs=1e-4)


def test_two_degrees_widen_a_95_percent_interval_by_more_than_two() -> None:
    assert t_over_normal(2, 0.95) == pytest.approx(4.302653 / 1.959964, rel=1e-6)


@pytest.mark.parametrize(("share", "degrees"), [(0.4, 2), (1.0, 2), (0.9, 0.5), (0.9, float("nan"))])
def test_what_has_no_quantile_is_refused(share: float, degrees: float) -> None:
    with pytest.raises(ValueError, match=r"share must be in \.5 to 1 and degrees at least 1"):
        t_quantile(share, degrees)
