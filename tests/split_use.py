"""Which documents each split's work has used, read from what the stages wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from latentese import schemas
from latentese.store.tables import read_explanations, read_table

EVIDENCE = ("false_positives", "false_negatives", "extra_examples", "random_examples")
GENERATED = 0
"""Contexts with a number below this were typed or generated, and are in no document of the study."""


def documents_used(artifacts: Path, target: str) -> dict[str, set[int]]:
    """Documents by the use that was made of them, in a target's artifacts.

    `explain`: shown to an explainer or a reviser, or mined; else what a table says of its rows. Every table with a
    column `context` is read, whatever stage wrote it, so a new table is looked at too. Raises AssertionError where a
    row gives a context another split or document than the contexts artifact does.
    """
    table = read_table(artifacts / "contexts" / "contexts.parquet", schemas.CONTEXTS)
    documents = dict(zip(table["context"].to_list(), table["document"].to_list(), strict=True))
    splits = dict(zip(table["context"].to_list(), table["split"].to_list(), strict=True))
    used: dict[str, set[int]] = {}
    for use, context in _contexts_used(artifacts / "targets" / target, splits, documents):
        if context >= GENERATED:
            used.setdefault(use, set()).add(documents[context])
    return used


def _contexts_used(folder: Path, splits: dict[int, str], documents: dict[int, int]) -> Iterator[tuple[str, int]]:
    for name in ("explanations", "refined"):
        for explanation in read_explanations(folder / name / "explanations.jsonl"):
            yield from (("explain", context) for context in explanation.examples)
    for row in read_table(folder / "refined" / "decisions.parquet", schemas.DECISIONS).iter_rows(named=True):
        yield from (("explain", context) for column in EVIDENCE for context in row[column])
    yield from (("explain", n) for n in pl.read_parquet(folder / "examples" / "pool_contexts.parquet")["context"])
    for file in sorted(
        file for stage in ("examples", "scores", "refined") for file in (folder / stage).glob("*.parquet")
    ):
        df = pl.read_parquet(file)
        if {"context", "split"} <= set(df.columns):
            for row in df.select([c for c in ("context", "split", "document") if c in df.columns]).unique().to_dicts():
                if row["context"] >= GENERATED:
                    assert row["split"] == splits[row["context"]], (file, row)
                    assert row.get("document") in (None, documents[row["context"]]), (file, row)
                yield row["split"], row["context"]
