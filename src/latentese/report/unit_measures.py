"""What else was measured of a unit's explanations beside the correlation, whatever metrics there are."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from latentese.report.findings import CONTEXTS
from latentese.report.tables import METRIC


@dataclass(frozen=True)
class Measure:
    """One metric of one explanation by one judge; None where it is not defined."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    wrong: float | None
    """Of another unit's explanation."""


@dataclass(frozen=True)
class Measures:
    """All metrics of one explanation by one judge, by the alphabet."""

    explainer: str
    revision: int
    judge: str
    n_failed: int
    values: tuple[Measure, ...]


def measures_of(scores: pl.DataFrame, contexts: str) -> list[Measures]:
    """Gather the rows of `tables.scores_of_unit` that are no correlation, over these contexts.

    Yes-or-no questions are about examples of all kinds: their rows stand beside those of `top_and_random`.
    """
    other = scores.filter(pl.col("metric") != METRIC, pl.col("contexts").is_in(CONTEXTS[contexts]))
    found = []
    key = ["explainer", "revision", "simulator"]
    for (explainer, revision, judge), rows in other.group_by(key, maintain_order=True):
        values = rows.sort("metric").select("metric", "value", "low", "high", "wrong").iter_rows()
        n_failed = int(rows["n_failed"].max())  # type: ignore[arg-type]
        measures = tuple(Measure(*one) for one in values)
        found.append(Measures(str(explainer), int(str(revision)), str(judge), n_failed, measures))
    return found
