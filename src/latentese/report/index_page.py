"""What the first page shows: cards, findings and charts per target, and the rows of the list of units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from latentese.report.charts import Chart, Row, curve, density_histogram, forest, mirrored_histogram, slopes
from latentese.report.inputs import Target
from latentese.report.numbers import percent, units_text
from latentese.report.page import LABELS, edges, level_text, score, script_json
from latentese.report.pairs import PairTable, pair_tables
from latentese.report.statements import Statement, statements
from latentese.report.visible import visible

COLUMNS = (
    ("unit", "unit"),
    ("target", "target"),
    ("text", "explanation"),
    ("score", "score on test"),
    ("wrong", "other unit\u2019s"),
    ("density", "density"),
    ("status", "status"),
)
"""Columns of the list, in order: key and heading."""

MAX_LIST_TEXT = 300
"""Characters of an explanation in the list; its own page has all of it."""


class CardView(NamedTuple):
    """One figure of the summary."""

    name: str
    value: str
    sub: str = ""
    lead: bool = False


class FigureView(NamedTuple):
    """One chart with its heading and, below it, what to bear in mind."""

    name: str
    chart: Chart
    note: str = ""


class TargetView(NamedTuple):
    """One target's part of the first page."""

    name: str
    about: str
    cards: list[CardView]
    statements: list[Statement]
    score_charts: list[FigureView]
    charts: list[FigureView]
    pairs: list[PairTable]
    arms: list[dict[str, Any]]


def target_view(target: Target, study: pl.DataFrame, summary: Mapping[str, Any], pairs: pl.DataFrame) -> TargetView:
    """Gather everything the first page says about one target."""
    return TargetView(
        name=target.name,
        about=_about(summary),
        cards=_cards(summary),
        statements=statements(summary),
        score_charts=_score_charts(target, study, summary),
        charts=_charts(target, study, summary),
        pairs=pair_tables(pairs.filter(target=target.name)),
        arms=_arms(summary),
    )


def _about(summary: Mapping[str, Any]) -> str:
    n_studied, n_live, n_units = (summary[key] for key in ("n_studied", "n_live", "n_units"))
    return f"{units_text(n_studied)}, drawn at random from the {n_live:,} live ones of {n_units:,}."


def list_data(studies: Mapping[str, tuple[Target, pl.DataFrame]]) -> str:
    """Write the list of units as JSON for the page's script."""
    columns = ["unit", "target", "text", "score", "low", "high", "wrong", "density", "status"]
    rows = [_list_row(target, row) for target, study in studies.values() for row in study.to_dicts()]
    return script_json({"columns": columns, "labels": LABELS, "rows": rows})


def _list_row(target: Target, row: Mapping[str, Any]) -> list[Any]:
    text = target.explanations[row["final"]].text
    shown = None if text is None else visible(text)
    if shown is not None and len(shown) > MAX_LIST_TEXT:
        shown = shown[:MAX_LIST_TEXT] + "…"
    numbers = [_short(row[name]) for name in ("final_score", "final_low", "final_high", "wrong_score", "density")]
    return [row["unit"], target.name, shown, *numbers, row["status"]]


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _cards(summary: Mapping[str, Any]) -> list[CardView]:
    scores = summary["score"]
    cards = [
        CardView(
            "units explained", f"{summary['n_explained']} of {summary['n_studied']}", f"{summary['n_failed']} failed"
        ),
        _score_card("mean score, after refinement", scores["final"], f"{summary['n_improved']} revised", lead=True),
        _score_card("mean score, first explanations", scores["initial"]),
        _score_card("another unit\u2019s explanation", scores["wrong_explanation"]),
        _score_card("first explanations, random contexts only", summary["score_random_only"]["initial"]),
    ]
    if "baseline" in summary:
        name = summary["baseline"].replace("_", " ")
        cards.append(_score_card(f"{name}, read in its own form (baseline)", scores["baseline"]))
    if "mean" in scores.get("re_explanation", {}) and summary["n_refined"]:
        sub = f"{summary['n_re_explained']} by a new explanation"
        cards.append(_score_card("explained again (control)", scores["re_explanation"], sub))
    return [*cards, *_dictionary_cards(summary)]


def _dictionary_cards(summary: Mapping[str, Any]) -> list[CardView]:
    """Show what the dictionary is worth; nothing for the identity, whose units are signed."""
    dictionary = summary["dictionary"].get("reconstruction", {})
    if dictionary.get("signed"):
        return []
    names = {
        "fvu": ("variance unexplained", score),
        "l0": ("active units per token", _plain),
        "dead_share": ("dead units", percent),
    }
    return [
        CardView(name, write(dictionary[key]), key if key != "dead_share" else f"of {summary['n_units']}")
        for key, (name, write) in names.items()
        if key in dictionary
    ] + _downstream_cards(summary["dictionary"].get("downstream", {}))


def _downstream_cards(downstream: Mapping[str, Any]) -> list[CardView]:
    """Show what the reconstruction does to the subject's predictions, where that was measured and is defined."""
    cards = {
        "KL with the reconstruction in the stream, nats": downstream.get("kl", {}).get("reconstruction", {}),
        "share of the loss by zero ablation recovered": downstream.get("recovered", {}).get("zero", {}),
    }
    return [
        CardView(name, score(interval["value"]), edges(interval.get("low"), interval.get("high")))
        for name, interval in cards.items()
        if "value" in interval
    ]


def _score_card(name: str, estimate: Mapping[str, Any], of_them: str = "", lead: bool = False) -> CardView:
    """Show a mean; `of_them` says how many of its units the name is really about."""
    if "mean" not in estimate:
        return CardView(name, "—", "not defined", lead)
    parts = [edges(estimate.get("low"), estimate.get("high")), units_text(estimate["n_units"]), of_them]
    return CardView(name, score(estimate["mean"]), " · ".join(part for part in parts if part), lead)


def _plain(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def _score_charts(target: Target, study: pl.DataFrame, summary: Mapping[str, Any]) -> list[FigureView]:
    figures = []
    rows = _forest_rows(summary)
    if rows:
        figures.append(
            FigureView("Mean score on test", forest(rows, "correlation", f"{level_text(target.level)} intervals"))
        )
    right, wrong = (study[name].drop_nulls().to_list() for name in ("final_score", "wrong_score"))
    if right or wrong:
        figures.append(FigureView("Scores of all units", mirrored_histogram(right, wrong, "score on test")))
    return figures


def _charts(target: Target, study: pl.DataFrame, summary: Mapping[str, Any]) -> list[FigureView]:
    figures = []
    pairs = _pairs(study)
    if pairs:
        scored = f"{len(pairs)} of {summary['n_refined']} refined units have a score on both sides."
        note = f"{scored} A rejected revision stays level."
        figures.append(FigureView("Refined units", slopes(pairs, "Score before and after refinement"), note))
    live = target.units.filter(pl.col("draw").is_not_null())
    if live.height:
        chart = density_histogram(live["density"].to_list(), study["density"].to_list())
        figures.append(FigureView("Densities", chart, "All live units; those of the study marked below the axis."))
    log = target.train_log
    if log.height > 1:
        chart = curve(log["n_tokens"].to_list(), log["fvu"].to_list(), "training tokens")
        figures.append(
            FigureView(
                "Variance unexplained in training", chart, "On training batches; the card\u2019s figure is on test."
            )
        )
    return figures


def _forest_rows(summary: Mapping[str, Any]) -> list[Row]:
    names = {
        "final": ("after refinement", "revised"),
        "initial": ("first explanations", "right"),
        "re_explanation": ("explained again", "control"),
        "wrong_explanation": ("another unit\u2019s", "wrong"),
    }
    if not summary["n_refined"]:
        names.pop("re_explanation")
    estimates = [(name, look, summary["score"].get(key, {})) for key, (name, look) in names.items()]
    return [Row(name, e["mean"], e.get("low"), e.get("high"), look) for name, look, e in estimates if "mean" in e]


def _pairs(study: pl.DataFrame) -> list[tuple[str, float, float]]:
    both = study.filter("refined").drop_nulls(["initial_score", "final_score"])
    return [
        (f"unit {unit}", before, after)
        for unit, before, after in both.select("unit", "initial_score", "final_score").iter_rows()
    ]


def _arms(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the arms of refinement where any unit took part; what is not defined is None."""
    if not summary["n_refined"]:
        return []
    wanted = (
        "n_proposed",
        "n_accepted",
        "share_accepted",
        "prompt_tokens",
        "tokens_per_point",
        "score",
        "gain",
        "over_re_explanation",
        "over_random",
    )
    return [
        {"arm": visible(name.replace("_", " ")), **{key: figures.get(key) for key in wanted}}
        for name, figures in summary["arms"].items()
    ]
