"""Documents cut into windows of tokens whose pieces of text join to what was read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Window(NamedTuple):
    """Consecutive tokens of one document, at most a context long."""

    token_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    """Text of each token; '' for a token that continues a character begun before."""


class TokenizedText(NamedTuple):
    """A whole document as tokens."""

    token_ids: Sequence[int]
    pieces: Sequence[str]


def tokenize_texts(tokenizer: Any, texts: Sequence[str]) -> list[TokenizedText]:
    """Tokenize documents with a fast transformers tokenizer: no special token is added, none is read out of a text.

    A document that spells `<|endoftext|>` is a text about it, and must not end there.
    """
    backend = tokenizer.backend_tokenizer
    before = backend.encode_special_tokens
    backend.encode_special_tokens = True
    try:
        # The backend, not the tokenizer's own call, which warns of every text longer than the model's context.
        encodings = backend.encode_batch(list(texts), add_special_tokens=False)
    finally:
        backend.encode_special_tokens = before
    return [
        TokenizedText(encoding.ids, pieces_of(text, [end for _, end in encoding.offsets]))
        for text, encoding in zip(texts, encodings, strict=True)
    ]


def pieces_of(text: str, ends: Sequence[int]) -> list[str]:
    """Text of each token from the character offsets where tokens end; joined, they are the text up to the last end.

    Only ends are used: some tokenizers leave the space before a word out of its offsets, and it still was read. When
    a character is split over tokens, all of them end behind it, so the first carries it.
    """
    pieces, start = [], 0
    for end in ends:
        pieces.append(text[start:end])
        start = max(start, end)
    return pieces


def cut_windows(tokenized: TokenizedText, ctx_len: int, n_max: int, min_tokens: int) -> list[Window]:
    """At most `n_max` windows of `ctx_len` tokens, spread evenly over the document; a tail under `min_tokens` is lost.

    Spread, not the first ones: beginnings are alike (imports and licences of code, "X is a ..." of articles).
    """
    starts = range(0, len(tokenized.token_ids), ctx_len)
    if starts and len(tokenized.token_ids) - starts[-1] < min_tokens:
        starts = starts[:-1]
    n_cut = min(n_max, len(starts))
    chosen = [starts[(2 * i + 1) * len(starts) // (2 * n_cut)] for i in range(n_cut)]
    return [
        Window(tuple(tokenized.token_ids[start : start + ctx_len]), tuple(tokenized.pieces[start : start + ctx_len]))
        for start in chosen
    ]
