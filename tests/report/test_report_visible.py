from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentese.report.visible import Piece, mark_of, pieces, visible


def test_a_leading_space_and_a_line_end_become_marks() -> None:
    assert pieces(" the\n", leading_space=True) == [Piece("·", True), Piece("the", False), Piece("↵", True)]


def test_a_space_inside_stays_a_space() -> None:
    assert pieces("a b", leading_space=True) == [Piece("a b", False)]
    assert pieces(" a") == [Piece(" a", False)]


@pytest.mark.parametrize(
    ("character", "mark"),
    [
        ("\x00", "\u2039U+0000\u203a"),
        ("\t", "⇥"),
        ("\u200b", "\u2039U+200B\u203a"),
        ("\u202e", "\u2039U+202E\u203a"),
        ("\u2028", "\u2039U+2028\u203a"),
        ("\ud800", "\u2039U+D800\u203a"),
        ("\u3164", "\u2039U+3164\u203a"),
        ("\u00a0", "⍽"),
        ("<", None),
        ("ש", None),
        (" ", None),
    ],
)
def test_what_cannot_be_seen_is_named(character: str, mark: str | None) -> None:
    assert mark_of(character) == mark


def test_piles_of_combining_marks_are_cut() -> None:
    assert visible("e" + "\u0301" * 40 + "x") == "e" + "\u0301" * 3 + "x"


@given(st.text(st.characters(), max_size=40))
def test_nothing_hidden_remains_and_the_result_can_be_written(text: str) -> None:
    shown = visible(text)
    shown.encode("utf-8")
    assert all(unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in shown)
    assert visible(shown) == shown
