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

PAIR = 2
"""Contexts that are read together: a top one and a random one, for on either kind alone a correlation says little."""
RIDGE = 5.0
"""Pulls the slopes of standardised cheap scores towards 0, as five units would: a few dozen fit them badly."""


@dataclass(frozen=True)
class Partial:
    """What is known of one unit so far."""

    cheap: Floats
    """Scores that cost nothing, [n_cheap]; NaN where one is not defined."""
    sums: Floats
    """Token sums of each context that was read and answered, [n_read, 6]: top and random ones by turns."""
    n_contexts: int
    """How many the costly score is over."""


class Estimates(NamedTuple):
    """What the costly score over all contexts is expected to be, of each unit [n_units]."""

    value: Floats
    spread: Floats
    """Standard deviation."""
    predicted: Floats
    """By cheap scores alone."""


def estimate(units: Sequence[Partial]) -> Estimates:
    """Weigh each unit's score over the contexts that were read against what cheap scores predict of it.

    How far off predictions are is seen on units that had no part in them. A unit of which nothing was read, or whose
    score is not defined, has the prediction alone.
    """
    read = np.array([pearson_over(unit.sums) for unit in units])
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

    From how far the scores of a unit's pairs scatter, the same for all units, because two or three pairs of one tell
    next to nothing. Contexts are drawn without replacement: nothing is left of it once all are read.
    """
    of_pairs = [_pair_variance(unit.sums) for unit in units]
    told = [variance for variance in of_pairs if np.isfinite(variance)]
    scores = np.array([pearson_over(unit.sums) for unit in units])
    # Where no second pair was read anywhere, units are taken to differ by nothing but noise.
    scatter = float(np.nanvar(scores)) if np.isfinite(scores).any() else 1.0
    variance = float(np.mean(told)) if told else scatter
    n_read = np.array([len(unit.sums) for unit in units])
    left = np.maximum(1 - n_read / np.array([unit.n_contexts for unit in units]), 0.0)
    return np.asarray(variance / np.maximum(n_read // PAIR, 1) * left)


def _pair_variance(sums: Floats) -> float:
    """Variance of the score of a pair of contexts, a top and a random one; NaN of fewer than two pairs."""
    pairs = [pearson_over(sums[i : i + PAIR]) for i in range(0, len(sums) - 1, PAIR)]
    defined = [score for score in pairs if np.isfinite(score)]
    return float(np.var(defined, ddof=1)) if len(defined) > 1 else np.nan


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
