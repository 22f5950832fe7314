"""Countries of the World Factbook."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from latentese.corpus.clean import strip_html
from latentese.corpus.source import Document, Files

MIN_CHARS = 120  # shorter fields are figures and names, not prose


@dataclass(frozen=True)
class Factbook:
    """One JSON file per country among `files`: sections of fields of `text`, in HTML."""

    files: Files

    @property
    def name(self) -> str:
        """Identity of the edition."""
        return self.files.name

    def documents(self) -> Iterator[Document]:
        """One document per country: its prose fields, a paragraph each."""
        for path in sorted(self.files.folder().rglob("*.json")):
            country = json.loads(path.read_text(encoding="utf-8"))
            fields = [strip_html(text) for text in _texts(country)]
            yield Document(_country_name(country) or path.stem, "\n\n".join(f for f in fields if len(f) >= MIN_CHARS))


def _texts(value: Any) -> Iterator[str]:
    """Every string in a nest of dictionaries and lists, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _country_name(country: dict[str, Any]) -> str:
    names = country.get("Government", {}).get("Country name", {})
    texts = (names.get(f"conventional {form} form", {}).get("text", "") for form in ("short", "long"))
    return next((strip_html(text) for text in texts if text and text != "none"), "")
