r"""Files of puzzles, in TOML: the packaged ones, and anybody's own.

    [[puzzle]]
    name = "ending_ful"
    kind = "lexical"                        # lexical, syntactic, positional, semantic, multilingual or code
    true = "words that end in '-ful'"
    false = ["good qualities of a person", "amounts used in cooking", "adjectives of looks"]
    fires = [{ on = '\b\w+ful\b', act = 8 }]   # a regular expression, and how strongly it fires there
    texts = ["Be careful with the blue jug, ...", ...]

In place of `fires` and `texts` a puzzle may have `contexts`: tables of `tokens`, a list of texts, and `acts`, as many
numbers. The first token of a context never counts, as everywhere. Six contexts at least must fire and four must not;
those that do not had best look as if they did.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from latentese.errors import ArtifactError, SettingError
from latentese.puzzles.puzzle import Puzzle
from latentese.puzzles.rules import Rule, activations, cut
from latentese.records import Context, Example

PACKAGED = Path(__file__).with_name("data")
FIELDS = {"name", "kind", "true", "false"}
BY_RULE, BY_HAND = {"fires", "texts"}, {"contexts"}
MAX_CONTEXTS = 1000
"""Contexts of puzzle u are numbered from u * MAX_CONTEXTS."""

Pairs = list[tuple[tuple[str, ...], tuple[float, ...]]]
"""Tokens and their activations, one pair per context."""


def packaged_files() -> list[Path]:
    """List the files that come with the package."""
    return sorted(PACKAGED.glob("*.toml"))


def read_puzzles(files: Iterable[Path]) -> list[Puzzle]:
    """Read and check all puzzles of some files; names differ. Raises ArtifactError naming the file, and the puzzle."""
    puzzles: list[Puzzle] = []
    for file in files:
        for fields in read_tables(file, "puzzle"):
            try:
                puzzles.append(_puzzle(fields, len(puzzles)))
            except SettingError as error:
                raise ArtifactError(file, str(error)) from error
            if puzzles[-1].name in [puzzle.name for puzzle in puzzles[:-1]]:
                raise ArtifactError(file, f"there is another puzzle called {puzzles[-1].name!r}")
    return puzzles


def read_tables(file: Path, name: str) -> Iterator[Mapping[str, Any]]:
    """Read the tables of one name in a TOML file; raises ArtifactError if there is none."""
    if not file.is_file():
        raise ArtifactError(file, "there is no such file")
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8")).get(name)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(file, f"is not TOML ({error})") from error
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ArtifactError(file, f"has no [[{name}]]")
    yield from tables


def _puzzle(fields: Mapping[str, Any], unit: int) -> Puzzle:
    name = str(fields.get("name", f"number {unit + 1}"))
    if set(fields) not in (FIELDS | BY_RULE, FIELDS | BY_HAND):
        allowed = f"{', '.join(sorted(FIELDS))}, and either fires and texts or contexts"
        raise SettingError(f"puzzle {name!r}", sorted(fields), allowed)
    try:
        pairs = _by_hand(fields["contexts"]) if "contexts" in fields else _by_rule(fields["fires"], fields["texts"])
        true, false = _text(fields["true"]), _texts(fields["false"])
    except (TypeError, KeyError, ValueError) as error:
        raise SettingError(f"puzzle {name!r}", str(error), "as described in latentese.puzzles.files") from error
    if len(pairs) > MAX_CONTEXTS:
        raise SettingError(f"puzzle {name!r}: contexts", len(pairs), f"at most {MAX_CONTEXTS}")
    examples = tuple(_example(unit, number, *pair) for number, pair in enumerate(pairs))
    return Puzzle(unit, name, str(fields["kind"]), true, false, examples)


def _by_rule(fires: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> Pairs:
    rules = [Rule(**rule) for rule in fires]
    tokens = [cut(text) for text in _texts(texts)]
    return [(of_text, activations(of_text, rules)) for of_text in tokens]


def _by_hand(contexts: Sequence[Mapping[str, Any]]) -> Pairs:
    pairs: Pairs = []
    for context in contexts:
        tokens, acts = _texts(context["tokens"]), tuple(map(float, context["acts"]))
        if len(tokens) != len(acts):
            raise ValueError(f"one activation per token, not {len(acts)} for {len(tokens)}")
        if not all(0 <= act < math.inf for act in acts):
            raise ValueError(f"activations of 0 or more, not {acts}")
        pairs.append((tokens, acts))
    return pairs


def _example(unit: int, number: int, tokens: tuple[str, ...], acts: tuple[float, ...]) -> Example:
    counted = (0.0, *acts[1:])
    name = unit * MAX_CONTEXTS + number
    keep = (False,) + (True,) * (len(tokens) - 1)
    context = Context(name, tokens, keep, document=name, source="puzzles", split="test")
    return Example(unit, context, "top" if max(counted) > 0 else "random", counted)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"a text, not {value!r}")
    return value


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"a list of texts, not {values!r}")
    return tuple(map(_text, values))
