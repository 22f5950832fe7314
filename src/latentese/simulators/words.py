"""The words that tokens are part of, by character offsets (any tokenizer will do); an explanation's phrases."""

from __future__ import annotations

import re
from collections.abc import Sequence

WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
QUOTED = re.compile(r"[\"“”«»]([^\"“”«»]+)[\"“”«»]|(?<!\w)['\u2018]([^'\u2018\u2019]+)['\u2019](?!\w)")
SEPARATOR = re.compile(r"[,;:()]|\s(?:and|or|such as|like|including)\s")


def words_of(tokens: Sequence[str]) -> tuple[str, ...]:
    """Find the word each token is part of, the first where it touches several.

    A token without letters or digits stands for itself (',', '(('), white space for ''. An empty token (the rest of a
    character that is split over tokens) takes the word of the token before it.
    """
    text = "".join(tokens)
    word_at = [""] * len(text)
    for match in WORD.finditer(text):
        word_at[match.start() : match.end()] = [match.group()] * len(match.group())
    words: list[str] = []
    start = 0
    for token in tokens:
        end = start + len(token)
        own = next((word for word in word_at[start:end] if word), token.strip())
        words.append(own if token or not words else words[-1])
        start = end
    return tuple(words)


def phrases_of(text: str) -> tuple[str, ...]:
    """List an explanation, what it quotes and its items: 'names of kings, or "crown"' also says 'crown'.

    Parts of one or two characters say little, but the whole explanation stays, however short.
    """
    quoted = [double or single for double, single in QUOTED.findall(text)]
    pieces = [text, *quoted, *SEPARATOR.split(text)]
    cleaned = (" ".join(piece.replace('"', " ").split()).strip(" .'") for piece in pieces)
    whole, *parts = cleaned
    return tuple(dict.fromkeys([whole or text, *(piece for piece in parts if len(piece) > 2)]))
