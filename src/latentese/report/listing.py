"""Explanations with their scores, for the terminal: of a target's folder or of imported ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from latentese import schemas
from latentese.errors import SettingError
from latentese.report.findings import CONTEXTS
from latentese.report.numbers import edges_text, two_digits
from latentese.report.visible import visible
from latentese.store.artifact import open_artifact
from latentese.store.tables import read_explanations, read_table

if TYPE_CHECKING:
    from rich.table import Table


METRICS = ("correlation", "auroc")
"""What is listed where none is named: of simulators, and of yes-or-no questions."""


@dataclass(frozen=True)
class ListSettings:
    """Which scores stand beside the explanations."""

    simulator: str | None = None
    """None: the first in the alphabet, of those that have a correlation if there are any."""
    metric: str | None = None
    """None: the first of `METRICS` that the simulator has, else its first in the alphabet."""
    n_lines: int = 40
    contexts: str = "top_and_random"

    def __post_init__(self) -> None:
        if self.n_lines < 1:
            raise SettingError("--lines", self.n_lines, "at least 1")


def listed(folder: Path, settings: ListSettings) -> pl.DataFrame:
    """List the explanations in `<folder>/explanations` with their scores on `test`, best first, unscored ones last.

    Columns: unit, explainer, value, low, high, text.
    """
    written = read_explanations(open_artifact(folder / "explanations", "explanations").file("explanations.jsonl"))
    scores = read_table(open_artifact(folder / "scores", "scores").file("scores.parquet"), schemas.SCORES)
    correlated = sorted(scores.filter(metric=METRICS[0])["simulator"].unique())
    simulator = _chosen("--simulator", settings.simulator, scores["simulator"], correlated)
    of_simulator = scores.filter(pl.col("simulator").eq_missing(pl.lit(simulator)))
    metric = _chosen("--metric", settings.metric, of_simulator["metric"], METRICS)
    own = of_simulator.filter(
        pl.col("contexts").is_in(CONTEXTS[settings.contexts]),
        pl.col("metric").eq_missing(pl.lit(metric)),
        control="none",
        split="test",
    ).select("explanation", "value", "low", "high")
    rows = [(e.explanation, e.unit, e.explainer, e.text) for e in written]
    names = {"explanation": pl.String(), "unit": schemas.UNIT, "explainer": pl.String(), "text": pl.String()}
    table = pl.DataFrame(rows, schema=names, orient="row").join(own, "explanation", "left", maintain_order="left")
    columns = ["unit", "explainer", "value", "low", "high", "text"]
    return table.sort("value", descending=True, nulls_last=True, maintain_order=True).select(columns)


def _chosen(setting: str, name: str | None, column: pl.Series, preferred: Sequence[str]) -> str | None:
    """Check a name against those of a column, or take the first that is preferred, or the first of all."""
    known = sorted(column.unique())
    if name is not None and known and name not in known:
        raise SettingError(setting, name, f"one of {', '.join(known)}")
    return name if name is not None else next((one for one in (*preferred, *known) if one in known), None)


def list_explanations(folder: Path, settings: ListSettings) -> Table:
    """Make what to print; every text is made visible, none is read as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    found = listed(folder, settings)
    shown = found.head(settings.n_lines)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=f"{shown.height} of {found.height}, best first")
    for name in ("unit", "score on test", "explainer", "explanation"):
        table.add_column(name)
    for unit, explainer, value, low, high, text in shown.iter_rows():
        score = "not defined" if value is None else f"{two_digits(value)} {edges_text(low, high)}"
        words = Text("failed", style="dim") if text is None else Text(visible(text))
        table.add_row(str(unit), score, Text(visible(explainer)), words)
    return table
