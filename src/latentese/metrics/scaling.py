"""Fit scaling laws, and say how well they predict what they were not fitted to.

Fitted by least squares in the logarithm of the loss, so that a large loss counts no more than a small one. Intervals
resample runs. What lies beyond the fitted points is marked, never hidden.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from latentese.errors import LatenteseError
from latentese.metrics.correlation import Floats
from latentese.metrics.intervals import Bootstrap, Interval
from latentese.metrics.laws import Law
from latentese.metrics.least_squares import LogSum, fit_log_sums, told_apart
from latentese.metrics.student import t_over_normal

LOSS, RUN = "loss", "run"
"""Columns of the points beside a law's inputs: what is predicted, and which run a point is from."""

SHARES = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9)
"""Of the loss that the second term explains where the search starts."""

PREDICTIONS = pl.Schema(
    {"predicted": pl.Float64, "low": pl.Float64, "high": pl.Float64, "extrapolated": pl.Boolean}
)  # fmt: skip


class Range(NamedTuple):
    """Smallest and largest value of an input among the fitted points."""

    low: float
    high: float


@dataclass(frozen=True)
class Fit:
    """A law, fitted."""

    law: Law
    points: pl.DataFrame
    """The fitted points: the law's inputs, `loss`, `run`, and `predicted` and `residual`, ln(loss / predicted)."""
    parameters: Mapping[str, Interval]
    """Each with its interval, None where there are no more runs than parameters."""
    ranges: Mapping[str, Range]
    """Of each input: a prediction outside is an extrapolation."""
    r2: float | None
    """Share of the variance of ln loss that is explained; None if all losses are equal."""
    resampled: Floats
    """[n_boot, n_parameters], widened for few runs; empty where there are no intervals."""
    level: float
    seed: int

    @property
    def estimate(self) -> Floats:
        """The parameters, [n_parameters]."""
        return np.array([interval.value for interval in self.parameters.values()], dtype=np.float64)


def fit_law(law: Law, points: pl.DataFrame, bootstrap: Bootstrap) -> Fit:
    """Fit a law to points with the columns of its inputs, `loss` and `run`.

    Points of one run, such as those along its training, are resampled together. Raises LatenteseError for fewer
    distinct points than parameters, for inputs that do not vary enough, and for values that have no logarithm.
    """
    points = points.select(*law.inputs, LOSS, pl.col(RUN).cast(pl.String))
    check_inputs(law, points)
    _check_logarithms(law, points, [LOSS])
    terms, log_loss = law.log_sum(points), np.log(points[LOSS].to_numpy())
    even = np.ones((1, points.height))
    starts = np.stack([_start(terms, part, points[LOSS].to_numpy()) for part in _parts(law, points)])
    found, costs = fit_log_sums(terms, log_loss, np.repeat(even, len(starts), axis=0), starts)
    estimate = found[np.argmin(costs)]
    weights = _run_weights(points, bootstrap)
    n_runs, n_parameters = points[RUN].n_unique(), len(law.parameters)
    resampled = np.empty((0, n_parameters))
    if n_runs > n_parameters:
        moved, _ = fit_log_sums(terms, log_loss, weights, np.repeat(estimate[None], len(weights), axis=0))
        resampled = estimate + _widening(n_runs, n_parameters, bootstrap.level) * (moved - estimate)
    predicted = np.exp(_log_loss(terms, estimate[None])[0])
    fitted = points.with_columns(predicted=pl.Series(predicted), residual=pl.Series(log_loss - np.log(predicted)))
    intervals = {
        name: Interval(float(value), *_edges(resampled[:, i], bootstrap.level))
        for i, (name, value) in enumerate(zip(law.parameters, estimate, strict=True))
    }
    ranges = {name: Range(*_ends(points[name])) for name in law.inputs}
    r2 = explained(log_loss, fitted["residual"].to_numpy())
    return Fit(law, fitted, intervals, ranges, r2, resampled, bootstrap.level, bootstrap.seed)


def predict(fit: Fit, points: pl.DataFrame) -> pl.DataFrame:
    """Predict the loss at points with the columns of the law's inputs; schema `PREDICTIONS`, one row each.

    The interval is that of one new run: what the law does not know, and how far runs lie from the law. `extrapolated`
    says that in some direction no run was fitted: beyond the range of an input, or in a corner that was left out.
    """
    terms = fit.law.log_sum(points)
    predicted = np.exp(_log_loss(terms, fit.estimate[None])[0])
    n_runs, n_parameters = fit.points[RUN].n_unique(), len(fit.law.parameters)
    low = high = np.full(points.height, np.nan)
    if len(fit.resampled):
        logs = _log_loss(terms, fit.resampled)
        # One draw for all points, so that a prediction does not depend on what else is asked.
        drawn = np.random.default_rng([fit.seed, 1]).choice(fit.points["residual"].to_numpy(), (len(logs), 1))
        tail = (1 - fit.level) / 2
        spread = logs + _widening(n_runs, n_parameters, fit.level) * drawn
        low, high = np.exp(np.quantile(spread, [tail, 1 - tail], axis=0))
    columns = {"predicted": predicted, "low": low, "high": high, "extrapolated": ~_is_surrounded(fit, points)}
    return pl.DataFrame(columns).with_columns(pl.col("low", "high").fill_nan(None)).cast(PREDICTIONS)


def _is_surrounded(fit: Fit, points: pl.DataFrame) -> np.ndarray:
    """Tell of points [n] whether a fitted one lies in each quadrant around them, one that touches it included."""
    fitted, asked = (table.select(fit.law.inputs).to_numpy() for table in (fit.points, points))
    away = fitted[None] - asked[:, None]
    signs = itertools.product((-1, 1), repeat=len(fit.law.inputs))
    found: np.ndarray = np.all([(away * sign >= 0).all(axis=2).any(axis=1) for sign in signs], axis=0)
    return found


class HeldOut(NamedTuple):
    """How well a fit predicts points that it was not fitted to."""

    points: pl.DataFrame
    """The points with `PREDICTIONS` and `relative_error`, predicted / loss - 1."""
    r2: float | None
    """Share of the variance of ln loss around its mean that is predicted; negative when the mean predicts better. None
    for fewer than two distinct losses, and for repetitions of one point, whose mean is all there is to predict."""
    relative_error: float | None
    """Mean of the absolute relative errors; None without points."""


def check_held_out(fit: Fit, held_out: pl.DataFrame) -> HeldOut:
    """Compare predictions with points that were held out; columns as in `fit_law`."""
    points = held_out.select(*fit.law.inputs, LOSS, pl.col(RUN).cast(pl.String))
    seen = set(points[RUN]) & set(fit.points[RUN])
    if seen:
        raise LatenteseError(f"{fit.law.name}: run {min(seen)} was fitted, so it cannot be held out")
    points = points.hstack(predict(fit, points))
    points = points.with_columns(relative_error=pl.col("predicted") / pl.col(LOSS) - 1)
    residual = (points[LOSS].log() - points["predicted"].log()).to_numpy()
    is_repeated = points.select(fit.law.inputs).n_unique() < 2
    r2 = None if is_repeated else explained(points[LOSS].log().to_numpy(), residual)
    error = points["relative_error"].abs().mean()
    return HeldOut(points, r2, None if error is None else float(error))  # type: ignore[arg-type]


def frontier(compute: Sequence[float], loss: Sequence[float]) -> list[bool]:
    """Mark the points that no point of at most their compute beats: what L(C) is about.

    Of two points with equal compute, the one with the lower loss.
    """
    best, marked = np.inf, [False] * len(compute)
    for i in sorted(range(len(compute)), key=lambda i: (compute[i], loss[i])):
        if loss[i] < best:
            best, marked[i] = loss[i], True
    return marked


def explained(values: Floats, residuals: Floats) -> float | None:
    """1 - sum of squared residuals / sum of squares of values around their mean; None where that is 0."""
    total = float(np.square(values - values.mean()).sum()) if len(values) else 0.0
    return 1 - float(np.square(residuals).sum()) / total if total > 0 else None


def check_inputs(law: Law, points: pl.DataFrame) -> None:
    """Refuse points, with the columns of the law's inputs, that cannot tell its parameters; no loss is needed yet."""
    _check_logarithms(law, points, law.inputs)
    n_distinct, n_parameters = points.select(law.inputs).n_unique(), len(law.parameters)
    more = f"sweep more values of {', '.join(law.inputs)}"
    if n_distinct < n_parameters:
        raise LatenteseError(
            f"{law.name} has {n_parameters} parameters and cannot be fitted to {n_distinct} distinct points: {more}"
        )
    if not told_apart(law.log_sum(points)):
        raise LatenteseError(f"{law.name}: these points do not tell its parameters apart: {more}")


def _check_logarithms(law: Law, points: pl.DataFrame, columns: Sequence[str]) -> None:
    for name in columns:
        values = points[name].cast(pl.Float64).to_numpy()
        if not (np.isfinite(values) & (values > 0)).all():
            raise LatenteseError(f"{law.name}: every {name} must be a number above 0")


def _parts(law: Law, points: pl.DataFrame) -> list[Floats]:
    """Shares of the loss that the second term may explain: level, or proportional to the loss. None for one term."""
    loss = points[LOSS].to_numpy()
    if len(law.terms) == 1:
        return [np.zeros_like(loss)]
    level = np.full_like(loss, loss.min())
    return [share * shape for share in SHARES for shape in (level, loss)]


def _start(terms: LogSum, part: Floats, loss: Floats) -> Floats:
    """Parameters with which the second term is about `part` and the first the rest."""
    shares = [loss - part, part][: len(terms)]
    solved = [np.linalg.lstsq(term, np.log(share))[0] for term, share in zip(terms, shares, strict=True)]
    return np.concatenate(solved)


def _log_loss(terms: LogSum, parameters: Floats) -> Floats:
    """Logarithm of the loss for some sets of parameters [n_sets, n_parameters]: [n_sets, n_points]."""
    ends = np.cumsum([term.shape[1] for term in terms])[:-1]
    parts = [part @ term.T for term, part in zip(terms, np.split(parameters, ends, axis=1), strict=True)]
    return np.logaddexp.reduce(parts, axis=0)  # type: ignore[no-any-return]


def _run_weights(points: pl.DataFrame, bootstrap: Bootstrap) -> Floats:
    """Weights of the points in each resample, [n_boot, n_points], alike for points of one run.

    Smooth weights (Rubin 1981, the Bayesian bootstrap) instead of whole draws: every run stays in, so no resample has
    fewer distinct points than parameters.
    """
    runs = points[RUN].to_numpy()
    names, number = np.unique(runs, return_inverse=True)
    weights = np.random.default_rng([bootstrap.seed, 0]).standard_exponential((bootstrap.n_boot, len(names)))
    return weights[:, number]


def _widening(n_runs: int, n_parameters: int, level: float) -> float:
    """Factor by which resamples of few runs lie too close: residuals are smaller than errors, and tails are long."""
    left = n_runs - n_parameters
    return float(np.sqrt(n_runs / left)) * t_over_normal(left, level)


def _edges(values: Floats, level: float) -> tuple[float | None, float | None]:
    if not len(values):
        return None, None
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _ends(values: pl.Series) -> tuple[float, float]:
    numbers = values.cast(pl.Float64)
    return float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]
