"""Rank units as a costly score over all their contexts would: from cheap scores, and the costly one over a few.

A score over few contexts is noisy; what cheap scores predict is blunt. Both are weighed by how sure they are (empirical
Bayes, as of Efron and Morris 1975): the noise is known from the scatter of a unit's contexts, how far off predictions
are from how much scores scatter about them beyond their noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, sqrt
from typing import NamedTuple

import numpy as np

from latentese.metrics.correlation import Floats, pearson_over

FLOOR = 0.01
"""Of a unit's mean variance per context: contexts in which it does next to nothing are read too, if seldom."""
RIDGE = 5.0
"""Pulls the slopes of standardised cheap scores towards 0, as five units would: a few dozen fit them badly."""


@dataclass(frozen=True)
class Partial:
    """What is known of one unit so far."""

    cheap: Floats
    """Scores that cost nothing, [n_cheap]; NaN where one is not defined."""
    sums: Floats
    """Token sums of each context that was read and answered, [n_read, 6]."""
    chances: Floats
    """With what chance each of them was to be read by now, [n_read]."""
    n_contexts: int
    """How many the costly score is over."""

    @property
    def weighted(self) -> Floats:
        """Token sums, each of them standing for contexts like it that were not read: [n_read, 6]."""
        return np.asarray(self.sums / self.chances[:, None])

    @property
    def score(self) -> float:
        """The costly score over all contexts, as those that were read tell it; NaN where it is not defined."""
        return pearson_over(self.weighted)


class Estimates(NamedTuple):
    """What the costly score over all contexts is expected to be, of each unit [n_units]."""

    value: Floats
    spread: Floats
    """Standard deviation."""
    predicted: Floats
    """By cheap scores alone."""


def sizes(true: Sequence[Sequence[float]]) -> Floats:
    """Tell how much each context may move a unit's correlation, from its true activations: [n_contexts].

    The norm of their deviations from the unit's mean: what a simulation that knows nothing of them adds to the
    covariance has a standard deviation in proportion to it.
    """
    mean = float(np.concatenate([np.asarray(acts, dtype=float) for acts in true]).mean())
    variance = np.array([float(((np.asarray(acts, dtype=float) - mean) ** 2).sum()) for acts in true])
    if not variance.any():
        return np.ones(len(variance))
    return np.asarray(np.sqrt(variance + FLOOR * variance.mean()))


def reading_order(size: Floats, rng: np.random.Generator) -> list[int]:
    """Order contexts so that, wherever reading stops, each was read with a chance about in proportion to its size.

    Sequential Poisson sampling (Ohlsson 1998, Sequential Poisson Sampling, Journal of Official Statistics 14).
    """
    return [int(i) for i in np.argsort(rng.random(len(size)) / size, kind="stable")]


def chances(size: Floats, n_read: int) -> Floats:
    """Compute with what chance each context [n_contexts] is among the first `n_read` of its reading order."""
    chance = np.minimum(n_read * size / size.sum(), 1.0)
    while (left := n_read - chance.sum()) > 1e-9 and (open_ := chance < 1).any():
        # What is sure to be read leaves its surplus to the others.
        chance[open_] = np.minimum(chance[open_] * (1 + left / chance[open_].sum()), 1.0)
    return np.asarray(chance)


def estimate(units: Sequence[Partial]) -> Estimates:
    """Weigh each unit's score over the contexts that were read against what cheap scores predict of it.

    How far off predictions are is seen on units that had no part in them. A unit of which nothing was read, or whose
    score is not defined, has the prediction alone.
    """
    read = np.array([unit.score for unit in units])
    known, noise = np.isfinite(read), _noise(units)
    predicted, without_own = _predict(np.array([unit.cheap for unit in units]), read)
    surplus = (read - without_own)[known] ** 2 - noise[known]
    off = max(float(surplus.mean()), 0.0) if known.any() else 1.0
    total = off + noise
    weight = np.where(known, off / np.where(total > 0, total, 1.0), 0.0)
    weight[known & (noise == 0)] = 1.0  # all is read: nothing is left to predict
    value = weight * np.where(known, read, 0.0) + (1 - weight) * predicted
    return Estimates(value, np.sqrt(np.where(known, weight * noise, off)), predicted)


def misordered(value: Floats, spread: Floats) -> Floats:
    """With how many other units each one is expected to be in the wrong order, [n_units]."""
    distance = np.abs(value[:, None] - value[None, :])
    scale = np.sqrt(spread[:, None] ** 2 + spread[None, :] ** 2)
    z = distance / np.where(scale > 0, scale, 1.0)
    wrong = np.where(scale > 0, 0.5 * (1 - np.vectorize(erf)(z / sqrt(2))), 0.0)
    np.fill_diagonal(wrong, 0.0)
    return np.asarray(wrong.sum(axis=1))


def _noise(units: Sequence[Partial]) -> Floats:
    """Variance of each unit's score over what was read about its score over all contexts, [n_units].

    From the same for all units, because a few contexts of one tell next to nothing. Contexts are drawn without
    replacement: nothing is left of it once all are read.
    """
    n_read = np.array([len(unit.sums) for unit in units])
    left = np.maximum(1 - n_read / np.array([unit.n_contexts for unit in units]), 0.0)
    of_units = np.array([_variance(unit) for unit in units])
    told = np.isfinite(of_units) & (left > 0)
    if told.any():
        of_one = float((of_units[told] * n_read[told] / left[told]).mean())
    else:  # where nowhere two contexts were read, units are taken to differ by nothing but noise
        scores = np.array([unit.score for unit in units])
        of_one = float(np.nanvar(scores)) if np.isfinite(scores).any() else 1.0
    return np.asarray(of_one / np.maximum(n_read, 1) * left)


def _variance(unit: Partial) -> float:
    """Variance of one unit's score by which contexts were drawn, to first order; NaN of fewer than two contexts.

    That of a Horvitz-Thompson total, of what each context adds to the correlation.
    """
    n, score = len(unit.sums), unit.score
    if n < 2 or not np.isfinite(score):
        return float("nan")
    total = unit.weighted.sum(axis=0)
    mean_true, mean_expected = total[1] / total[0], total[2] / total[0]
    true_true = total[3] / total[0] - mean_true**2
    expected_expected = total[4] / total[0] - mean_expected**2
    tokens, true, expected, true2, expected2, both = unit.weighted.T
    cross = both - mean_true * expected - mean_expected * true + tokens * mean_true * mean_expected
    own_true = true2 - 2 * mean_true * true + tokens * mean_true**2
    own_expected = expected2 - 2 * mean_expected * expected + tokens * mean_expected**2
    spread = own_true / true_true + own_expected / expected_expected
    adds = (cross / np.sqrt(true_true * expected_expected) - score / 2 * spread) / total[0]
    return float(n / (n - 1) * ((1 - unit.chances) * adds**2).sum())


def _predict(cheap: Floats, read: Floats) -> tuple[Floats, Floats]:
    """Regress scores [n_units] on cheap ones [n_units, n_cheap], where both are known.

    Returns predictions [n_units], and those that units would have without a part in them.
    """
    known, features = np.isfinite(read), np.nan_to_num(_standardised(cheap))
    if known.sum() < 2:
        order = np.asarray(features.sum(axis=1))  # an order, if no scale
        return order, order
    penalty = RIDGE * np.eye(features.shape[1] + 1)
    penalty[0, 0] = 0.0  # the mean is not pulled
    design = np.column_stack([np.ones(len(features)), features])
    solve = np.linalg.inv(design[known].T @ design[known] + penalty) @ design[known].T
    predicted = np.asarray(design @ solve @ read[known])
    own = np.einsum("up,pu->u", design[known], solve)  # how much of each prediction is the unit's own score
    without_own = predicted.copy()
    without_own[known] = (predicted[known] - own * read[known]) / np.maximum(1 - own, 1e-9)
    return predicted, without_own


def _standardised(cheap: Floats) -> Floats:
    """Put each column [n_units, n_cheap] onto mean 0 and deviation 1; what is not defined stays NaN."""
    filled = np.isfinite(cheap)
    n = np.maximum(filled.sum(axis=0), 1)
    mean = np.where(filled, cheap, 0.0).sum(axis=0) / n
    deviation = np.sqrt((np.where(filled, cheap - mean, 0.0) ** 2).sum(axis=0) / n)
    return np.asarray((cheap - mean) / np.where(deviation > 0, deviation, 1.0))
