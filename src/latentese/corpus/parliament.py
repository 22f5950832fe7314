"""Speeches in parliaments."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

from latentese.corpus.clean import tidy_spaces
from latentese.corpus.source import Document, Files


@dataclass(frozen=True)
class Parliament:
    """Speeches in the zipped CSV tables among `files`, with the columns date, speaker and text."""

    files: Files

    @property
    def name(self) -> str:
        """Identity of the sample."""
        return self.files.name

    def documents(self) -> Iterator[Document]:
        """One document per speech."""
        for path in sorted(self.files.folder().rglob("*.zip")):
            with zipfile.ZipFile(path) as tables:
                for table in sorted(tables.namelist()):
                    yield from _speeches(tables.read(table).decode("utf-8"))


def _speeches(table: str) -> Iterator[Document]:
    """Speeches of one table. Some were tokenised for counting words ("Damen und Herren !"): spaces are tidied."""
    for row in csv.DictReader(io.StringIO(table, newline="")):
        yield Document(f"{row['speaker']}, {row['date']}", tidy_spaces(row["text"]))
