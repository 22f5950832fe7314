"""Bounds of a score whose questions failed in part: what the missing answers would have made it at best and at worst.

Missing answers are taken to lie in the range of those that were given: of unbounded ones, a single context could move
a correlation anywhere. Within that range the bounds are exact: no answers would give a higher or a lower score.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from latentese.metrics.correlation import Floats, pearson, token_sums

MAX_STEPS = 500
STILL = 1e-12
"""Steps end when the correlation gains less."""


class Range(NamedTuple):
    """Lowest and highest activation that a simulator answered."""

    low: float
    high: float


def nearest(true: Floats, answers: Range) -> Floats:
    """Answers closest to the truth [n_tokens]: no squared or absolute error is smaller."""
    return np.clip(true, *answers)


def farthest(true: Floats, answers: Range) -> Floats:
    """Answers farthest from the truth [n_tokens]: no squared or absolute error is larger."""
    return np.where(true - answers.low > answers.high - true, answers.low, answers.high)


def most_correlated(true: Floats, simulated: Floats, missing: Floats, answers: Range) -> Floats:
    """Answers for tokens whose truth is `missing` [n_missing] that raise the correlation over all tokens the most.

    true, simulated [n_judged]: the tokens with an answer. The correlation is pseudo-concave in the answers where it is
    above 0: alternating between the regression of the truth on the simulation, and answers on its line, as far as the
    range goes, ends at the maximum. Below 0 it is pseudo-convex, and the maximum is a corner: high answers for the
    strongest tokens, low ones for the others.
    """
    y = np.concatenate([true, missing])
    best = _best_corner(true, simulated, missing, answers)
    reached = _correlation(y, np.concatenate([simulated, best]))
    if not reached > 0:
        return best
    for _ in range(MAX_STEPS):
        line = _line(y, np.concatenate([simulated, best]))
        tried = np.clip((missing - line[0]) / line[1], *answers)
        gained = _correlation(y, np.concatenate([simulated, tried])) - reached
        if not gained > STILL:
            break
        best, reached = tried, reached + gained
    return best


def least_correlated(true: Floats, simulated: Floats, missing: Floats, answers: Range) -> Floats:
    """Answers [n_missing] that lower the correlation the most: those most correlated with the negative truth."""
    return most_correlated(-true, simulated, -missing, answers)


def _best_corner(true: Floats, simulated: Floats, missing: Floats, answers: Range) -> Floats:
    """High answers for the n strongest tokens, low ones for the others: the best n of all."""
    order = np.argsort(-missing, kind="stable")
    n_high = np.arange(missing.size + 1)
    y_high = np.concatenate([[0.0], np.cumsum(missing[order])])
    low, high = answers
    n_low = missing.size - n_high
    ones = np.ones(missing.size + 1)
    added = np.stack(
        [
            missing.size * ones,
            missing.sum() * ones,
            high * n_high + low * n_low,
            (missing @ missing) * ones,
            high**2 * n_high + low**2 * n_low,
            high * y_high + low * (missing.sum() - y_high),
        ],
        axis=-1,
    )
    found = pearson(token_sums(true, simulated) + added)
    n_best = int(np.nanargmax(found)) if np.isfinite(found).any() else 0
    corner = np.full(missing.size, low)
    corner[order[:n_best]] = high
    return corner


def _correlation(y: Floats, s: Floats) -> float:
    return float(pearson(token_sums(y, s)))


def _line(y: Floats, s: Floats) -> tuple[float, float]:
    """Intercept and slope of the regression of y on s, which are correlated above 0."""
    slope = float(np.mean((y - y.mean()) * (s - s.mean())) / s.var())
    return float(y.mean()) - slope * float(s.mean()), slope
