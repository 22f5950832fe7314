"""What a language model is asked and what it answers; what explainers and simulators are given.

An answer is a function of (model, request): it depends neither on the requests it is batched with nor on the order
they come in. So an answer may be kept for ever under the hash of its request (`lm.cached`), and a run that was
killed and resumed gives the bytes of an undisturbed one. Requests are hashed as they are: every field counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from latentese.errors import SettingError
from latentese.records import Usage

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    `content` is text only: a model's own control markers inside it, such as `<|im_start|>`, are not control markers.
    """

    role: Role
    content: str


@dataclass(frozen=True)
class Request:
    """A conversation to continue. A last message of the assistant is a prefix, which the answer continues."""

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    """0 takes the likeliest token each time; above 0 samples, with a seed derived from the request."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these strings."""
    sample_idx: int = 0
    """Numbers independent samples of one question."""
    n_shared: int = 0
    """So many leading messages are the same in many requests: a local model computes them once."""

    def __post_init__(self) -> None:
        _check_messages(self.messages, self.n_shared)
        if self.max_tokens < 1:
            raise SettingError("max_tokens", self.max_tokens, "at least 1")
        if self.temperature < 0:
            raise SettingError("temperature", self.temperature, "0 (greedy) or more")
        if self.messages[-1] == Message("assistant", ""):
            raise SettingError("messages", self.messages[-1], "leave an empty assistant prefix out")
        # 1 and 1.0 are equal, as are 0.0 and -0.0, yet not in the JSON under whose hash an answer is kept and sampled.
        object.__setattr__(self, "temperature", float(self.temperature) + 0.0)


@dataclass(frozen=True)
class JsonRequest(Request):
    """A question whose answer is to be one JSON value of a given schema.

    A model in this process is held to it, as are servers that offer it. Any other answers freely, so whoever asks
    checks the answer.
    """

    json_schema: str = "{}"
    """The schema as JSON text."""
    n_shared_characters: int = 0
    """So many characters that the last message begins with are the same in some requests, where all messages before it
    are shared: a local model computes them once while it answers these. A token ends there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        n_characters = len(self.messages[-1].content) if self.n_shared == len(self.messages) - 1 else 0
        if not 0 <= self.n_shared_characters <= n_characters:
            allowed = f"0 to {n_characters}, of a last message behind shared ones"
            raise SettingError("n_shared_characters", self.n_shared_characters, allowed)
        if self.messages[-1].role == "assistant":
            raise SettingError("messages", self.messages[-1], "a question; a JSON answer is written whole")
        try:
            is_schema = isinstance(json.loads(self.json_schema), dict)
        except ValueError:
            is_schema = False
        if not is_schema:
            raise SettingError("json_schema", self.json_schema[:60], "a JSON schema as JSON text")

    @property
    def described(self) -> dict[str, Any]:
        """The schema as OpenAI's `response_format` wants it."""
        return {"name": "answer", "strict": True, "schema": json.loads(self.json_schema)}


@dataclass(frozen=True)
class Reply:
    """What a model answered: the text alone, without the assistant prefix it continues."""

    text: str
    usage: Usage
    finish: Finish
    """`stop`: the model ended, or a stop string came; `length`: cut at `max_tokens`."""


@dataclass(frozen=True)
class MarkRequest:
    """A conversation whose last message is read once, with the next-token distribution wanted at some places in it."""

    messages: tuple[Message, ...]
    marks: tuple[int, ...]
    """Character offsets in the last message's content, ascending, each at least 1: what follows `content[:mark]`?"""
    candidates: tuple[str, ...]
    """Texts that may follow a mark, judged by their first token, which must differ from candidate to candidate."""
    n_shared: int = 0
    """So many leading messages, fewer than all, are the same in many requests."""

    def __post_init__(self) -> None:
        _check_messages(self.messages, self.n_shared)
        length = len(self.messages[-1].content)
        ascending = all(low < high for low, high in zip(self.marks, self.marks[1:], strict=False))
        if not self.marks or not ascending or self.marks[0] < 1 or self.marks[-1] > length:
            raise SettingError("marks", self.marks, f"ascending offsets in 1..{length} of the last message")
        if not self.candidates or "" in self.candidates:
            raise SettingError("candidates", self.candidates, "at least one, none of them empty")


@dataclass(frozen=True)
class MarkReply:
    """Log-probabilities (nats, over the whole vocabulary) of each candidate's first token at each mark."""

    logprobs: tuple[tuple[float, ...], ...]
    """[n_marks][n_candidates]."""
    usage: Usage


@dataclass(frozen=True)
class ForkRequest:
    """A conversation whose last message may end at some places: what follows where the assistant then begins to answer.

    `alone` has the conversations one by one. They begin alike, so a model in this process reads that once.
    """

    messages: tuple[Message, ...]
    marks: tuple[int, ...]
    """Character offsets in the last message's content, ascending, each at least 1: the message ends at `[:mark]`."""
    answers: tuple[str, ...]
    """What the assistant has begun to say at each mark, none of them empty."""
    candidates: tuple[str, ...]
    """Texts that may follow an answer, judged by their first token, which must differ from candidate to candidate."""
    n_shared: int = 0
    """So many leading messages, fewer than all, are the same in many requests."""

    def __post_init__(self) -> None:
        MarkRequest(self.messages, self.marks, self.candidates, self.n_shared)  # checks what both have
        if len(self.answers) != len(self.marks) or "" in self.answers:
            raise SettingError("answers", self.answers, f"{len(self.marks)}, one for each mark, none of them empty")

    @property
    def alone(self) -> tuple[MarkRequest, ...]:
        """One request per mark."""
        return tuple(self._alone(mark, answer) for mark, answer in zip(self.marks, self.answers, strict=True))

    def _alone(self, mark: int, answer: str) -> MarkRequest:
        *before, last = self.messages
        cut = Message(last.role, last.content[:mark])
        messages = (*before, cut, Message("assistant", answer))
        return MarkRequest(messages, (len(answer),), self.candidates, self.n_shared)


@dataclass(frozen=True)
class TextRequest:
    """A conversation whose last message is read once, with the probability of each of its tokens wanted."""

    messages: tuple[Message, ...]
    n_shared: int = 0
    """So many leading messages, fewer than all, are the same in many requests."""

    def __post_init__(self) -> None:
        _check_messages(self.messages, self.n_shared)
        if not self.messages[-1].content:
            raise SettingError("messages", self.messages[-1], "a last message with some text to read")


@dataclass(frozen=True)
class TextReply:
    """Log-probabilities (nats) of the last message's own tokens, as the model cuts it, each given all before it."""

    ends: tuple[int, ...]
    """Character offsets in the message at which its tokens end, rising to its length; tokens that make up one character
    together count as one."""
    logprobs: tuple[float, ...]
    """One per end."""
    usage: Usage


Question = Request | MarkRequest | ForkRequest | TextRequest
"""Anything that a language model is asked."""


class Chat(Protocol):
    """A language model that continues conversations."""

    @property
    def name(self) -> str:
        """Identity of the model, with what changes its answers (revision or hash, number format)."""
        ...

    async def complete(self, request: Request) -> Reply:
        """Answer one request; concurrent calls are answered in batches."""
        ...


class Marker(Protocol):
    """A language model that tells next-token probabilities inside a given text."""

    @property
    def name(self) -> str:
        """Identity of the model, with what changes its answers."""
        ...

    async def next_token_logprobs(self, request: MarkRequest) -> MarkReply:
        """Read one text; concurrent calls share what their leading messages have in common."""
        ...


class TextReader(Protocol):
    """A language model that tells how likely a given text is, token by token."""

    @property
    def name(self) -> str:
        """Identity of the model, with what changes its answers."""
        ...

    async def token_logprobs(self, request: TextRequest) -> TextReply:
        """Read one text; concurrent calls share what their leading messages have in common."""
        ...


class Embedder(Protocol):
    """A model that turns texts into vectors."""

    @property
    def name(self) -> str:
        """Identity of the model."""
        ...

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embed each text: float32 [n_texts, d_embedding], unit norm; a text's vector depends on that text alone."""
        ...


def _check_messages(messages: tuple[Message, ...], n_shared: int) -> None:
    if not messages:
        raise SettingError("messages", messages, "at least one message")
    if not 0 <= n_shared < len(messages):
        raise SettingError("n_shared", n_shared, f"0..{len(messages) - 1}: the last message is never shared")
