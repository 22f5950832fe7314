"""Firings on disk: written shard by shard during the pass, joined to the chosen contexts after it.

Which contexts are kept is known only at the end, and the activations of all firings would not fit in memory for long.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from latentese.examples.stream import Batch, BatchFirings
from latentese.schemas import ACTS, CONTEXT, POOL, POSITIONS, UNIT

FIRINGS = pl.Schema({"unit": UNIT, "context": CONTEXT, "position": pl.Int16(), "act": pl.Float32()})
PAIR = ["unit", "context"]


def firings_table(batch: Batch, firings: BatchFirings) -> pl.DataFrame:
    """One row per firing of a batch; schema `FIRINGS`."""
    context_of_row = batch.contexts.repeat(batch.lengths)
    row = firings.row.numpy()
    columns = {
        "unit": firings.unit.numpy(),
        "context": context_of_row[row],
        "position": batch.position[row],
        "act": firings.act.numpy(),
    }
    return pl.DataFrame(columns).cast(FIRINGS)


def write_firings(tables: list[pl.DataFrame], path: Path) -> Path:
    """Write one shard's firings; a scratch file, so quick to write rather than small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.concat([pl.DataFrame(schema=FIRINGS), *tables]).write_parquet(path, compression="lz4", statistics=False)
    return path


def join_acts(pairs: pl.DataFrame, files: Iterable[Path]) -> pl.DataFrame:
    """Add positions and acts to rows with unit and context; empty lists where the unit is silent.

    One file is in memory at a time: a context lies in one shard, so a pair is found whole in one file.
    """
    wanted = pairs.select(PAIR).unique()
    found = [_sparse(pl.read_parquet(file).join(wanted, on=PAIR, how="semi")) for file in files]
    acts = pl.concat([pl.DataFrame(schema=POOL), *found])
    return pairs.join(acts, on=PAIR, how="left", maintain_order="left").with_columns(
        pl.col("positions").fill_null(pl.lit([], dtype=POSITIONS)), pl.col("acts").fill_null(pl.lit([], dtype=ACTS))
    )


def firings_in(contexts: pl.Series, files: Iterable[Path]) -> pl.DataFrame:
    """Every unit's firings in these contexts; schema `schemas.POOL`, ordered by unit and context."""
    wanted = contexts.to_frame("context")
    found = [_sparse(pl.read_parquet(file).join(wanted, on="context", how="semi")) for file in files]
    return pl.concat([pl.DataFrame(schema=POOL), *found]).sort(PAIR)


def _sparse(firings: pl.DataFrame) -> pl.DataFrame:
    """One row per unit and context, firings in order of position; schema `schemas.POOL`."""
    ordered = firings.sort("unit", "context", "position")
    return ordered.group_by(PAIR, maintain_order=True).agg(positions="position", acts="act").select(POOL.names())
