"""Articles of a MediaWiki export."""

from __future__ import annotations

import bz2
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from latentese.corpus.clean import strip_wikitext
from latentese.corpus.source import Document, Files


@dataclass(frozen=True)
class Wikipedia:
    """Articles of the compressed MediaWiki exports (*.bz2) among `files`; redirects and other pages are left out."""

    files: Files

    @property
    def name(self) -> str:
        """Identity of the export."""
        return self.files.name

    def documents(self) -> Iterator[Document]:
        """One document per article: its prose."""
        for path in sorted(self.files.folder().rglob("*.bz2")):
            for title, text in _articles(path):
                yield Document(title, strip_wikitext(text))


def _articles(path: Path) -> Iterator[tuple[str, str]]:
    """Title and wikitext of each article; the tree is emptied page by page to keep memory flat."""
    with bz2.open(path) as file:
        for _, element in ElementTree.iterparse(file):
            if element.tag.rpartition("}")[2] != "page":
                continue
            if element.findtext("{*}ns") == "0" and element.find("{*}redirect") is None:
                yield element.findtext("{*}title", ""), element.findtext("{*}revision/{*}text", "")
            element.clear()
