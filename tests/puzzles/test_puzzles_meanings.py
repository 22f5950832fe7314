"""Meanings from files, and the explainer that knows them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from latentese.errors import ArtifactError
from latentese.puzzles.meanings import TrueSentences, packaged_meanings, read_meanings
from latentese.puzzles.puzzle import KINDS
from latentese.puzzles.rules import activations, cut
from latentese.records import Unit

MEANINGS = {meaning.name: meaning for meaning in read_meanings(packaged_meanings())}
GOOD = """\
[[meaning]]
name = "red"
kind = "lexical"
true = "red"
fires = [{ on = 'red', act = 4 }]
"""


def test_packaged_meanings_are_of_every_kind_and_said_differently() -> None:
    assert len(MEANINGS) >= 20
    assert {meaning.kind for meaning in MEANINGS.values()} == set(KINDS)
    assert len({meaning.true for meaning in MEANINGS.values()}) == len(MEANINGS)


@pytest.mark.parametrize(
    ("name", "text", "fires"),
    [
        ("years", "in 1987, 300 of 2004 and 12345", ["1987", "2004"]),
        ("ending_tion", "the nations of a nation", ["nation"]),
        ("sentence_starts", "It ended. Nobody came (at 3. p.m.). Then", ["Nobody", "Then"]),
        ("inside_parentheses", "a (b) (so it is) f(x)", ["so", "it", "is"]),
        ("after_the", "the cat and The dog saw the rat", ["cat", "rat"]),
        ("relative_pronouns", "Who is it, who knows which?", ["who", "which"]),
        ("opening_keywords", "if it rains\n  if it:\n    return", ["if", "return"]),
        ("names_of_functions", "def grind(mill):\n  class def", ["grind"]),
        ("percent", "5% or five percent", ["%", "percent"]),
    ],
)  # fmt: skip
def test_packaged_rules_fire_where_the_sentence_says(name: str, text: str, fires: list[str]) -> None:
    tokens = cut(text)
    fired = [token.strip() for token, act in zip(tokens, activations(tokens, MEANINGS[name].fires), strict=True) if act]
    assert "".join(fired) == "".join(fires)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"lexical"', '"lexicall"', r"meaning 'red': kind='lexicall' is not allowed"),
        ('true = "red"', 'true = " "', r"meaning 'red'=' ' is not allowed: a sentence"),
        ('true = "red"', "true = 5", r"meaning 'red'=5 is not allowed: a sentence"),
        ("[{ on = 'red', act = 4 }]", "[]", r"at least one rule in `fires`"),
        ("act = 4", "act = 0", r"fires\.act=0 is not allowed"),
        ("act = 4", "acts = 4", r"meaning 'red': .*acts"),
        ("kind =", "sort =", r"meaning 'red': .*sort"),
        ("fires =", "fire =", r"meaning 'red': 'fires'"),
        ("[[meaning]]", "[[puzzle]]", r"has no \[\[meaning\]\]"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_the_file(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    file = tmp_path / "mine.toml"
    file.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(ArtifactError, match=said) as raised:
        read_meanings([file])
    assert str(raised.value).startswith(f"{file}: ")
    assert "\n" not in str(raised.value)


def test_two_meanings_of_one_name_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD + GOOD, encoding="utf-8")
    with pytest.raises(ArtifactError, match="another meaning called 'red'"):
        read_meanings([file])


def test_the_true_sentence_is_said_of_planted_units_alone() -> None:
    explainer = TrueSentences({3: "red"})
    known = asyncio.run(explainer.explain(Unit(3, 0.1, 1.0, 1.0, 0.0), []))
    unknown = asyncio.run(explainer.explain(Unit(4, 0.1, 1.0, 1.0, 0.0), []))
    assert (known.explanation, known.text, known.error, known.examples) == ("3.planted.0", "red", None, ())
    assert (unknown.text, unknown.error) == (None, "nothing known was planted in this unit")
