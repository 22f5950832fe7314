"""Where a server's tokens lie in the text that it was given."""

from __future__ import annotations

from collections.abc import Sequence

from latentese.errors import AnswerError

_PART = "\N{REPLACEMENT CHARACTER}"
"""In the text of a token that begins or ends inside a character; OpenAI writes `bytes:` and the bytes instead."""


def token_ends(tokens: Sequence[str], text: str) -> dict[int, int]:
    """Match tokens with the text they end with: offset in `text` -> how many of the tokens stand before it.

    Only offsets at which a token ends are there. Tokens before the text, such as a control token, may be there or
    not; the first may be '' for not known. Raises AnswerError when the tokens do not spell the text.
    """
    tokens = list(tokens)
    ends = {len(text): len(tokens)}
    end, n_hidden = len(text), 0
    for number in range(len(tokens), 0, -1):
        token = tokens[number - 1]
        if _is_part(token):
            n_hidden += min(len(token), 2) if token.startswith("bytes:") else len(token)
        elif token and end > 0:
            found = _end_of(token, text, end, n_hidden)
            end, n_hidden = found - len(token), 0
            ends[found] = number
            ends[end] = number - 1
    if end - n_hidden > 0 and tokens[:1] != [""]:
        raise AnswerError(f"the server's tokens do not spell the prompt: nothing for {text[:end][-20:]!r}")
    return ends


def _is_part(token: str) -> bool:
    return _PART in token or token.startswith("bytes:")


def _end_of(token: str, text: str, end: int, n_hidden: int) -> int:
    """Find where a token ends: at `end`, or before the characters that parts of characters after it make up."""
    for found in range(end - bool(n_hidden), max(end - n_hidden, 0) - 1, -1):
        if text.endswith(token, 0, found):
            return found
    raise AnswerError(f"the server's tokens do not spell the prompt: {token[:20]!r} before {text[:end][-20:]!r}")
