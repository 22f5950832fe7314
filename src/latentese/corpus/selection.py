"""Which documents are read: exact duplicates once, in the order of their hashes, until each source has its share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tqdm import tqdm

from latentese.corpus.source import Document, Source
from latentese.corpus.splits import split_of, text_sha256


class DocumentRef(NamedTuple):
    """Where a spooled document lies. References sort by hash: a random order that no reordering changes."""

    sha256: str
    source: str
    title: str
    split: str
    offset: int
    n_bytes: int


@dataclass(frozen=True)
class Spool:
    """All documents of a corpus in one file, so that they can be read in any order with flat memory."""

    path: Path
    refs: Sequence[DocumentRef]
    """Sorted by hash."""
    n_read: Mapping[str, int]
    """Documents per source, duplicates included."""
    n_duplicates: int

    def of_split(self, split: str) -> list[DocumentRef]:
        """Documents of one split, in the order of their hashes."""
        return [ref for ref in self.refs if ref.split == split]

    def read(self, refs: Sequence[DocumentRef]) -> list[str]:
        """Texts of some documents."""
        with self.path.open("rb") as file:
            return [_read_at(file, ref) for ref in refs]


@dataclass
class TokenBudget:
    """How many tokens each source still owes to one split."""

    wanted: Mapping[str, int]
    taken: Counter[str] = field(default_factory=Counter)

    def owed(self, source: str) -> int:
        """Tokens that a source has not given yet; negative when its last window went past its share."""
        return self.wanted[source] - self.taken[source]

    def missing(self) -> dict[str, int]:
        """Tokens that sources could not give: they ran out of documents."""
        return {source: self.owed(source) for source in self.wanted if self.owed(source) > 0}


def spool_documents(sources: Mapping[str, Source], shares: Mapping[str, float], path: Path) -> Spool:
    """Write every distinct document of `sources` to `path` and assign it to a split.

    Empty texts are skipped. Of exact duplicates, the one whose source and title sort first stays, so that neither the
    order of sources nor that of documents matters.
    """
    refs: dict[str, DocumentRef] = {}
    n_read: Counter[str] = Counter()
    with path.open("wb") as file, tqdm(desc="read documents", unit="doc", unit_scale=True) as bar:
        for label, source in sources.items():
            for document in source.documents():
                bar.update()
                ref = _spool(document, label, shares, file)
                if ref is None:
                    continue
                n_read[label] += 1
                refs[ref.sha256] = min(ref, refs.get(ref.sha256, ref))
    n_duplicates = sum(n_read.values()) - len(refs)
    return Spool(path, sorted(refs.values()), {label: n_read[label] for label in sources}, n_duplicates)


def _spool(document: Document, label: str, shares: Mapping[str, float], file: BinaryIO) -> DocumentRef | None:
    """Append one document; lone surrogates, which JSON can hold and UTF-8 cannot, become question marks."""
    text = document.text.strip().encode("utf-8", "replace")
    if not text:
        return None
    sha256 = text_sha256(text.decode("utf-8"))
    title = document.title.encode("utf-8", "replace").decode("utf-8")
    offset = file.tell()
    file.write(text)
    return DocumentRef(sha256, label, title, split_of(sha256, shares), offset, len(text))


def _read_at(file: BinaryIO, ref: DocumentRef) -> str:
    file.seek(ref.offset)
    return file.read(ref.n_bytes).decode("utf-8")
