"""Findings as files and figures, and as the part of the first page that is about all targets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from latentese.report.charts import Row, forest
from latentese.report.figures import REVISED, SIM, TRUE, WRONG, write_svg
from latentese.report.findings import FINDINGS, FindingsSettings, find
from latentese.report.index_page import FigureView
from latentese.report.inputs import ReportSettings, Target
from latentese.report.tables import METRIC
from latentese.report.visible import visible
from latentese.store.files import write_text
from latentese.store.tables import write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = (TRUE, SIM, REVISED, "#a8326e")
HEADINGS = {"kind": "By kind of unit, explainer and judge", "layer": "By layer", "density": "By density"}


class FindingsTable(NamedTuple):
    """All rows of one way to group scores."""

    name: str
    by: str
    rows: list[dict[str, Any]]


class FindingsView(NamedTuple):
    """What the first page says about all targets."""

    charts: list[FigureView]
    tables: list[FindingsTable]


def all_findings(targets: Sequence[Target], settings: ReportSettings) -> pl.DataFrame:
    """Average the scores of all targets, in every way to group them."""
    return find(targets, FindingsSettings(settings.contexts, settings.n_boot, targets[0].level, settings.seed))


def write_findings(found: pl.DataFrame, settings: ReportSettings, folder: Path) -> None:
    """Write `findings.parquet`, `findings.csv` and a figure per way to group scores of several targets."""
    write_table(found, FINDINGS, folder / "findings.parquet")
    write_text(found.write_csv(), folder / "findings.csv")
    for by in HEADINGS:
        lead = lead_rows(found, by, settings)
        if lead.height > 1:
            path = folder / "figures" / f"findings_{by}.svg"
            write_svg(path, partial(_draw, lead))


def lead_rows(found: pl.DataFrame, by: str, settings: ReportSettings) -> pl.DataFrame:
    """Select the rows of the leading explainer, simulator and metric that have a mean."""
    lead = {"explainer": settings.primary_explainer, "simulator": settings.primary_simulator, "metric": METRIC}
    return found.filter(by=by, **lead).drop_nulls("value")


def _draw(rows: pl.DataFrame, figure: Figure) -> None:
    """Draw means with intervals per group, one colour per kind, the control hollow."""
    axes = figure.subplots()
    groups = list(dict.fromkeys(rows["group"]))
    kinds = list(dict.fromkeys(rows["kind"]))
    for i, kind in enumerate(kinds):
        own = rows.filter(kind=kind).to_dicts()
        x = np.array([groups.index(row["group"]) + (i - (len(kinds) - 1) / 2) * 0.12 for row in own])
        for name, look in (("value", {"label": kind}), ("wrong", {"mfc": "white", "alpha": 0.7})):
            ends = ("low", "high") if name == "value" else ("wrong_low", "wrong_high")
            y, low, high = (np.array([row[key] for row in own], dtype=float) for key in (name, *ends))
            reach = [np.nan_to_num(np.maximum(side, 0)) for side in (y - low, high - y)]
            axes.errorbar(x, y, reach, fmt="o", ms=4, elinewidth=0.8, color=COLORS[i % len(COLORS)], **look)
    axes.set_xticks(range(len(groups)), groups)
    axes.axhline(0, color=WRONG, lw=0.8, zorder=0)
    axes.set(ylabel="mean score on test", title="filled: own explanation; hollow: another unit\u2019s")
    axes.legend(frameon=False, fontsize=8)


def findings_view(found: pl.DataFrame, settings: ReportSettings) -> FindingsView:
    """Gather the charts of the leading scores and all rows."""
    charts = [
        _chart(lead_rows(found, by, settings), by) for by in HEADINGS if lead_rows(found, by, settings).height > 1
    ]
    tables = [
        FindingsTable(HEADINGS[by], by, [_shown(row) for row in found.filter(by=by).to_dicts()]) for by in HEADINGS
    ]
    return FindingsView(charts, [table for table in tables if table.rows])


def _chart(rows: pl.DataFrame, by: str) -> FigureView:
    lines = []
    for row in rows.to_dicts():
        name = row["kind"] if by == "kind" else f"{row['kind']}, {row['group'].replace('  ', ' ')}"
        lines.append(Row(name, row["value"], row["low"], row["high"], "right"))
        if row["wrong"] is not None:
            lines.append(Row("\u2003another unit\u2019s", row["wrong"], row["wrong_low"], row["wrong_high"], "wrong"))
    return FigureView(HEADINGS[by].replace(", explainer and judge", ""), forest(lines, "correlation", "intervals"))


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    texts = {name: visible(str(row[name])) for name in ("group", "kind", "explainer", "simulator", "metric")}
    return row | texts
