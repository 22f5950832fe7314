"""Untrusted text made visible: nothing in it can hide, reorder its surroundings or end a line unseen.

Escaping for HTML is not done here: the templates escape everything.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

_NAMED = {"\n": "↵", "\r": "↵", "\t": "⇥", "\u00a0": "⍽"}
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that draw nothing."""
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
MAX_COMBINING = 3
"""Combining marks kept on one letter: more of them draw over neighbouring lines."""


class Piece(NamedTuple):
    """A run of characters to show; `mark` when they stand for something that cannot be seen."""

    text: str
    mark: bool


def pieces(text: str, leading_space: bool = False) -> list[Piece]:
    """Cut text into visible runs and marks; with `leading_space`, a space at the start is a mark, as in a token."""
    runs: list[Piece] = []
    n_combining = 0
    for position, character in enumerate(text):
        n_combining = n_combining + 1 if unicodedata.combining(character) else 0
        if n_combining > MAX_COMBINING:
            continue
        shown = "·" if leading_space and position == 0 and character == " " else mark_of(character)
        piece = Piece(character if shown is None else shown, shown is not None)
        if runs and not piece.mark and not runs[-1].mark:
            runs[-1] = Piece(runs[-1].text + piece.text, False)
        else:
            runs.append(piece)
    return runs


def mark_of(character: str) -> str | None:
    """Say what stands for a character that cannot be seen, or None if it can."""
    if character in _NAMED:
        return _NAMED[character]
    if character in _BLANK_LETTERS or unicodedata.category(character) in _HIDDEN:
        return f"\u2039U+{ord(character):04X}\u203a"
    if character != " " and unicodedata.category(character) == "Zs":
        return "⍽"
    return None


def visible(text: str) -> str:
    """Return the same as one string: for titles, lists and figures."""
    return "".join(piece.text for piece in pieces(text))
