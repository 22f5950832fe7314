"""What every source of text offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from latentese.errors import SettingError


class Document(NamedTuple):
    """One text that stays together: its contexts all belong to one split."""

    title: str
    text: str


class Source(Protocol):
    """A source of documents. Their order does not matter: documents are taken in the order of their hashes."""

    @property
    def name(self) -> str:
        """Identity, with what fixes its content: enters the manifest."""
        ...

    def documents(self) -> Iterator[Document]:
        """Read the documents one after another; the source may be larger than memory."""
        ...


class Files(Protocol):
    """Files in a local folder, fetched when first asked for; `weights.packaged.PackagedFolder` is one."""

    @property
    def name(self) -> str:
        """Identity, with the hash of the files."""
        ...

    def folder(self) -> Path:
        """Where the files are."""
        ...


@dataclass(frozen=True)
class SourceShare:
    """A source, and which share of every split's tokens it should fill."""

    source: Source
    share: float
    max_contexts_per_document: int | None = None
    """The source's own limit, where its documents are few and long; None takes that of all sources."""


def check_shares(setting: str, shares: dict[str, float]) -> None:
    """Refuse shares that are negative or do not sum to 1."""
    total = sum(shares.values())
    if any(share < 0 for share in shares.values()) or abs(total - 1) > 1e-6:
        raise SettingError(setting, shares, f"shares must be 0 or more and sum to 1, not {total:g}")
