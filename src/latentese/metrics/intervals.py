"""Bootstrap intervals: documents are resampled, because tokens of one document are not independent.

A mean over units resamples units too, and documents anew for every unit drawn. Percentile intervals, seeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from latentese.errors import SettingError
from latentese.metrics.correlation import Floats, Metric

DECIMALS = 12
"""Rounding noise of a difference is not a sign: what is 0 on one processor must not be -1e-17 on another."""


class Interval(NamedTuple):
    """A value and its interval; None where they are not defined. One document gives a value and no interval."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are computed."""

    n_boot: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_boot < 1:
            raise SettingError("n_boot", self.n_boot, "at least 1 resample")
        if not 0 < self.level < 1:
            raise SettingError("level", self.level, "between 0 and 1")
        if self.seed < 0:
            raise SettingError("seed", self.seed, "at least 0")


def document_interval(sums: Floats, metric: Metric, bootstrap: Bootstrap) -> Interval:
    """Interval of one unit's metric over its documents: sums [n_documents, n_sums]."""
    if not len(sums):
        return Interval(None, None, None)
    found = percentiles(float(metric(sums.sum(axis=0))), document_draws(sums, metric, bootstrap, stream=0), bootstrap)
    return found if len(sums) > 1 else Interval(found.value, None, None)


def mean_interval(
    units: Sequence[Floats], metric: Metric, bootstrap: Bootstrap, streams: Sequence[int] | None = None
) -> Interval:
    """Interval of the mean of a metric over units: one [n_documents, n_sums] per unit.

    streams: which resamples each unit gets, such as its number; by default its place. What is given the same ones in
    the same order has the same interval. Units whose metric is not defined are left out: count them beside the mean.
    """
    values = np.array([float(metric(sums.sum(axis=0))) for sums in units])
    kept = [i for i, value in enumerate(values) if np.isfinite(value)]
    if len(kept) < 2:
        return document_interval(units[kept[0]], metric, bootstrap) if kept else Interval(None, None, None)
    stream_of = range(len(units)) if streams is None else streams
    draws = np.stack([document_draws(units[i], metric, bootstrap, stream=stream_of[i]) for i in kept])
    return mean_of_draws(values[kept], draws, bootstrap)


def mean_of_draws(values: Floats, draws: Floats, bootstrap: Bootstrap) -> Interval:
    """Interval of the mean over units of values [n_units] whose resamples are known: draws [n_units, n_boot]."""
    return percentiles(float(np.mean(values)), _resample_units(_centred(draws, values), bootstrap), bootstrap)


def _centred(draws: Floats, values: Floats) -> Floats:
    """Move each unit's resamples, so that their mean is its value.

    Those in which its metric is not defined are left out, and the others are not drawn evenly: of one document that
    fires and one that does not, the first is in all of them. What that moves does not average out over units.
    """
    defined = np.isfinite(draws)
    means = np.where(defined, draws, 0).sum(axis=1) / np.maximum(defined.sum(axis=1), 1)
    centred: Floats = draws + (values - means)[:, np.newaxis]
    return centred


def paired_interval(
    units: Sequence[tuple[Floats, Floats]], metric: Metric, bootstrap: Bootstrap, streams: Sequence[int] | None = None
) -> Interval:
    """Interval of the mean of `metric(second) - metric(first)` over units, as `mean_interval` does.

    A pair's rows are the same documents in the same order: both sides are resampled alike.
    """
    paired = [np.stack(pair, axis=1) for pair in units]  # [n_documents, 2, n_sums]
    return mean_interval(paired, lambda sums: metric(sums[..., 1, :]) - metric(sums[..., 0, :]), bootstrap, streams)


def document_draws(sums: Floats, metric: Metric, bootstrap: Bootstrap, stream: int) -> Floats:
    """Compute a metric of `n_boot` resamples of the documents: [n_boot]."""
    return metric(np.tensordot(_weights(len(sums), bootstrap, stream), sums, axes=1))


@lru_cache(maxsize=64)
def _weights(n_documents: int, bootstrap: Bootstrap, stream: int) -> Floats:
    """How often each resample draws each document: [n_boot, n_documents]. Many metrics are of the same resamples."""
    rng = np.random.default_rng([bootstrap.seed, stream])
    return rng.multinomial(n_documents, np.full(n_documents, 1 / n_documents), size=bootstrap.n_boot).astype(np.float64)


def _resample_units(resampled: Floats, bootstrap: Bootstrap) -> Floats:
    """Means over resampled units, each with an own resample of its documents: [n_units, n_boot] -> [n_boot]."""
    n_units, n_boot = resampled.shape
    rng = np.random.default_rng([bootstrap.seed, n_units, n_boot])
    unit = rng.integers(n_units, size=(n_boot, n_units))
    draw = rng.integers(n_boot, size=(n_boot, n_units))
    drawn = resampled[unit, draw]
    n_defined = np.isfinite(drawn).sum(axis=1)
    return np.where(n_defined > 0, np.nansum(drawn, axis=1) / np.maximum(n_defined, 1), np.nan)


def percentiles(value: float, resampled: Floats, bootstrap: Bootstrap) -> Interval:
    """Percentiles of the resamples in which the metric is defined."""
    defined = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or not defined.size:
        return Interval(None, None, None)
    tail = (1 - bootstrap.level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(*(round(float(number), DECIMALS) + 0.0 for number in (value, low, high)))
