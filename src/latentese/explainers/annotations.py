"""The file of a person's explanations: one per target and unit, as JSON lines or as CSV with a heading.

    {"target": "latents", "unit": 1933, "explanation": "rivers, lakes and villages", "author": "Ada"}

    target,unit,explanation,author
    latents,1933,"rivers, lakes and villages",Ada

The author may be left out.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentese.errors import ArtifactError, SettingError
from latentese.store.files import whole_file

COLUMNS = ("target", "unit", "explanation", "author")
MAX_CHARACTERS = 500
SUFFIXES = (".jsonl", ".csv")


@dataclass(frozen=True)
class Annotation:
    """What a person says of one unit."""

    target: str
    unit: int
    explanation: str
    author: str = ""

    def __post_init__(self) -> None:
        if not self.target:
            raise SettingError("target", self.target, "a target's name, such as latents")
        if self.unit < 0:
            raise SettingError("unit", self.unit, "0 or more")
        text = self.explanation
        if not any(char.isalnum() for char in text) or not text.isprintable() or len(text) > MAX_CHARACTERS:
            raise SettingError("explanation", text[:60], f"one line with words, of at most {MAX_CHARACTERS} characters")
        if not self.author.isprintable():
            raise SettingError("author", self.author, "one line")


def check_studied(unit: int, studied: Collection[int]) -> None:
    """Raise SettingError for a unit that the study does not explain."""
    if unit not in studied:
        named = ", ".join(map(str, sorted(studied)[:8]))
        allowed = f"one of the {len(studied)} units that are explained, {named} ... (explaining.n_units)"
        raise SettingError("unit", unit, allowed)


def read_annotations(path: Path) -> list[Annotation]:
    """Read a file, as `read_lines` does."""
    return list(read_lines(path).values())


def read_lines(path: Path) -> dict[int, Annotation]:
    """Read a file, by number of line.

    Raises ArtifactError naming the first line that is no annotation, or that repeats a unit.
    """
    if path.suffix not in SUFFIXES:
        raise SettingError("annotations", str(path), f"a file that ends in {' or '.join(SUFFIXES)}")
    if not path.is_file():
        raise ArtifactError(path, "missing; `python -m flows.annotate` makes it, with the first explanation")
    try:
        text = path.read_bytes().decode("utf-8-sig")  # spreadsheets put a mark of byte order first
    except UnicodeDecodeError as error:
        raise ArtifactError(path, f"not UTF-8 text ({error.reason} at byte {error.start})") from error
    line_of: dict[tuple[str, int], int] = {}
    annotations = {}
    for line, fields in _rows_of(path, text):
        annotation = _annotation(path, line, fields)
        key = (annotation.target, annotation.unit)
        if key in line_of:
            raise ArtifactError(path, f"line {line}: unit {key[1]} of {key[0]} was explained on line {line_of[key]}")
        line_of[key] = line
        annotations[line] = annotation
    return annotations


def append_annotation(annotation: Annotation, path: Path) -> None:
    """Add a line at the end, all other bytes as they were; the file is whole before and after.

    Raises ArtifactError where the file is not valid, explains the unit already, or has no column for the author.
    """
    kept = path.read_bytes() if path.exists() else b""
    for other in read_annotations(path) if kept else ():
        if (other.target, other.unit) == (annotation.target, annotation.unit):
            problem = f"explains unit {other.unit} of {other.target} already: {other.explanation!r}; edit that line"
            raise ArtifactError(path, problem)
    if kept and not kept.endswith(b"\n"):
        kept += b"\n"
    with whole_file(path) as part:
        part.write_bytes(kept + _line(annotation, path, kept).encode())
    read_annotations(path)


def _line(annotation: Annotation, path: Path, kept: bytes) -> str:
    if path.suffix not in SUFFIXES:
        raise SettingError("annotations", str(path), f"a file that ends in {' or '.join(SUFFIXES)}")
    if path.suffix == ".jsonl":
        return json.dumps(asdict(annotation), ensure_ascii=False) + "\n"
    written = io.StringIO()
    columns = next(csv.reader(io.StringIO(kept.decode("utf-8-sig"))), None)
    if columns and annotation.author and "author" not in columns:
        raise ArtifactError(path, f"has no column for the author {annotation.author!r}: add `author` to its heading")
    writer = csv.DictWriter(written, columns or COLUMNS, extrasaction="ignore", lineterminator="\n")
    if columns is None:
        writer.writeheader()
    writer.writerow(asdict(annotation))
    return written.getvalue()


def _rows_of(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line numbers and fields, empty lines left out."""
    if path.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""), restkey="more columns than the heading")
        try:
            for row in reader:
                yield reader.line_num, {name: value for name, value in row.items() if value is not None}
        except csv.Error as error:  # a quote that is never closed takes in all that follows
            raise ArtifactError(path, f"line {reader.reader.line_num}: not CSV ({error})") from error
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ArtifactError(path, f"line {number}: not JSON ({error})") from error
            if not isinstance(fields, dict):
                raise ArtifactError(path, f"line {number}: not a JSON object")
            yield number, fields


def _annotation(path: Path, line: int, fields: Mapping[str, Any]) -> Annotation:
    unknown, missing = sorted(set(fields) - set(COLUMNS)), [name for name in COLUMNS[:3] if name not in fields]
    if unknown or missing:
        problem = f"unknown {', '.join(unknown)}" if unknown else f"no {', '.join(missing)}"
        raise ArtifactError(path, f"line {line}: {problem}; the columns are {', '.join(COLUMNS)}")
    if not re.fullmatch(r"\d{1,9}", str(fields["unit"])):
        raise ArtifactError(path, f"line {line}: unit {fields['unit']!r} is no number")
    target, explanation, author = (str(fields.get(name) or "").strip() for name in ("target", "explanation", "author"))
    try:
        return Annotation(target, int(fields["unit"]), explanation, author)
    except SettingError as error:
        raise ArtifactError(path, f"line {line}: {error}") from error
