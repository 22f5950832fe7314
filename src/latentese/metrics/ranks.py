"""How alike two rankings of the same units are."""

from __future__ import annotations

import numpy as np
import polars as pl

from latentese.metrics.correlation import Floats
from latentese.metrics.intervals import Bootstrap, Interval, percentiles


def spearman(first: Floats, second: Floats) -> float:
    """Spearman's rank correlation over units that both scores are defined for; NaN where all ranks are tied."""
    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < 2:
        return float("nan")
    ranks = [pl.Series(side[known]).rank().to_numpy() for side in (first, second)]
    if min(rank.std() for rank in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def spearman_interval(first: Floats, second: Floats, bootstrap: Bootstrap) -> Interval:
    """Spearman's rank correlation with an interval over units [n_units]."""
    rng = np.random.default_rng([bootstrap.seed, len(first)])
    drawn = rng.integers(len(first), size=(bootstrap.n_boot, len(first)))
    draws = np.array([spearman(first[units], second[units]) for units in drawn])
    return percentiles(spearman(first, second), draws, bootstrap)


def lengthened(reliability: float) -> float:
    """Foretell the reliability of a score over twice the contexts (Spearman 1910, Brown 1910), from 0 to 1."""
    return 2 * reliability / (1 + reliability)
