"""From what a language model wrote to an explanation, or to the reason why it is none."""

from __future__ import annotations

from latentese.errors import AnswerError
from latentese.lm.beginning import without_beginning
from latentese.lm.protocol import Reply

_QUOTES = {'"': '"', "`": "`", "“": "”", "'": "'", "«": "»"}
_ENDS = " .;,"


def read_reply(reply: Reply, prefix: str, max_words: int) -> str:
    """Reduce a reply to one phrase, as `clean_answer` does; of a list that was cut off, its whole items are kept.

    Raises AnswerError when nothing usable is left.
    """
    if reply.finish == "stop":
        return clean_answer(reply.text, prefix, max_words)
    kept, comma, _ = reply.text.rpartition(",")
    if not comma:
        raise AnswerError("an answer cut off before it said anything whole")
    return clean_answer(kept, prefix, max_words)


def clean_answer(answer: str, prefix: str, max_words: int) -> str:
    """Reduce an answer to one phrase: first line, without the echoed prefix, quotes around all of it, or marks.

    Raises AnswerError when nothing is left, or more than `max_words` words.
    """
    lines = [" ".join(line.split()) for line in answer.splitlines()]
    text = next((line for line in lines if line), "")
    text = _without_quotes(text.replace("<<", "").replace(">>", "").strip(_ENDS))
    text = _without_quotes(without_beginning(text, prefix).lstrip(" :-").strip(_ENDS))
    if not any(char.isalnum() for char in text):
        raise AnswerError("empty answer" if not text else f"an answer without words: {text[:40]!r}")
    n_words = len(text.split())
    if n_words > max_words:
        raise AnswerError(f"an answer of {n_words} words, at most {max_words} allowed")
    return text


def _without_quotes(text: str) -> str:
    """Take off one pair of quotes that encloses the whole text: `'a', 'b'` keeps its own."""
    if len(text) < 2 or _QUOTES.get(text[0]) != text[-1]:
        return text
    inner = text[1:-1]
    return text if text[0] in inner or text[-1] in inner else inner.strip()
