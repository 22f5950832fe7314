"""What a reader is, and how it reaches the explainers, simulators, scorers and arms that need one.

Most explain and score from stored examples alone, and for them the subject is never loaded. A part that needs more
says so by `with_reader`; whoever prepares a stage gives it one:

    explainers = give_reader(explainers, SubjectReader(...))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeVar, runtime_checkable

import numpy as np

from latentese.errors import LatenteseError
from latentese.patterns.n2g import Strength, TokenIds
from latentese.records import Context, Example, Unit

if TYPE_CHECKING:  # torch takes seconds to import, and who only names a reader's type needs none of it
    from latentese.dictionaries.base import Dictionary
    from latentese.subject.model import Subject

T = TypeVar("T")


@dataclass(frozen=True)
class ReadText:
    """A typed text as the subject read it."""

    context: Context
    """Behind a line break that does not count, as if it began a line; cut where the contexts of the study end.

    It has a negative number, which follows from its text, and is a document of its own.
    """
    acts: np.ndarray
    """[n_tokens, n_units] fp32, no threshold applied; 0 at positions that do not count."""


@dataclass(frozen=True)
class Loaded:
    """The subject and the dictionary, for those who change or look at the model itself."""

    subject: Subject
    dictionary: Dictionary
    hookpoint: str
    """Where the dictionary reads, such as `layers.12.resid_post`."""


class Reader(Protocol):
    """Tells what units of one target do on texts. The subject is loaded when something first asks for it."""

    def strength(self, unit: Unit) -> Strength:
        """Give what one unit does at the last token of texts of token ids, 0 where it does not fire."""
        ...

    def read(self, texts: Sequence[str], units: Sequence[int] | None = None) -> list[ReadText]:
        """Read typed texts; the activations of all units, or of some in the order given."""
        ...

    def examples(self, units: Sequence[Unit], texts: Sequence[str]) -> list[list[Example]]:
        """Read typed texts and make examples of them, 0 where a unit does not fire: [n_units][n_texts]."""
        ...

    def token_ids(self, contexts: Sequence[int]) -> list[TokenIds]:
        """Token ids of contexts of the study, padding left out."""
        ...

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """Text of each of these tokens of the subject, '' for special ones."""
        ...

    @property
    def pads(self) -> Sequence[int]:
        """Tokens that may stand for nothing, see `patterns.padding`."""
        ...

    @property
    def loaded(self) -> Loaded:
        """The subject and the dictionary."""
        ...


@runtime_checkable
class NeedsReader(Protocol):
    """A part of a stage that asks what units do on texts of its own."""

    def with_reader(self, reader: Reader) -> Self:
        """Give the same part with a reader."""
        ...


def give_reader(parts: Mapping[str, T], reader: Reader) -> dict[str, T]:
    """Give a reader to those that need one; the others stay as they are."""
    return {name: part.with_reader(reader) if isinstance(part, NeedsReader) else part for name, part in parts.items()}


def needed(reader: Reader | None, who: str) -> Reader:
    """Return the reader; raises LatenteseError where `who` was given none."""
    if reader is None:
        raise LatenteseError(f"{who} runs the subject: give it a reader first (reading.base.give_reader)")
    return reader
