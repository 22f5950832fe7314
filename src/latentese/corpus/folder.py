"""A folder of your own texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from latentese.corpus.source import Document
from latentese.errors import SettingError

ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Folder:
    """Texts in a folder and its subfolders: .txt (a document per file), .jsonl and .parquet (a document per row)."""

    path: str | Path
    text_field: str = "text"
    """Column of .jsonl and .parquet files that holds the text."""
    title_field: str | None = None
    """Column that holds the title; without one, a document is called by its file and row."""

    @property
    def name(self) -> str:
        """Folder name; what the texts are is in the hashes of the documents."""
        return f"folder-{Path(self.path).resolve().name}"

    def documents(self) -> Iterator[Document]:
        """Read the files in the order of their paths; raises SettingError when there are none or a field is missing."""
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise SettingError("corpus folder", str(self.path), "an existing folder")
        readers: dict[str, Callable[[Path], Iterator[Document]]] = {
            ".txt": _text_file,
            ".jsonl": partial(self._rows, _jsonl_rows),
            ".parquet": partial(self._rows, _parquet_rows),
        }
        paths = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix in readers)
        if not paths:
            raise SettingError("corpus folder", str(self.path), "a folder with .txt, .jsonl or .parquet files")
        for path in paths:
            yield from readers[path.suffix](path)

    def _rows(self, read: Callable[[Path], Iterator[dict[str, Any]]], path: Path) -> Iterator[Document]:
        for i, row in enumerate(read(path)):
            text = row.get(self.text_field)
            if not isinstance(text, str):
                found = f"{path} has {', '.join(row)} in row {i}" if text is None else f"{path} has no text in row {i}"
                raise SettingError("text_field", self.text_field, f"a column of texts in every file; {found}")
            title = row.get(self.title_field) if self.title_field else None
            yield Document(str(title) if title is not None else f"{path.name}:{i}", text)


def _text_file(path: Path) -> Iterator[Document]:
    try:
        yield Document(path.name, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise SettingError(
            "corpus folder", str(path), f"text in UTF-8 ({error.reason} at byte {error.start})"
        ) from error


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    # Binary lines end at "\n" alone: texts may hold other line separators.
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise SettingError(
                    "corpus folder", str(path), f"one JSON object per line; line {number}: {error}"
                ) from error
            if not isinstance(row, dict):
                raise SettingError("corpus folder", str(path), f"one JSON object per line; line {number} is none")
            yield row


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a parquet file, some at a time."""
    try:
        table = pl.scan_parquet(path)
        n_rows = table.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SettingError("corpus folder", str(path), f"readable parquet ({str(error).splitlines()[0]})") from error
    for start in range(0, n_rows, ROWS_AT_ONCE):
        yield from table.slice(start, ROWS_AT_ONCE).collect().iter_rows(named=True)
