"""Reader of the examples artifact: units, the study's draw among them, and each unit's examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import polars as pl

from latentese.errors import SettingError
from latentese.records import Context, Example, Split, Unit
from latentese.schemas import EXAMPLES, UNITS
from latentese.store.artifact import Artifact, open_artifact
from latentese.store.tables import read_table


class Examples:
    """A published examples artifact."""

    def __init__(self, path: Path) -> None:
        self.artifact: Artifact = open_artifact(path, "examples")

    @cached_property
    def units(self) -> pl.DataFrame:
        """One row per unit (`schemas.UNITS`)."""
        return read_table(self.artifact.file("units.parquet"), UNITS)

    @cached_property
    def table(self) -> pl.DataFrame:
        """One row per unit and example (`schemas.EXAMPLES`)."""
        return read_table(self.artifact.file("examples.parquet"), EXAMPLES)

    def study(self, n_units: int) -> list[Unit]:
        """Return the study's units, the first `n_units` of the seeded draw among live ones, in the order of the draw.

        Raises SettingError when fewer are live.
        """
        drawn = self.units.drop_nulls("draw").sort("draw").head(n_units)
        if n_units < 1 or len(drawn) < n_units:
            raise SettingError("n_units", n_units, f"1..{len(drawn)}: so many units are live")
        fields = ("unit", "density", "max_act", "mean_act", "threshold")
        return [Unit(**row) for row in drawn.select(fields).iter_rows(named=True)]

    def of(self, unit: int, split: Split) -> pl.DataFrame:
        """Return one unit's examples of one split, strongest first."""
        rows = self.table.filter((pl.col("unit") == unit) & (pl.col("split") == split))
        return rows.sort(["max_act", "context"], descending=[True, False])


def join_contexts(rows: pl.DataFrame, contexts: Iterable[Context]) -> list[Example]:
    """Make records of examples rows and their contexts, given in the same order."""
    return [
        Example(row["unit"], context, row["kind"], _dense(row["positions"], row["acts"], len(context.tokens)))
        for row, context in zip(rows.iter_rows(named=True), contexts, strict=True)
    ]


def _dense(positions: Sequence[int], acts: Sequence[float], n_tokens: int) -> tuple[float, ...]:
    dense = [0.0] * n_tokens
    for position, act in zip(positions, acts, strict=True):
        dense[position] = act
    return tuple(dense)
