"""Every explainer beside every judge of it, per target: what a pair scores on `test`, and what it costs.

Means, intervals and controls are those of `findings.find`; explanations and their costs are counted from
`explanations.jsonl`, what judges were asked from the manifest of the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from latentese.report.findings import FINDINGS
from latentese.report.inputs import Target
from latentese.report.tables import METRIC

_MEASURED = ("explainer", "simulator", "metric", "value", "low", "high", "wrong", "wrong_low", "wrong_high")
_COUNTED = ("n_units", "n_undefined", "n_judged", "n_failed")

PAIRS = pl.Schema(
    {
        "target": pl.String(),
        **{name: FINDINGS[name] for name in (*_MEASURED, *_COUNTED)},
        "n_explained": pl.Int64(),
        "n_unexplained": pl.Int64(),
        "explainer_tokens": pl.Float64(),
        "judge_tokens": pl.Float64(),
    }
)
"""`simulator` is who judged. `n_units` have a score that is defined, `n_undefined` one that is not; `n_judged` and
`n_failed` are answers. Prompt tokens: per unit that the explainer was asked about, and per unit that was judged (its
own explanation and the control's); null where that was not counted, 0 where no language model is asked."""


@dataclass(frozen=True)
class PairCell:
    """One explainer judged by one judge."""

    value: float | None
    low: float | None
    high: float | None
    wrong: float | None
    wrong_low: float | None
    wrong_high: float | None
    n_units: int
    n_undefined: int
    n_judged: int
    n_failed: int


@dataclass(frozen=True)
class PairRow:
    """One explainer, with a cell per judge; None where the judge was not asked about it."""

    explainer: str
    n_explained: int
    n_unexplained: int
    tokens: float | None
    cells: tuple[PairCell | None, ...]


@dataclass(frozen=True)
class PairTable:
    """One metric: rows are explainers, columns judges."""

    metric: str
    judges: tuple[str, ...]
    judge_tokens: tuple[float | None, ...]
    rows: tuple[PairRow, ...]


def pairs_of(found: pl.DataFrame, targets: Sequence[Target]) -> pl.DataFrame:
    """Take the findings by target and put what was counted beside them (schema PAIRS)."""
    by_target = found.filter(by="target").select(pl.col("group").alias("target"), *_MEASURED, *_COUNTED)
    explained = pl.DataFrame(
        [row for target in targets for row in _explained(target)],
        schema={name: PAIRS[name] for name in _EXPLAINED},
        orient="row",
    )
    judged = pl.DataFrame(
        [row for target in targets for row in _judged(target)],
        schema={name: PAIRS[name] for name in ("target", "simulator", "judge_tokens")},
        orient="row",
    )
    table = by_target.join(explained, on=["target", "explainer"], how="left", maintain_order="left")
    table = table.join(judged, on=["target", "simulator"], how="left", maintain_order="left")
    return table.select(list(PAIRS))


_EXPLAINED = ("target", "explainer", "n_explained", "n_unexplained", "explainer_tokens")


def _explained(target: Target) -> list[tuple[object, ...]]:
    """Count first explanations per explainer, and the prompt tokens of one."""
    first = [explanation for explanation in target.explanations.values() if explanation.revision == 0]
    rows: list[tuple[object, ...]] = []
    for name in sorted({explanation.explainer for explanation in first}):
        own = [explanation for explanation in first if explanation.explainer == name]
        n_unexplained = sum(explanation.text is None for explanation in own)
        tokens = sum(explanation.usage.prompt_tokens for explanation in own) / len(own)
        rows.append((target.name, name, len(own) - n_unexplained, n_unexplained, tokens))
    return rows


def _judged(target: Target) -> list[tuple[object, ...]]:
    """Read how many prompt tokens each judge took per unit, as far as the manifest of the scores says so."""
    counted = {**target.score_counts.get("simulators", {}), **target.score_counts.get("scorers", {})}
    rows: list[tuple[object, ...]] = []
    for name, counts in sorted(counted.items()):
        tokens, n_units = counts.get("prompt_tokens"), counts["n_units"]
        rows.append((target.name, name, None if tokens is None or not n_units else tokens / n_units))
    return rows


def pair_tables(pairs: pl.DataFrame) -> list[PairTable]:
    """Lay out the pairs of one target: correlation, then each metric of judges that have no correlation.

    The base rate is of the examples, whoever explains, and stands with every figure in `pairs.csv`.
    """
    correlated = set(pairs.filter(metric=METRIC)["simulator"])
    other = pairs.filter(~pl.col("simulator").is_in(list(correlated)))
    metrics = [METRIC] * bool(correlated) + sorted(set(other["metric"]) - {"base_rate"})
    return [_table(metric, (pairs if metric == METRIC else other).filter(metric=metric)) for metric in metrics]


def _table(metric: str, pairs: pl.DataFrame) -> PairTable:
    costs = dict(pairs.select("simulator", "judge_tokens").iter_rows())
    judges = sorted(costs)
    rows = []
    for (explainer,), own in sorted(pairs.partition_by("explainer", as_dict=True).items()):
        cells = {row["simulator"]: _cell(row) for row in own.to_dicts()}
        counted = own.row(0, named=True)
        n_explained, n_unexplained = counted["n_explained"], counted["n_unexplained"]
        shown = tuple(cells.get(judge) for judge in judges)
        rows.append(PairRow(explainer, n_explained, n_unexplained, counted["explainer_tokens"], shown))
    return PairTable(metric, tuple(judges), tuple(costs[judge] for judge in judges), tuple(rows))


def _cell(row: Mapping[str, Any]) -> PairCell:
    return PairCell(**{name: row[name] for name in PairCell.__dataclass_fields__})


def nested(pairs: pl.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """Nest the pairs of one target for `metrics.json`: by explainer, then judge, then metric."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in pairs.drop("target").to_dicts():
        explainer, judge, metric = (row.pop(name) for name in ("explainer", "simulator", "metric"))
        found.setdefault(explainer, {}).setdefault(judge, {})[metric] = row
    return found
