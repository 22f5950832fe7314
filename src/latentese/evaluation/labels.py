"""Labels of tokens, worked out from a context's text: what a token is, and what it stands in.

A label is a function of a passage. Text is matched by regular expressions that see all of the context, also what
comes behind a token; which character belongs to which token is known from the tokens' texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from latentese.records import Context

POSITIVE, NEGATIVE, OUT = 1, 0, -1
"""OUT: the token takes no part in the task."""

Labels = NDArray[np.int8]
"""[n_positions]: POSITIVE, NEGATIVE or OUT."""


class Passage:
    """A context's text, and where its tokens lie in it."""

    def __init__(self, context: Context, is_code: bool) -> None:
        self.context, self.is_code, self.text = context, is_code, context.text

    @cached_property
    def starts(self) -> list[int]:
        """Where each token begins in the text."""
        return [end - len(token) for end, token in zip(self._ends, self.context.tokens, strict=True)]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(len(token) for token in self.context.tokens))

    @cached_property
    def token_at(self) -> NDArray[np.intp]:
        """Position of the token that holds each character, [n_characters]."""
        return np.repeat(np.arange(len(self.context.tokens)), [len(token) for token in self.context.tokens])

    @cached_property
    def last_characters(self) -> NDArray[np.intp]:
        """Where each token's last character is in the text, [n_positions]; -1 for a token without text at its head."""
        return np.array(self._ends, dtype=np.intp) - 1

    @cached_property
    def has_text(self) -> NDArray[np.bool_]:
        """Which tokens have text: not padding, and no later piece of one character."""
        return np.array([token != "" for token in self.context.tokens])

    def labels(self, positive: NDArray[np.bool_]) -> Labels:
        """POSITIVE where true, NEGATIVE elsewhere; tokens without text are out."""
        return np.where(self.has_text, positive, OUT).astype(np.int8)


Label = Callable[[Passage], Labels]


def token_is(pattern: str) -> Label:
    """Positive: a token whose whole text matches."""
    wanted = re.compile(pattern, re.DOTALL)
    known: dict[str, bool] = {}  # a vocabulary's worth at most, and nearly every token is asked about again

    def label(passage: Passage) -> Labels:
        tokens = passage.context.tokens
        for token in tokens:
            if token not in known:
                known[token] = wanted.fullmatch(token) is not None
        return passage.labels(np.array([known[token] for token in tokens]))

    return label


def token_begins(pattern: str) -> Label:
    """Positive: a token at whose beginning the text matches; the pattern may look back at what comes before."""
    wanted = re.compile(pattern)

    def label(passage: Passage) -> Labels:
        return passage.labels(np.array([wanted.match(passage.text, start) is not None for start in passage.starts]))

    return label


def holds_first(pattern: str, group: int = 0) -> Label:
    """Positive: a token that holds the first character of a match, or of a group of it."""
    return _holds(pattern, lambda match: match.start(group))


def holds_last(pattern: str) -> Label:
    """Positive: a token that holds the last character of a match: what completes it."""
    return _holds(pattern, lambda match: match.end() - 1)


def _holds(pattern: str, character: Callable[[re.Match[str]], int]) -> Label:
    wanted = re.compile(pattern)

    def label(passage: Passage) -> Labels:
        positive = np.zeros(len(passage.context.tokens), dtype=bool)
        positive[[passage.token_at[character(match)] for match in wanted.finditer(passage.text)]] = True
        return passage.labels(positive)

    return label


def lies_in(pattern: str, group: str | int = 0) -> Label:
    """Positive: a token whose last character lies in a match, or in a group of it."""
    wanted = re.compile(pattern)

    def label(passage: Passage) -> Labels:
        inside = np.zeros(len(passage.text) + 1, dtype=bool)
        for match in wanted.finditer(passage.text):
            inside[match.start(group) : match.end(group)] = True
        return passage.labels(inside[passage.last_characters])

    return label


def stands_between(opening: str, closing: str, nests: bool = True) -> Label:
    """Positive: a token behind which something is open that was opened in this context.

    What does not nest can be opened once: a quotation repeats its mark at each paragraph. What stands before a
    closing without an opening is out: whether it was open there, the context does not tell.
    """
    marks = re.compile(f"(?P<opening>{opening})|(?:{closing})")

    def label(passage: Passage) -> Labels:
        is_open = np.zeros(len(passage.text) + 1, dtype=bool)
        n_open, known_from = 0, 0
        for match in marks.finditer(passage.text):
            if match["opening"] is not None:
                n_open = n_open + 1 if nests else 1
            elif n_open > 0:
                n_open -= 1
            else:
                known_from = match.end()
            is_open[match.end() - 1 :] = n_open > 0
        labels = passage.labels(is_open[passage.last_characters])
        labels[passage.last_characters < known_from] = OUT
        return labels

    return label


def among(domain: Label, label: Label) -> Label:
    """Keep the labels of the domain's positives; all other tokens are out."""
    return lambda passage: np.where(domain(passage) == POSITIVE, label(passage), OUT).astype(np.int8)


def in_code(label: Label) -> Label:
    """Keep the labels of code; prose is out."""
    return lambda passage: label(passage) if passage.is_code else _all_out(passage)


def in_prose(label: Label) -> Label:
    """Keep the labels of prose; code is out."""
    return lambda passage: _all_out(passage) if passage.is_code else label(passage)


def _all_out(passage: Passage) -> Labels:
    return np.full(len(passage.context.tokens), OUT, dtype=np.int8)
