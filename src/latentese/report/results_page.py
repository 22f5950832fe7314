"""What a run found, as one page of Markdown: it reads well where the project's files are read, and can be committed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from latentese.report.inputs import ReportSettings
from latentese.report.markdown import markdown_table, plain
from latentese.report.numbers import edges_text, estimate_text, two_digits
from latentese.report.pairs import PairCell, PairTable, pair_tables
from latentese.report.statements import statements

ARM_COLUMNS = (
    "arm",
    "score on test",
    "gain over the first",
    "over explaining again",
    "over random texts",
    "accepted of proposed",
    "share accepted",
    "prompt tokens",
    "per point gained",
)


@dataclass(frozen=True)
class Results:
    """The figures of all targets."""

    summaries: Mapping[str, Mapping[str, Any]]
    pairs: pl.DataFrame
    """Schema PAIRS."""
    hookpoints: Mapping[str, str]
    levels: Mapping[str, float]
    """Of every interval."""


def results_page(results: Results, settings: ReportSettings) -> str:
    """Write the page: counts, every explainer with every judge, and refinement, per target."""
    levels = " or ".join(sorted({f"{100 * level:g} %" for level in results.levels.values()}))
    parts = [
        f"# {plain(settings.title)}",
        "Scores are from `test` documents, which no explanation, revision or threshold has seen: the correlation of "
        "a unit's true activations with those a judge expects from the explanation, over "
        f"{settings.contexts.replace('_', ' ')} contexts. Brackets are {levels} bootstrap intervals; documents are "
        "resampled, for means the units too. *Other's* is the same judge given the explanation of another unit: a "
        "score means something only as far as it exceeds that.",
    ]
    for name in results.summaries:
        parts += _target(name, results)
    return "\n\n".join([*parts, *_sources()]) + "\n"


def _target(name: str, results: Results) -> Iterator[str]:
    summary = results.summaries[name]
    where = results.hookpoints.get(name)
    yield f"## {plain(name)}" + (f" ({plain(where)})" if where else "")
    yield _counts(summary)
    yield "\n".join(f"- **{said.head}.** {said.detail}" for said in statements(summary))
    for table in pair_tables(results.pairs.filter(target=name)):
        yield f"### Every explainer with every judge: {plain(table.metric)}"
        yield _pair_table(table)
    yield from _refinement(summary)


def _counts(summary: Mapping[str, Any]) -> str:
    share = summary.get("share_unscored", 0.0)
    return (
        f"{summary['n_studied']} units, drawn at random from the {summary['n_live']:,} live ones of "
        f"{summary['n_units']:,}. Explained {summary['n_explained']}, failed {summary['n_failed']}. Without a defined "
        f"score on test: {summary['n_unscored']} ({100 * share:.0f} %); they are in no mean."
    )


def _pair_table(table: PairTable) -> str:
    heads = [_head(plain(judge), tokens) for judge, tokens in zip(table.judges, table.judge_tokens, strict=True)]
    rows = []
    for row in table.rows:
        failed = f", {row.n_unexplained} failed" if row.n_unexplained else ""
        cells = [_cell(cell) for cell in row.cells]
        tokens = "-" if row.tokens is None else f"{row.tokens:,.0f}"
        rows.append([plain(row.explainer), f"{row.n_explained}{failed}", tokens, *cells])
    return _wide_table(["explainer", "units explained", "prompt tokens per unit", *heads], rows)


def _head(judge: str, tokens: float | None) -> str:
    return judge if tokens is None else f"{judge}<br>{tokens:,.0f} prompt tokens per unit"


def _cell(cell: PairCell | None) -> str:
    if cell is None:
        return "-"
    own = "not defined" if cell.value is None else f"**{two_digits(cell.value)}** {edges_text(cell.low, cell.high)}"
    lines = [own]
    if cell.wrong is not None:
        lines.append(f"other's {two_digits(cell.wrong)} {edges_text(cell.wrong_low, cell.wrong_high)}")
    undefined = f", {cell.n_undefined} undefined" if cell.n_undefined else ""
    lines.append(f"{cell.n_units} {'unit' if cell.n_units == 1 else 'units'}{undefined}")
    if cell.n_failed:
        lines.append(f"{cell.n_failed} of {cell.n_judged + cell.n_failed} answers failed")
    return "<br>".join(lines)


def _refinement(summary: Mapping[str, Any]) -> Iterator[str]:
    """Tell every arm of refinement, whatever arms there are."""
    yield "### Refinement"
    if not summary["n_refined"]:
        yield "No unit took part."
        return
    yield (
        f"{summary['n_refined']} units scored under the threshold on `select` and took part; {summary['n_improved']} "
        "ended with a revision. Gains are paired, over the same test contexts of the same units; so are those "
        "over the controls, which show as many more examples without revising, or random texts in the place of "
        "counterexamples."
    )
    first = ["first explanations", estimate_text(summary.get("refined_initial", {})), *["-"] * (len(ARM_COLUMNS) - 2)]
    rows = [_arm(name, arm) for name, arm in summary["arms"].items()]
    yield _wide_table(list(ARM_COLUMNS), [first, *rows])
    yield "A point is 0.01 of the summed scores. Prompt tokens are those of all that an arm asked, rejections included."


def _arm(name: str, arm: Mapping[str, Any]) -> list[str]:
    share, spent, per_point = (arm.get(key) for key in ("share_accepted", "prompt_tokens", "tokens_per_point"))
    controls = (arm.get(f"over_{control}") for control in ("re_explanation", "random"))
    return [
        plain(name.replace("_", " ")),
        estimate_text(arm["score"]),
        f"{estimate_text(arm['gain'], signed=True)}, {arm['gain']['n_units']} units",
        *(estimate_text(over, signed=True) if over else "-" for over in controls),
        f"{arm['n_accepted']} of {arm['n_proposed']}",
        "-" if share is None else f"{100 * share:.0f} %",
        "-" if spent is None else f"{spent:,}",
        "-" if per_point is None else f"{per_point:,.0f}",
    ]


def _wide_table(columns: list[str], rows: list[list[str]]) -> str:
    """Write a table whose cells are escaped already, and where line breaks are wanted."""
    return markdown_table(columns, rows, is_escaped=True)


def _sources() -> Iterator[str]:
    yield "## Where the figures are from"
    yield (
        "All of them are in `metrics.json`, those of the pairs in `pairs.parquet` and `pairs.csv`, every metric "
        "included. Per target: scores of first explanations and of controls are rows of `scores/scores.parquet` with "
        "split `test`, intervals of correlations resample `scores/simulations.parquet`; refinement is "
        "`refined/decisions.parquet` (accepted or not), `refined/finals.parquet` (what an arm ends with) and "
        "`refined/simulations.parquet`; explainers' tokens are in `explanations/explanations.jsonl`, judges' and "
        "arms' in the manifests."
    )
