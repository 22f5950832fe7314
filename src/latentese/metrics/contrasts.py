"""Compare trained dictionaries: intervals over seeds and documents, and what they say of a claim.

Dictionaries are compared seed by seed, on the same documents. A difference is uncertain for two reasons: another seed
would give other weights, and other documents other figures. The first is known from few values only, so the interval
is Student's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from latentese.errors import LatenteseError
from latentese.metrics.correlation import Floats
from latentese.metrics.intervals import DECIMALS, Bootstrap, Interval
from latentese.metrics.student import t_quantile

Scale = Literal["difference", "ratio"]
Side = Literal["above", "below"]
Verdict = Literal["held", "did not hold", "undecided"]


@dataclass(frozen=True)
class Figure:
    """One number, measured on one trained dictionary."""

    value: float
    sums: Floats | None = None
    """[n_documents, 2]: what each document adds to the numerator and to the denominator of the value; None where the
    value is not made from documents, or they are not told."""


class Arm(NamedTuple):
    """One kind of dictionary in a comparison: its weight, and its figure for each seed."""

    weight: float
    figures: Sequence[Figure]


class Contrast(NamedTuple):
    """A comparison with its interval."""

    interval: Interval
    n_seeds: int
    n_documents: int | None
    """None where the interval is over seeds alone."""


def contrast(arms: Sequence[Arm], scale: Scale, bootstrap: Bootstrap) -> Contrast:
    """Sum of weight * figure over arms, or, as a ratio, product of figure ^ weight; averaged over seeds.

    The variance between seeds, with n_seeds - 1 degrees of freedom, and that of resampled documents, with n_documents -
    1, add up; the degrees of their sum are Welch's and Satterthwaite's. Raises LatenteseError for fewer than two seeds,
    for arms with different seeds, and for a ratio of figures that are not above 0.
    """
    n_seeds = len(arms[0].figures)
    if n_seeds < 2 or any(len(arm.figures) != n_seeds for arm in arms):
        raise LatenteseError("a comparison needs the same seeds of every dictionary, at least 2 of them")
    weights = np.array([arm.weight for arm in arms])
    values = np.array([[figure.value for figure in arm.figures] for arm in arms])  # [n_arms, n_seeds]
    by_seed = weights @ _scaled(values, scale)
    parts = [(float(by_seed.var(ddof=1)) / n_seeds, n_seeds - 1)]
    sums = _sums(arms)
    if sums is not None:
        resampled = _resample(sums, bootstrap)  # [n_boot, n_arms, n_seeds]
        moved = np.einsum("a,bas->b", weights, _scaled(resampled, scale)) / n_seeds
        parts.append((float(moved.var(ddof=1)), sums.shape[2] - 1))
    interval = _interval(float(by_seed.mean()), parts, bootstrap.level)
    back = np.exp if scale == "ratio" else np.asarray
    rounded = Interval(*(round(float(back(edge)), DECIMALS) + 0.0 for edge in interval))
    return Contrast(rounded, n_seeds, None if sums is None else sums.shape[2])


def verdict(interval: Interval, side: Side, than: float) -> Verdict:
    """Judge a claim that a value lies above, or below, `than`: by its whole interval, or not at all."""
    value, low, high = interval
    if value is None or low is None or high is None:
        return "undecided"
    if (low > than) if side == "above" else (high < than):
        return "held"
    if (high < than) if side == "above" else (low > than):
        return "did not hold"
    return "undecided"


def _scaled(values: Floats, scale: Scale) -> Floats:
    if scale == "difference":
        return values
    if not (values > 0).all():
        raise LatenteseError("a ratio needs figures above 0")
    return np.log(values)


def _sums(arms: Sequence[Arm]) -> Floats | None:
    """Gather the sums, [n_arms, n_seeds, n_documents, 2]; None if a figure has none, or there is one document."""
    found = [[figure.sums for figure in arm.figures] for arm in arms]
    if any(sums is None for row in found for sums in row):
        return None
    shapes = {sums.shape for row in found for sums in row if sums is not None}
    if len(shapes) != 1:
        raise LatenteseError("a comparison needs the same documents of every dictionary")
    return np.array(found) if shapes.pop()[0] > 1 else None


def _resample(sums: Floats, bootstrap: Bootstrap) -> Floats:
    """Figures under resampled documents, the same for all arms and seeds: [n_boot, n_arms, n_seeds]."""
    n_documents = sums.shape[2]
    rng = np.random.default_rng(bootstrap.seed)
    drawn = rng.multinomial(n_documents, np.full(n_documents, 1 / n_documents), size=bootstrap.n_boot)
    totals = np.einsum("bd,asdx->basx", drawn.astype(np.float64), sums, optimize=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = totals[..., 0] / totals[..., 1]
    defined: Floats = ratios[np.isfinite(ratios).all(axis=(1, 2))]
    return defined


def _interval(value: float, parts: Sequence[tuple[float, int]], level: float) -> tuple[float, float, float]:
    """Student's interval around a value whose variance is a sum of estimates (variance, degrees of freedom)."""
    variance = sum(part for part, _ in parts)
    if variance <= 0:
        return value, value, value
    degrees = variance**2 / sum(part**2 / freedom for part, freedom in parts)
    reach = t_quantile((1 + level) / 2, degrees) * variance**0.5
    return value, value - reach, value + reach
