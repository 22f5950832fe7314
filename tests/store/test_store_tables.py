"""Tables keep their schema, explanations every character."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentese.errors import ArtifactError
from latentese.records import Explanation, Usage
from latentese.schemas import POOL
from latentese.store.tables import read_explanations, read_table, write_explanations, write_table

ROW = {"unit": 1, "context": 2, "positions": [3], "acts": [0.5]}


def test_table_reads_back(tmp_path: Path) -> None:
    df = pl.DataFrame([ROW], schema=POOL)
    write_table(df, POOL, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", POOL).equals(df)


def test_other_type_is_refused_with_the_column(tmp_path: Path) -> None:
    df = pl.DataFrame([ROW], schema=POOL).cast({"unit": pl.Int64})
    with pytest.raises(ArtifactError, match=r"t\.parquet: column unit should be Int32, found Int64"):
        write_table(df, POOL, tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_unknown_column_is_refused(tmp_path: Path) -> None:
    df = pl.DataFrame([ROW], schema=POOL).with_columns(extra=1)
    with pytest.raises(ArtifactError, match=r"unknown columns \['extra'\]"):
        write_table(df, POOL, tmp_path / "t.parquet")


def test_missing_and_unreadable_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"t\.parquet: missing"):
        read_table(tmp_path / "t.parquet", POOL)
    (tmp_path / "t.parquet").write_text("not parquet")
    with pytest.raises(ArtifactError, match=r"t\.parquet: not a readable parquet table"):
        read_table(tmp_path / "t.parquet", POOL)


@settings(deadline=None, max_examples=50)
@given(text=st.text(), token=st.text(), act=st.floats(allow_nan=False, allow_infinity=False))
def test_explanations_keep_every_character(
    tmp_path_factory: pytest.TempPathFactory, text: str, token: str, act: float
) -> None:
    text, token = (value.encode("utf-8", "replace").decode() for value in (text, token))
    explanation = Explanation("1.a.0", 1, "a", 0, text, "m", "0" * 64, (1, 2), ((token, act),), usage=Usage(3, 4))
    path = tmp_path_factory.mktemp("explanations") / "e.jsonl"
    write_explanations([explanation, explanation], path)
    assert read_explanations(path) == [explanation, explanation]
