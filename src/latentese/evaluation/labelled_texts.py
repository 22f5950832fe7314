"""Probe tasks of your own: labelled texts that are documents of the corpus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentese.corpus.contexts import Contexts
from latentese.corpus.splits import text_sha256
from latentese.errors import SettingError
from latentese.evaluation.labels import NEGATIVE, OUT, POSITIVE, Labels, Passage
from latentese.evaluation.tasks import Task


@dataclass(frozen=True)
class LabelledTexts:
    """A task from a file of JSON lines, one text with its label each; asked at the last token of each context.

    The texts are found among the documents of the corpus, so let the corpus read the same file (`corpus=folder`): then
    they have activations, and belong to one split each. Those it did not take are left out. A file with several
    classes gives a task for each of them.
    """

    path: str
    positive: str | int | bool = 1
    """Label of the positives; texts with any other label are negatives, those without one are left out."""
    text_field: str = "text"
    label_field: str = "label"

    def __post_init__(self) -> None:
        if not Path(self.path).is_file():
            raise SettingError("path", self.path, "an existing file of JSON lines")

    def task(self, name: str, contexts: Contexts) -> Task:
        """Find the texts in the corpus; raises SettingError when it has none of them, or a row cannot be read."""
        numbers = dict(contexts.documents.select("sha256", "document").iter_rows())
        label_of: dict[int, int] = {}
        for sha256, answer in self._rows():
            if sha256 in numbers:
                # The same text with both labels says nothing.
                known = label_of.setdefault(numbers[sha256], answer)
                label_of[numbers[sha256]] = answer if answer == known else OUT
        if not label_of:
            allowed = "texts that are documents of the corpus; let it read this file too"
            raise SettingError("path", self.path, allowed)

        def label(passage: Passage) -> Labels:
            labels = np.full(len(passage.context.tokens), OUT, dtype=np.int8)
            labels[np.flatnonzero(passage.context.keep)[-1:]] = label_of.get(passage.context.document, OUT)
            return labels

        definition = f"The text is labelled {self.positive!r} in {Path(self.path).name}; among last tokens of contexts."
        return Task(name, definition, label)

    def _rows(self) -> Iterator[tuple[str, int]]:
        """Hash of each labelled text, taken as the corpus takes it, and its label."""
        with Path(self.path).open("rb") as file:
            for number, line in enumerate(file, start=1):
                row = self._read(line, number) if line.strip() else {}
                if row.get(self.label_field) is not None:
                    text = str(row[self.text_field]).strip().encode("utf-8", "replace").decode("utf-8")
                    yield text_sha256(text), POSITIVE if row[self.label_field] == self.positive else NEGATIVE

    def _read(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SettingError("path", self.path, f"JSON lines; line {number}: {error}") from error
        if not isinstance(row, dict) or not {self.text_field, self.label_field} <= set(row):
            allowed = f"JSON lines with {self.text_field} and {self.label_field}; line {number} has not both"
            raise SettingError("path", self.path, allowed)
        return row
