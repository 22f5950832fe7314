"""Conversations as the prompt of a plain completion: token ids where the tokenizer is at hand, else text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from latentese.lm.protocol import MarkRequest, Message, Request, TextRequest

if TYPE_CHECKING:
    from latentese.lm.chat_format import ChatFormat
    from latentese.weights.source import ModelSource


@dataclass(frozen=True)
class MarkedPrompt:
    """A prompt that ends at the last mark."""

    prompt: str | list[int]
    marks: tuple[int, ...]
    """How much of the prompt stands before each mark: characters of a text, tokens of ids."""
    candidates: tuple[str, ...]
    """Text of each candidate's first token, as far as it is known."""
    candidate_ids: tuple[int, ...] = ()
    """Ids of these tokens; empty when there is no tokenizer."""

    def up_to(self, mark: int) -> str | list[int]:
        """Return the prompt up to one of its marks."""
        return self.prompt[:mark]


@dataclass(frozen=True)
class TextPrompt:
    """A prompt that ends with a text to be read."""

    prompt: str | list[int]
    begin: int
    """How much of the prompt stands before the text: characters of a text, tokens of ids."""
    ends: tuple[tuple[int, int], ...] = ()
    """Of ids: offset in the text, and how many tokens of the text end at or before it. The tokens of a text are the
    server's business."""


class Prompts(Protocol):
    """Writes conversations out."""

    @property
    def name(self) -> str:
        """What changes prompts."""
        ...

    def prompt(self, request: Request) -> str | list[int]:
        """Write a conversation up to where the answer begins."""
        ...

    def marked(self, request: MarkRequest) -> MarkedPrompt:
        """Write a conversation up to its last mark."""
        ...

    def text(self, request: TextRequest) -> TextPrompt:
        """Write a conversation up to the end of its last message."""
        ...


@dataclass(frozen=True)
class TranscriptPrompts:
    """A transcript in plain text (`User: ...`), for when the tokenizer is not at hand.

    The server cuts it into tokens, and takes control tokens in it for what they are: a text that holds `<|im_end|>`
    may end its own prompt there, though never another's. A candidate must be one token of the model.
    """

    name = "transcript"

    def prompt(self, request: Request) -> str:
        """Write a conversation up to where the answer begins."""
        if request.messages[-1].role == "assistant":
            return _transcript(request.messages)
        return f"{_transcript(request.messages)}\n\nAssistant:"

    def marked(self, request: MarkRequest) -> MarkedPrompt:
        """Write a conversation up to its last mark."""
        text = _transcript(request.messages)
        before = len(text) - len(request.messages[-1].content)
        marks = tuple(before + mark for mark in request.marks)
        return MarkedPrompt(text[: marks[-1]], marks, request.candidates)

    def text(self, request: TextRequest) -> TextPrompt:
        """Write a conversation up to the end of its last message."""
        text = _transcript(request.messages)
        return TextPrompt(text, len(text) - len(request.messages[-1].content))


@dataclass(frozen=True)
class TokenPrompts:
    """Token ids by the served model's own tokenizer and chat template, as an in-process model reads them.

    Contents are encoded with control tokens switched off, so no text can end its message.
    """

    tokenizer: ModelSource
    """Where the tokenizer of the served model is."""

    @property
    def name(self) -> str:
        """Name of the tokenizer's source."""
        return f"tokens of {self.tokenizer.name}"

    def prompt(self, request: Request) -> list[int]:
        """Encode a conversation up to where the answer begins."""
        return list(self._format.prompt(request).ids)

    def marked(self, request: MarkRequest) -> MarkedPrompt:
        """Encode a conversation up to its last mark, with a token's end at every mark."""
        prompt = self._format.marked(request)
        ids = self._format.first_tokens(request.candidates)
        marks = tuple(len(prompt.shared) + at + 1 for at in prompt.read_at)
        texts = tuple(self._format.decode([token]) for token in ids)
        return MarkedPrompt([*prompt.shared, *prompt.own], marks, texts, ids)

    def text(self, request: TextRequest) -> TextPrompt:
        """Encode a conversation up to the end of its last message."""
        prompt = self._format.text(request)
        ids = [*prompt.shared, *prompt.own]
        return TextPrompt(ids, len(ids) - prompt.n_text, prompt.ends)

    @cached_property
    def _format(self) -> ChatFormat:
        from latentese.lm.chat_format import ChatFormat
        from latentese.weights.load import load_tokenizer

        return ChatFormat(load_tokenizer(Path(self.tokenizer.folder())))


def _transcript(messages: Sequence[Message]) -> str:
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in messages)
