from __future__ import annotations

import bz2
import csv
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from latentese.corpus.factbook import Factbook
from latentese.corpus.folder import Folder
from latentese.corpus.parliament import Parliament
from latentese.corpus.source import Document
from latentese.corpus.standard_library import StandardLibrary
from latentese.corpus.wikipedia import Wikipedia
from latentese.errors import SettingError


@dataclass(frozen=True)
class LocalFiles:
    """Files that are here already."""

    path: Path
    name: str = "here"

    def folder(self) -> Path:
        return self.path


PAGES = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">
<page><title>Old name</title><ns>0</ns><redirect title="River"/><revision><text>#REDIRECT</text></revision></page>
<page><title>River</title><ns>0</ns>
<revision><text>A '''river''' &amp;amp; its [[bank (geography)|bank]].</text></revision></page>
<page><title>Talk:River</title><ns>1</ns><revision><text>I disagree.</text></revision></page>
</mediawiki>"""


def test_wikipedia_gives_articles_only(tmp_path: Path) -> None:
    (tmp_path / "pages.bz2").write_bytes(bz2.compress(PAGES.encode()))
    source = Wikipedia(LocalFiles(tmp_path))
    assert list(source.documents()) == [Document("River", "A river & its bank.")]
    assert source.name == "here"


def test_the_factbook_keeps_prose(tmp_path: Path) -> None:
    prose = "<p>" + "The country has known many rulers. " * 5 + "</p>"
    country = {
        "Introduction": {"Background": {"text": prose}},
        "Geography": {"Area": {"total": {"text": "2,381,740 sq km"}}},
        "Government": {
            "Country name": {
                "conventional short form": {"text": "none"},
                "conventional long form": {"text": "The Land"},
            }
        },
    }
    (tmp_path / "ll.json").write_text(json.dumps(country))
    assert list(Factbook(LocalFiles(tmp_path)).documents()) == [
        Document("The Land", ("The country has known many rulers. " * 5).strip())
    ]


def test_a_parliaments_documents_are_speeches(tmp_path: Path) -> None:
    table = io.StringIO(newline="")
    rows = csv.DictWriter(table, ["date", "speaker", "text"])
    rows.writeheader()
    rows.writerow({"date": "2000-01-28", "speaker": "A", "text": 'Damen und Herren ! Er sagte "ja"\nund ging .'})
    with zipfile.ZipFile(tmp_path / "de.zip", "w") as archive:
        archive.writestr("de.csv", table.getvalue())
    assert list(Parliament(LocalFiles(tmp_path)).documents()) == [
        Document("A, 2000-01-28", 'Damen und Herren! Er sagte "ja"\nund ging.')
    ]


def test_the_standard_library_leaves_tests_out() -> None:
    titles = [document.title for document in StandardLibrary().documents()]
    assert "textwrap.py" in titles
    assert "json/decoder.py" in titles
    assert not [title for title in titles if "test" in Path(title).parts or "site-packages" in title]
    assert StandardLibrary().name.startswith("python-3.")


def test_a_folder_reads_its_three_kinds_of_file(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("Plain text.", encoding="utf-8")
    (tmp_path / "a").mkdir()
    # U+2028 is a line separator to Python, not to JSON lines.
    (tmp_path / "a" / "c.jsonl").write_text(
        '{"body": "one\u2028still one", "name": "N"}\n\n{"body": "two"}\n', encoding="utf-8"
    )
    (tmp_path / "readme.md").write_text("not read")
    assert list(Folder(tmp_path, "body", "name").documents()) == [
        Document("N", "one\u2028still one"),
        Document("c.jsonl:1", "two"),
        Document("b.txt", "Plain text."),
    ]
    pl.DataFrame({"body": [f"text {i}" for i in range(2500)]}).write_parquet(tmp_path / "a" / "d.parquet")
    texts = [document.text for document in Folder(str(tmp_path), "body").documents()]
    assert texts[2:-1] == [f"text {i}" for i in range(2500)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            b'{"other": "x"}',
            "text_field='text' is not allowed: a column of texts in every file; .* has other in row 0",
        ),
        ("a.jsonl", b'{"text": 5}', "has no text in row 0"),
        ("a.jsonl", b'{"text": "x"}\n{broken', "one JSON object per line; line 2"),
        ("a.jsonl", b"[1, 2]", "line 1 is none"),
        ("a.jsonl", b"\n" + b"[" * 100_000, "line 2: maximum recursion"),
        ("a.txt", b"\xff\xfe", "text in UTF-8"),
        ("a.parquet", b"PAR1 no", "readable parquet"),
        ("a.pdf", b"x", r"a folder with \.txt, \.jsonl or \.parquet files"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingError, match=message) as error:
        list(Folder(tmp_path).documents())
    assert "\n" not in str(error.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="an existing folder"):
        list(Folder(tmp_path / "absent").documents())
