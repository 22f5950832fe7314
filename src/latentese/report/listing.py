"""Explanations with their scores, for the terminal: of a target's folder or of imported ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from latentese import schemas
from latentese.errors import SettingError
from latentese.report.numbers import edges_text, two_digits
from latentese.report.visible import visible
from latentese.store.artifact import open_artifact
from latentese.store.tables import read_explanations, read_table

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class ListSettings:
    """Which scores stand beside the explanations."""

    simulator: str | None = None
    """None: the first in the alphabet."""
    metric: str = "correlation"
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
    simulator = _chosen("--simulator", settings.simulator, scores["simulator"])
    metric = _chosen("--metric", settings.metric, scores.filter(simulator=simulator)["metric"])
    own = scores.filter(
        simulator=simulator, metric=metric, control="none", split="test", contexts=settings.contexts
    ).select("explanation", "value", "low", "high")
    rows = [(e.explanation, e.unit, e.explainer, e.text) for e in written]
    names = {"explanation": pl.String(), "unit": schemas.UNIT, "explainer": pl.String(), "text": pl.String()}
    table = pl.DataFrame(rows, schema=names, orient="row").join(own, "explanation", "left", maintain_order="left")
    columns = ["unit", "explainer", "value", "low", "high", "text"]
    return table.sort("value", descending=True, nulls_last=True, maintain_order=True).select(columns)


def _chosen(setting: str, name: str | None, column: pl.Series) -> str | None:
    known = sorted(column.unique())
    if name is not None and known and name not in known:
        raise SettingError(setting, name, f"one of {', '.join(known)}")
    return name if name is not None else next(iter(known), None)


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
