"""Scores, explanations and refinements put into one row per unit. Pure functions of tables."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from latentese.records import Explanation
from latentese.report.inputs import ReportSettings, Target

STATUSES = {
    "refined": "a revision was accepted on select",
    "rejected": "scored low on select; no revision was accepted there",
    "first": "the first explanation scored well enough on select",
    "apart": "explained, and not among the explanations that refinement was given",
    "unscored": "explained, but the score is not defined",
    "failed": "the explainer gave no usable answer",
}

METRIC = "correlation"
BOUNDS = (".worst", ".best")
"""Ends of metrics that bound another one."""

ARMS = {"initial": "initial", "revision": "final", "re_explanation": "control"}
"""Refinement arm and the prefix of its columns in the study table."""


def study_units(target: Target, settings: ReportSettings) -> pl.DataFrame:
    """Make one row per unit of the study, failed ones included, in order of unit.

    Columns: unit and its statistics; `initial`, `final`, `control` (explanation ids of the arms) and for each
    `<arm>_score`, `_low`, `_high`; `wrong_score`, `_low`, `_high` (another unit's explanation); `refined` (took part),
    `status` (a key of `STATUSES`). A score that does not exist is null.
    """
    scores = primary_scores(target.scores, settings)
    table = _explained(target.explanations.values(), settings.primary_explainer)
    # Of another explainer's explanations than those that were refined, the first ones are all there are.
    ends = _final_ids(target.finals).filter(pl.col("initial").is_in(table["first"].to_list()))
    table = table.join(ends, on="unit", how="left", maintain_order="left")
    table = table.with_columns(pl.coalesce(pl.col(arm), pl.col("first")).alias(arm) for arm in ARMS.values())
    for arm in ARMS.values():
        table = _join_score(table, scores.filter(pl.col("control") == "none"), arm)
    wrong = scores.filter(pl.col("control") == "wrong_explanation", pl.col("explainer") == settings.primary_explainer)
    table = _join_wrong(table, wrong)
    table = table.with_columns(apart=pl.col("refined").is_null(), refined=pl.col("refined").fill_null(value=False))
    table = table.with_columns(status=_status()).drop("apart")
    statistics = target.units.select("unit", "n_fires", "density", "max_act", "mean_act", "threshold", "n_documents")
    return statistics.join(table, on="unit", how="inner", maintain_order="right").sort("unit")


def _explained(explanations: Iterable[Explanation], explainer: str) -> pl.DataFrame:
    rows = [
        (explanation.unit, explanation.explanation, explanation.text is None)
        for explanation in explanations
        if explanation.explainer == explainer and explanation.revision == 0
    ]
    return pl.DataFrame(rows, schema={"unit": pl.Int32, "first": pl.String, "failed": pl.Boolean}, orient="row")


def _final_ids(finals: pl.DataFrame) -> pl.DataFrame:
    """Find the explanation that each arm ends with, one column per arm, and whether the unit took part."""
    arms = [pl.col("explanation").filter(pl.col("arm") == arm).first().alias(name) for arm, name in ARMS.items()]
    return finals.group_by("unit", maintain_order=True).agg(*arms, refined=pl.col("refined").any())


def primary_scores(scores: pl.DataFrame, settings: ReportSettings) -> pl.DataFrame:
    """Select scores of the leading simulator, metric and choice of contexts."""
    return scores.filter(
        pl.col("simulator") == settings.primary_simulator,
        pl.col("metric") == METRIC,
        pl.col("contexts") == settings.contexts,
    )


def _join_score(table: pl.DataFrame, scores: pl.DataFrame, arm: str) -> pl.DataFrame:
    columns = {"value": f"{arm}_score", "low": f"{arm}_low", "high": f"{arm}_high"}
    extra = ["n_judged", "n_failed", "n_documents"] if arm == "final" else []
    right = scores.select("unit", pl.col("explanation").alias(arm), *columns, *extra)
    right = right.rename({**columns, **{name: f"score_{name}" for name in extra}})
    return table.join(right, on=["unit", arm], how="left", maintain_order="left")


def _join_wrong(table: pl.DataFrame, controls: pl.DataFrame) -> pl.DataFrame:
    """Add how another unit's first explanation scores on each unit."""
    columns = {"value": "wrong_score", "low": "wrong_low", "high": "wrong_high"}
    right = controls.unique("unit", keep="first", maintain_order=True).select("unit", *columns).rename(columns)
    return table.join(right, on="unit", how="left", maintain_order="left")


def _status() -> pl.Expr:
    changed = pl.col("final") != pl.col("initial")
    return (
        pl.when(changed)
        .then(pl.lit("refined"))
        .when("failed")
        .then(pl.lit("failed"))
        .when(pl.col("final_score").is_null())
        .then(pl.lit("unscored"))
        .when("refined")
        .then(pl.lit("rejected"))
        .when("apart")
        .then(pl.lit("apart"))
        .otherwise(pl.lit("first"))
    )


def scores_of_unit(target: Target, unit: int) -> pl.DataFrame:
    """List every score of one unit on `test`, whatever the metric, the control beside it; bounds are left out.

    Columns: explainer, revision, simulator, contexts, metric, value, low, high, wrong, n_judged, n_failed.
    """
    key = ["explainer", "revision", "simulator", "contexts", "metric"]
    bounds = pl.any_horizontal(pl.col("metric").str.ends_with(end) for end in BOUNDS)
    scores = target.scores.filter(pl.col("unit") == unit, ~bounds)
    wrong = scores.filter(pl.col("control") == "wrong_explanation").unique(key, keep="first", maintain_order=True)
    right = scores.filter(pl.col("control") == "none")
    columns = [*key, "value", "low", "high", "wrong", "n_judged", "n_failed"]
    joined = right.join(wrong.select(*key, wrong="value"), on=key, how="left", maintain_order="left")
    return joined.select(columns)


def baseline_explainer(target: Target, settings: ReportSettings) -> str | None:
    """Find the explainer that is read back in its own form, by the simulator of its name; None where there is none.

    One with a table comes before others.
    """
    pairs = target.scores.select("explainer", "simulator").unique().filter(pl.col("explainer") == pl.col("simulator"))
    others = pairs.filter(pl.col("explainer") != settings.primary_explainer)["explainer"]
    tables = {e.explainer for e in target.explanations.values() if e.revision == 0 and e.table and not e.patterns}
    return min(others.to_list(), key=lambda name: (name not in tables, name), default=None)
