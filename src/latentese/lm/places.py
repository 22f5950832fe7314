"""What a server says of the tokens of a prompt and of an answer, in the forms that servers use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from latentese.errors import AnswerError
from latentese.lm.offsets import token_ends
from latentese.lm.prompts import TextPrompt

Top = Mapping[str | int, float]
"""Log-probabilities of the tokens that are listed at one place, by text, or by id where the server tells ids."""


class Place(NamedTuple):
    """A token of the server, and what else could have been there."""

    text: str
    top: Top | None
    """None for the first token of a prompt, which follows nothing."""
    logprob: float | None = None
    """Of the token itself, where the server tells it."""

    @property
    def floor(self) -> float | None:
        """What a token that is not listed has at most: the lowest of those listed for being likely.

        The token that is there is listed too, however unlikely, so it is no bound; nor would its rank tell in OpenAI's
        lists, where tokens of the same text are one.
        """
        listed = (self.top or {}).values()
        return min([logprob for logprob in listed if logprob != self.logprob] or listed, default=None)


def read_places(logprobs: object) -> list[Place]:
    """Read `logprobs` of a choice: in lists per field (OpenAI, vLLM), or as a list of tokens (llama.cpp, chat)."""
    if not isinstance(logprobs, Mapping):
        raise AnswerError("the server gives no log-probabilities")
    try:
        if logprobs.get("content") is not None:
            return [
                Place(item["token"], _top_of(item["top_logprobs"]), _own(item.get("logprob")))
                for item in logprobs["content"]
            ]
        tops = [None if top is None else _numbers(top) for top in logprobs["top_logprobs"]]
        own = logprobs.get("token_logprobs") or [None] * len(tops)
        of_tokens = zip(logprobs["tokens"], tops, own, strict=True)
        return [Place(str(text), top, _own(logprob)) for text, top, logprob in of_tokens]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise AnswerError(f"log-probabilities in a form that is not known ({error})") from error


def read_prompt_places(prompt_logprobs: object) -> list[Place]:
    """Read vLLM's list: of each prompt token, None or `{id: {logprob, rank, decoded_token}}`, itself included."""
    if not isinstance(prompt_logprobs, Sequence):
        raise AnswerError("the server gives no prompt log-probabilities")
    try:
        return [Place("", None) if listed is None else _place_of(listed) for listed in prompt_logprobs]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise AnswerError(f"prompt log-probabilities in a form that is not known ({error})") from error


def text_logprobs(places: Sequence[Place], prompt: TextPrompt) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Find where the text's tokens end, and their log-probabilities, among the places of a prompt and one more.

    A token of the server that begins before the text, with a space as a rule, counts as the text's first.
    """
    if isinstance(prompt.prompt, str):
        all_ends = token_ends([place.text for place in places[:-1]], prompt.prompt)
        n_before = max((number for end, number in all_ends.items() if end <= prompt.begin), default=0)
        ends = sorted((end - prompt.begin, number) for end, number in all_ends.items() if end > prompt.begin)
    else:
        if len(places) != len(prompt.prompt) + 1:
            raise AnswerError(f"log-probabilities of {len(places)} tokens, expected {len(prompt.prompt) + 1}")
        n_before = prompt.begin
        ends = [(end, n_before + number) for end, number in prompt.ends]
    numbers = [n_before, *(number for _, number in ends)]
    own = [place.logprob for place in places[:-1]]
    found = [own[low:high] for low, high in pairwise(numbers)]
    if any(logprob is None or not math.isfinite(logprob) for part in found for logprob in part):
        raise AnswerError("the server does not tell how likely each token of the text is")
    return tuple(end for end, _ in ends), tuple(sum(logprob or 0.0 for logprob in part) for part in found)


def _place_of(listed: Mapping[str, Any]) -> Place:
    """Read one place of vLLM's: the prompt's own token comes first."""
    texts = {token: str(entry.get("decoded_token") or "") for token, entry in listed.items()}
    by_id = {int(token): entry["logprob"] for token, entry in listed.items()}
    by_text = {texts[token]: entry["logprob"] for token, entry in reversed(list(listed.items()))}
    own = next(iter(listed))
    return Place(texts[own], _numbers(by_text | by_id), _own(by_id[int(own)]))


def _top_of(listed: Sequence[Mapping[str, Any]]) -> Top:
    """Read tokens that are listed with their text and, by llama.cpp, their id."""
    by_text = {item["token"]: item["logprob"] for item in reversed(listed)}  # the likelier of two that look alike
    by_id = {item["id"]: item["logprob"] for item in listed if "id" in item}
    return _numbers(by_text | by_id)


def _numbers(top: Mapping[Any, Any]) -> Top:
    """Check that log-probabilities are numbers; texts such as `token_id:7`, which vLLM can send, become ids."""
    named = {_token(key): value for key, value in top.items()}
    for value in named.values():
        _check_number(value)
    return named


def _own(value: Any) -> float | None:
    """Check the log-probability of a token itself, which the first of a prompt has not."""
    if value is not None:
        _check_number(value)
    return None if value is None else float(value)


def _check_number(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ValueError(f"{value!r} is no log-probability")


def _token(key: str | int) -> str | int:
    return int(key.removeprefix("token_id:")) if isinstance(key, str) and key.startswith("token_id:") else key
