"""Scores that need a unit's scale: errors, and where a unit fires. Scale and threshold come from `calibrate` alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from latentese import schemas
from latentese.metrics.calibration import Calibration, Linear, Percentile, fit_linear, fit_percentile
from latentese.metrics.correlation import Floats
from latentese.metrics.firing import base_rate, best_threshold
from latentese.metrics.intervals import Bootstrap, document_interval
from latentese.metrics.measures import ABSOLUTE_DEVIATION, CORRELATION, R2, firing_measures
from latentese.metrics.scores import FITTED_ON, KINDS_OF, Answers, measured, score_table, scored_groups
from latentese.records import Explanation

OWNER = ["explanation", "unit", "simulator", "control"]


class Fit:
    """What the `calibrate` examples of one explanation say about one simulator's scale."""

    def __init__(self, true: Floats, simulated: Floats) -> None:
        self.n_tokens = true.size
        self.linear: Linear | None = fit_linear(true, simulated)
        self.percentile: Percentile | None = fit_percentile(true, simulated)
        self.threshold = best_threshold(true > 0, simulated)

    def row(self) -> dict[str, object]:
        """Return what can be told in numbers; the percentiles are the sorted simulations themselves."""
        slope, intercept = (self.linear.slope, self.linear.intercept) if self.linear else (None, None)
        return {"n_tokens": self.n_tokens, "slope": slope, "intercept": intercept, "threshold": self.threshold}


def fit_calibrations(simulations: pl.DataFrame) -> dict[tuple[object, ...], Fit]:
    """Fit each explanation's simulations on its `calibrate` examples, under every control as well (key OWNER)."""
    fitted_on = simulations.filter(pl.col("split") == FITTED_ON, pl.col("kind").is_in(KINDS_OF["top_and_random"]))
    return {key: Fit(*Answers.of(group).judged) for key, group in fitted_on.group_by(OWNER, maintain_order=True)}


def calibration_table(fits: dict[tuple[object, ...], Fit]) -> pl.DataFrame:
    """One row per fit (schema CALIBRATIONS)."""
    rows = [dict(zip(OWNER, key, strict=True)) | fit.row() for key, fit in fits.items()]
    return pl.DataFrame(rows, schema=schemas.CALIBRATIONS)


def calibrated_scores(
    simulations: pl.DataFrame,
    explanations: Iterable[Explanation],
    fits: dict[tuple[object, ...], Fit],
    bootstrap: Bootstrap,
) -> pl.DataFrame:
    """Errors, and precision and recall, with intervals over documents (schema SCORES).

    `r2` and `absolute_deviation` are of the simulation as it is, `.linear` and `.percentile` of the calibrated one;
    `correlation.percentile` beside them (a linear one changes no correlation but its sign). `precision`, `recall` and
    `f1` are of firing at or above the threshold with the largest F1 on `calibrate`; `base_rate` is the share of tokens
    that fire. What was not simulated on `calibrate` has the first two only. Bounds: see `metrics.scores.measured`.
    """
    rows: list[dict[str, object]] = []
    for named, group in scored_groups(simulations):
        fit = fits.get(tuple(named[column] for column in OWNER))
        rows += [named | row for row in _rows(Answers.of(group), fit, bootstrap)]
    return score_table(rows, explanations)


def _rows(answers: Answers, fit: Fit | None, bootstrap: Bootstrap) -> Iterator[dict[str, object]]:
    for measure in (R2, ABSOLUTE_DEVIATION):
        yield from measured(answers, measure, measure.name, bootstrap)
    if fit is None:
        return
    fitted: dict[str, Calibration | None] = {"linear": fit.linear, "percentile": fit.percentile}
    for name, calibration in fitted.items():
        scaled = answers.calibrated(calibration) if calibration else None
        measures = (R2, ABSOLUTE_DEVIATION) + ((CORRELATION,) if name == "percentile" else ())
        for measure in measures if scaled else ():
            yield from measured(scaled or answers, measure, f"{measure.name}.{name}", bootstrap)
    if fit.threshold is not None:
        yield from _firing_rows(answers, fit.threshold, bootstrap)


def _firing_rows(answers: Answers, threshold: float, bootstrap: Bootstrap) -> Iterator[dict[str, object]]:
    measures = firing_measures(threshold)
    for measure in measures:
        yield from measured(answers, measure, measure.name, bootstrap)
    documents, sums = answers.sums(measures[0])
    value, low, high = document_interval(sums, base_rate, bootstrap)
    n_judged = len(answers.true) - answers.n_failed
    counts: dict[str, object] = {"n_documents": len(documents), "n_judged": n_judged, "n_failed": answers.n_failed}
    yield counts | {"metric": "base_rate", "value": value, "low": low, "high": high}
