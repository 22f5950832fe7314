"""How log-probabilities inside a given text are had from a server: three ways, as servers differ in what they give.

A server lists the likeliest tokens of each place only. A candidate that is not listed has an unknown, lower
log-probability: the answer then fails, unless `floor_unlisted` takes the lowest that is listed, which is too high. (The
token that stands in the text is listed however unlikely it is, and does not count.)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from latentese.errors import AnswerError, SettingError
from latentese.lm.offsets import token_ends
from latentese.lm.places import Place, read_places, read_prompt_places
from latentese.lm.prompts import MarkedPrompt
from latentese.lm.together import answer_all

Ask = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Asks for one completion by its fields and returns the one choice of the response."""


class MarkReading(Protocol):
    """One way to read marked texts."""

    @property
    def floor_unlisted(self) -> bool:
        """Whether a candidate that is not listed gets the lowest listed log-probability."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """What changes answers: enters the name that they are kept under."""
        ...

    def n_requests(self, n_marks: int) -> int:
        """How many requests a text takes, when every mark is where a token of the server ends."""
        ...

    async def places(self, prompt: MarkedPrompt, ask: Ask) -> list[Place]:
        """Read what may follow each mark; raises AnswerError when the server does not tell."""
        ...

    async def prompt_places(self, prompt: str | list[int], ask: Ask) -> list[Place]:
        """Read the tokens of a prompt and one token after it; raises AnswerError when the server does not tell."""
        ...


@dataclass(frozen=True)
class NextToken:
    """One question per mark, for the token that follows: for servers that give no prompt log-probabilities.

    llama.cpp and LM Studio. A server that keeps prompts reads only what is new since the mark before.
    """

    n_logprobs: int = 100
    """Tokens listed per mark."""
    floor_unlisted: bool = False
    ids_field: str | None = None
    """Field that takes the ids of the tokens to list, such as vLLM's `logprob_token_ids`: all candidates are listed."""

    def __post_init__(self) -> None:
        _check(self.n_logprobs)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What changes answers."""
        return _settings("next_token", self)

    def n_requests(self, n_marks: int) -> int:
        """One per mark."""
        return n_marks

    async def places(self, prompt: MarkedPrompt, ask: Ask) -> list[Place]:
        """Ask at each mark, all at once."""
        return await answer_all(self.place(prompt, mark, ask) for mark in prompt.marks)

    async def prompt_places(self, prompt: str | list[int], ask: Ask) -> list[Place]:
        """Raise SettingError: a server that lists the likeliest tokens only knows nothing of the one that is there."""
        raise SettingError("marks", "NextToken", "Echo or PromptLogprobs, to read how likely a text is")

    async def place(self, prompt: MarkedPrompt, mark: int, ask: Ask) -> Place:
        """Ask at one mark."""
        fields: dict[str, Any] = {"prompt": prompt.up_to(mark), "logprobs": self.n_logprobs}
        if self.ids_field and prompt.candidate_ids:
            fields[self.ids_field] = list(prompt.candidate_ids)
        places = read_places((await ask(fields)).get("logprobs"))
        if len(places) != 1 or not places[0].top:
            raise AnswerError(f"log-probabilities of {len(places)} tokens, expected 1")
        return places[0]


@dataclass(frozen=True)
class Echo:
    """One question per text, whose prompt comes back with log-probabilities: `echo` and `logprobs`.

    OpenAI's first completion models, and servers after their fashion. Where a token of the server runs across a mark,
    the text before that mark is asked about on its own.
    """

    n_logprobs: int = 20
    floor_unlisted: bool = False

    def __post_init__(self) -> None:
        _check(self.n_logprobs)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What changes answers."""
        return _settings("echo", self)

    def n_requests(self, n_marks: int) -> int:
        """One in all."""
        return 1

    async def places(self, prompt: MarkedPrompt, ask: Ask) -> list[Place]:
        """Ask once."""
        places = await self.prompt_places(prompt.prompt, ask)
        return await _at_marks(places, prompt, ask, NextToken(self.n_logprobs))

    async def prompt_places(self, prompt: str | list[int], ask: Ask) -> list[Place]:
        """Ask once."""
        choice = await ask({"prompt": prompt, "logprobs": self.n_logprobs, "echo": True})
        return read_places(choice.get("logprobs"))


@dataclass(frozen=True)
class PromptLogprobs:
    """One question per text, with vLLM's field `prompt_logprobs`.

    vLLM lists at most 20 tokens unless it is started with `--max-logprobs`.
    """

    n_logprobs: int = 20
    floor_unlisted: bool = False

    def __post_init__(self) -> None:
        _check(self.n_logprobs)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What changes answers."""
        return _settings("prompt_logprobs", self)

    def n_requests(self, n_marks: int) -> int:
        """One in all."""
        return 1

    async def places(self, prompt: MarkedPrompt, ask: Ask) -> list[Place]:
        """Ask once."""
        places = await self.prompt_places(prompt.prompt, ask)
        return await _at_marks(places, prompt, ask, NextToken(self.n_logprobs))

    async def prompt_places(self, prompt: str | list[int], ask: Ask) -> list[Place]:
        """Ask once."""
        n_listed = self.n_logprobs
        choice = await ask({"prompt": prompt, "logprobs": n_listed, "prompt_logprobs": n_listed})
        return [*read_prompt_places(choice.get("prompt_logprobs")), *read_places(choice.get("logprobs"))]


def candidate_logprobs(place: Place, prompt: MarkedPrompt, floor_unlisted: bool) -> tuple[float, ...]:
    """Look up each candidate's log-probability; raises AnswerError for one that is not listed."""
    top = place.top or {}
    ids = prompt.candidate_ids or (-1,) * len(prompt.candidates)
    values = []
    for text, token in zip(prompt.candidates, ids, strict=True):
        value = top.get(token) if token in top else top.get(text)
        if value is None and floor_unlisted:
            value = place.floor
        if value is None:
            raise AnswerError(f"{text!r} is not among the tokens that the server lists: raise n_logprobs")
        values.append(value)
    return tuple(values)


async def _at_marks(places: Sequence[Place], prompt: MarkedPrompt, ask: Ask, alone: NextToken) -> list[Place]:
    """Pick what follows each mark from the places of a prompt and of one token after it.

    A mark inside a token of the server is asked about alone.
    """
    number_at = _numbers_at(places, prompt)
    found = {mark: places[number_at[mark]] for mark in prompt.marks if mark in number_at}
    alone_at = [mark for mark in prompt.marks if mark not in found or not found[mark].top]
    left = await answer_all(alone.place(prompt, mark, ask) for mark in alone_at)
    found |= dict(zip(alone_at, left, strict=True))
    return [found[mark] for mark in prompt.marks]


def _numbers_at(places: Sequence[Place], prompt: MarkedPrompt) -> Mapping[int, int]:
    """Find the number of the place that follows each mark, for marks at which a token of the server ends."""
    if isinstance(prompt.prompt, str):
        return token_ends([place.text for place in places[:-1]], prompt.prompt)
    if len(places) != len(prompt.prompt) + 1:
        raise AnswerError(f"log-probabilities of {len(places)} tokens, expected {len(prompt.prompt) + 1}")
    return {mark: mark for mark in prompt.marks}


def _settings(reading: str, of: NextToken | Echo | PromptLogprobs) -> Mapping[str, Any]:
    """Name a reading. How many tokens are listed changes no answer, unless the lowest of them stands for others."""
    return {"reading": reading} | ({"n_logprobs": of.n_logprobs} if of.floor_unlisted else {})


def _check(n_logprobs: int) -> None:
    if n_logprobs < 1:
        raise SettingError("n_logprobs", n_logprobs, "at least 1")
