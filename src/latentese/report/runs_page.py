"""Several runs as a page in Markdown, a table and figures: a column per run, a row per way to group scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from latentese.report.figures import REVISED, SIM, TRUE, WRONG, write_svg
from latentese.report.markdown import markdown_table, plain
from latentese.report.numbers import edges_text, two_digits
from latentese.report.runs import RunFindings, side_by_side
from latentese.report.tables import METRIC
from latentese.report.visible import visible
from latentese.store.files import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADINGS = {"kind": "By kind of unit", "layer": "By layer", "density": "By density"}
COLORS, MARKERS = (TRUE, SIM, REVISED, "#a8326e"), "osD^v"
ABOUT = (
    "Means of first explanations over units, on `test` documents, with intervals over units and their documents; `n` "
    "units have a score, and `control` is the mean of another unit's explanation. An empty cell: the run has no such "
    "scores. Of judges that simulate, the correlation is listed, of others every metric; all are in "
    "[findings.csv](findings.csv). Figures show correlations of each run's leading explainer and simulator."
)
CAUTION = (
    "Units of two runs need not be the same ones, so that overlapping intervals say little; where they are, "
    "`python -m flows.explanations diff` compares unit by unit."
)


class Key(NamedTuple):
    """What a row of a table is about: the same in every run that has it."""

    metric: str
    explainer: str
    simulator: str
    kind: str
    group: str


def write_runs(runs: Sequence[RunFindings], command: str, folder: Path) -> None:
    """Write `README.md`, `findings.csv` and a figure per way to group scores."""
    write_text(side_by_side(runs).write_csv(), folder / "findings.csv")
    drawn = [by for by in HEADINGS if any(run.lead.filter(by=by).height for run in runs)]
    for by in drawn:
        size = (max(6.4, 0.4 + 1.05 * len(_places(runs, by))), 3.6)  # inches: names of densities need one each
        write_svg(folder / f"{by}.svg", partial(draw_runs, runs, by), size)
    for by in set(HEADINGS) - set(drawn):
        (folder / f"{by}.svg").unlink(missing_ok=True)  # of earlier runs
    write_text(runs_page(runs, command, drawn), folder / "README.md")


def runs_page(runs: Sequence[RunFindings], command: str, drawn: Sequence[str] = ()) -> str:
    """Write the page; `drawn` are the groupings that have a figure beside it."""
    parts = [
        "# Findings of several runs",
        f"Made by `{visible(command)}`.",
        _runs_table(runs),
        ABOUT,
        CAUTION,
    ]
    for by, heading in HEADINGS.items():
        parts.append(f"## {heading}")
        if by in drawn:
            parts.append(f"![Mean scores on test {heading.lower()}, of every run]({by}.svg)")
        parts.append(_findings_table(runs, by))
    return "\n\n".join(parts) + "\n"


def _runs_table(runs: Sequence[RunFindings]) -> str:
    rows = [
        [run.name, target, about, run.explainer, run.simulator, f"{run.level:.0%}"]
        for run in runs
        for target, about in run.targets.items()
    ]
    columns = ["run", "target", "units", "leading explainer", "leading simulator", "intervals"]
    return markdown_table(columns, rows)


def _findings_table(runs: Sequence[RunFindings], by: str) -> str:
    of_runs = [{_key(row): row for row in _shown(run.found).filter(by=by).to_dicts()} for run in runs]
    keys = sorted({key for of_run in of_runs for key in of_run}, key=_order)
    n_names = len(Key._fields) - (by == "kind")  # its group is the kind itself
    rows = [
        [*(plain(_one_spaced(name)) for name in key[:n_names]), *(_cell(of_run.get(key)) for of_run in of_runs)]
        for key in keys
    ]
    columns = [*Key._fields[:-1], by][:n_names]
    return markdown_table([*columns, *(plain(run.name) for run in runs)], rows, is_escaped=True)


def _shown(found: pl.DataFrame) -> pl.DataFrame:
    """Leave out other metrics of whoever simulates: their correlation is shown."""
    correlated = found.filter(metric=METRIC)["simulator"].unique().to_list()
    return found.filter((pl.col("metric") == METRIC) | ~pl.col("simulator").is_in(correlated))


def _key(row: dict[str, Any]) -> Key:
    return Key(*(row[name] for name in Key._fields))


def _order(key: Key) -> tuple[object, ...]:
    """Order rows: correlation first, groups from the lowest layer and the rarest units on."""
    rate = float(key.group.partition(" ")[0]) if "%" in key.group else 0.0
    return (key.metric != METRIC, *key[:-1], rate, key.group)


def _one_spaced(name: str) -> str:
    return " ".join(name.split())


def _cell(row: dict[str, Any] | None) -> str:
    """Write a mean: `0.41 [0.30, 0.52] (n 24, control 0.02)`."""
    if row is None:
        return ""
    if row["value"] is None:
        return f"not defined ({row['n_undefined']} units)"
    control = "" if row["wrong"] is None else f", control {two_digits(row['wrong'])}"
    return f"{two_digits(row['value'])} {edges_text(row['low'], row['high'])} (n {row['n_units']}{control})"


def _places(runs: Sequence[RunFindings], by: str) -> list[tuple[str, ...]]:
    """List the kinds and groups that some run has a leading mean of, from left to right."""
    found = {_key(row)[-2:] for run in runs for row in run.lead.filter(by=by).to_dicts()}
    return sorted(found, key=lambda place: _order(Key("", "", "", *place)))


def draw_runs(runs: Sequence[RunFindings], by: str, figure: Figure) -> None:
    """Draw the leading means with intervals: a place per kind and group, a colour per run, the control hollow."""
    axes = figure.subplots()
    places = _places(runs, by)
    step = min(0.15, 0.7 / len(runs))
    for i, run in enumerate(runs):
        rows = run.lead.filter(by=by).to_dicts()
        x = [places.index(_key(row)[-2:]) + (i - (len(runs) - 1) / 2) * step for row in rows]
        look = {"color": COLORS[i % len(COLORS)], "fmt": MARKERS[i % len(MARKERS)]}
        label = visible(f"{run.name}: {run.explainer}, {run.simulator}").replace("$", r"\$")
        _draw_means(axes, x, rows, ("value", "low", "high"), look | {"label": label})
        _draw_means(axes, x, rows, ("wrong", "wrong_low", "wrong_high"), look | {"mfc": "white", "alpha": 0.7})
    ticks = [_one_spaced(kind) if by == "kind" else f"{kind}\n{_one_spaced(group)}" for kind, group in places]
    axes.set_xticks(range(len(places)), ticks)
    axes.axhline(0, color=WRONG, lw=0.8, zorder=0)
    axes.set(ylabel="mean score on test", title="filled: own explanation; hollow: another unit\u2019s")
    axes.legend(frameon=False, fontsize=8)


def _draw_means(
    axes: Axes, x: Sequence[float], rows: Sequence[Mapping[str, Any]], names: tuple[str, str, str], look: dict[str, Any]
) -> None:
    """Draw means with their intervals; a mean without an interval has no bar, what is missing is left out."""
    mean, low, high = (np.array([row[name] for row in rows], dtype=float) for name in names)
    reach = [np.nan_to_num(np.maximum(side, 0)) for side in (mean - low, high - mean)]
    axes.errorbar(np.array(x), mean, reach, ms=4, elinewidth=0.8, **look)
