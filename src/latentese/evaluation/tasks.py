"""What a probe task is, and tasks that tell sources of text apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentese.errors import SettingError
from latentese.evaluation.labels import NEGATIVE, OUT, POSITIVE, Label, Labels, Passage


@dataclass(frozen=True)
class Task:
    """Asks one thing about tokens that is true or false."""

    name: str
    """Its key in the table."""
    definition: str
    """What a positive is, and among which tokens, in one sentence."""
    label: Label


@dataclass(frozen=True)
class SourceTask:
    """Tells tokens of some sources from those of others."""

    positive: Sequence[str]
    """Labels of sources in the corpus."""
    negative: Sequence[str] = ()
    """What they are told from; by default all other sources."""

    def __post_init__(self) -> None:
        if not self.positive or set(self.positive) & set(self.negative):
            raise SettingError("positive", list(self.positive), "sources, none of them in `negative`")

    @property
    def definition(self) -> str:
        """Name the sources."""
        others = ", ".join(self.negative) if self.negative else "all other sources"
        return f"A token of {', '.join(self.positive)}; among those and tokens of {others}."

    def label(self, passage: Passage) -> Labels:
        """Give all tokens of a context the label of its source."""
        source = passage.context.source
        negative = NEGATIVE if not self.negative or source in self.negative else OUT
        label = POSITIVE if source in self.positive else negative
        return np.full(len(passage.context.tokens), label, dtype=np.int8)
