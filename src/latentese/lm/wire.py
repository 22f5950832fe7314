"""How a conversation is put to a server and what its answer is taken from: chat or plain completions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from latentese.errors import AnswerError
from latentese.lm.beginning import without_beginning
from latentese.lm.prompts import Prompts, TranscriptPrompts
from latentese.lm.protocol import Finish, JsonRequest, Message, Reply, Request
from latentese.records import Usage
from latentese.store.files import sha256_json

_BYTES_PER_TOKEN = 3
"""Of UTF-8: fewer than most texts have, so that estimates are rather too high."""
_PIECE = re.compile(r"[^\W\d_]+|[^ ]")
"""What takes a token at least, as a rule: a word with the space before it, a digit, a sign, a tab, a line break."""
_TOKENS_PER_MESSAGE = 8
"""What chat templates write around a message, about."""


class Wire(Protocol):
    """One way to ask a server."""

    @property
    def path(self) -> str:
        """Below the base URL."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """What changes answers: enters the name that they are kept under."""
        ...

    def body(self, request: Request) -> dict[str, Any]:
        """Fields of the request, without the model."""
        ...

    def read(self, body: Mapping[str, Any], usage: Usage, request: Request) -> Reply:
        """Read the answer; raises AnswerError when there is none to use."""
        ...


@dataclass(frozen=True)
class ChatWire:
    """Conversations by `/chat/completions`; the server writes its own chat template around them."""

    prefix_fields: Mapping[str, Any] | None = None
    """Fields with which this server continues a last message of the assistant, such as vLLM's
    `{continue_final_message: true, add_generation_prompt: false}`; `{}` for servers that do it anyway (llama.cpp). None
    for those that cannot (OpenAI): the question then asks for an answer that begins so."""
    has_schemas: bool = True
    """Whether the server holds answers to a JSON schema."""
    renamed: Mapping[str, str | None] = field(default_factory=dict)
    """Fields that the server calls differently (`{max_tokens: max_completion_tokens}`), or does not take (null)."""
    extra_fields: Mapping[str, Any] = field(default_factory=dict)
    """Sent with every request as they are."""

    path = "/chat/completions"

    @property
    def settings(self) -> Mapping[str, Any]:
        """All fields."""
        return asdict(self)

    def body(self, request: Request) -> dict[str, Any]:
        """Fields of the request, without the model."""
        messages = list(request.messages)
        extra = dict(self.extra_fields)
        if prefix := _prefix(request):
            if self.prefix_fields is None:
                messages = _asking_for(prefix, messages[:-1])
            else:
                extra |= self.prefix_fields
        if self.has_schemas and isinstance(request, JsonRequest):
            extra["response_format"] = {"type": "json_schema", "json_schema": request.described}
        fields = {"messages": [asdict(message) for message in messages]} | _sampling(request)
        return _renamed(fields, self.renamed) | extra

    def read(self, body: Mapping[str, Any], usage: Usage, request: Request) -> Reply:
        """Read the answer, without the beginning that it was asked for."""
        choice = only_choice(body)
        message = choice.get("message")
        if not isinstance(message, Mapping):
            raise AnswerError("a response without a message")
        if message.get("refusal"):
            raise AnswerError(f"the model refuses: {str(message['refusal'])[:80]!r}")
        text = _text(message.get("content"))
        if prefix := _prefix(request):
            text = without_beginning(text, prefix)
        return _reply(text, choice, usage, request)


@dataclass(frozen=True)
class CompletionWire:
    """Conversations by `/completions`, written out here: for servers without chat, and for base models."""

    prompts: Prompts = field(default_factory=TranscriptPrompts)
    renamed: Mapping[str, str | None] = field(default_factory=dict)
    extra_fields: Mapping[str, Any] = field(default_factory=dict)

    path = "/completions"

    @property
    def settings(self) -> Mapping[str, Any]:
        """How prompts are written, and what is sent with them."""
        return {"prompts": self.prompts.name, "renamed": self.renamed, "extra_fields": self.extra_fields}

    def body(self, request: Request) -> dict[str, Any]:
        """Fields of the request, without the model."""
        fields = {"prompt": self.prompts.prompt(request)} | _sampling(request)
        return _renamed(fields, self.renamed) | dict(self.extra_fields)

    def read(self, body: Mapping[str, Any], usage: Usage, request: Request) -> Reply:
        """Read the text that continues the prompt."""
        choice = only_choice(body)
        return _reply(_text(choice.get("text")), choice, usage, request)


def only_choice(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the one choice of a response; raises AnswerError when there is another number of them."""
    choices = body.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], Mapping):
        n_choices = len(choices) if isinstance(choices, list) else "no list"
        raise AnswerError(f"a response with {n_choices} of choices, expected 1")
    return choices[0]


def most_of_answer(request: Request) -> Usage:
    """Estimate what an answer costs at most, with the schema that a server may have the model read."""
    schema = request.json_schema if isinstance(request, JsonRequest) else ""
    return most_of(request.messages, request.max_tokens, schema)


def most_of(messages: tuple[Message, ...], max_tokens: int, json_schema: str = "") -> Usage:
    """Estimate what a request costs at most, before a tokenizer has seen it: rather too much than too little.

        most(line) = max(bytes / 3, pieces)

    Pieces are words, digits, signs, tabs and line breaks: a list of tokens, one per line, has some 2 bytes per token.
    Lines are estimated one by one, or the sentences of a prompt, which bytes put too high, would make up for its lists.
    Still too low may be what is in another script than the tokenizer was made for: a character takes up to 3 tokens.
    """
    texts = (*(message.content for message in messages), json_schema)
    n_tokens = sum(_most_of_line(line) for text in texts for line in text.splitlines(keepends=True))
    return Usage(n_tokens + _TOKENS_PER_MESSAGE * len(messages), max_tokens)


def _most_of_line(line: str) -> int:
    n_bytes = len(line.encode("utf-8", "replace"))
    return max(math.ceil(n_bytes / _BYTES_PER_TOKEN), len(_PIECE.findall(line)))


def _prefix(request: Request) -> str | None:
    last = request.messages[-1]
    return last.content if last.role == "assistant" else None


def _asking_for(prefix: str, messages: list[Message]) -> list[Message]:
    """Ask for an answer that begins with `prefix`."""
    wish = f"Begin your answer with these words, and go on from there: {prefix}"
    if messages and messages[-1].role == "user":
        return [*messages[:-1], replace(messages[-1], content=f"{messages[-1].content}\n\n{wish}")]
    return [*messages, Message("user", wish)]


def _sampling(request: Request) -> dict[str, Any]:
    fields: dict[str, Any] = {"max_tokens": request.max_tokens, "temperature": request.temperature}
    if request.stop:
        fields["stop"] = list(request.stop)
    if request.temperature > 0:
        # Differs from sample to sample of one question, and is the same in every run.
        fields["seed"] = int(sha256_json(asdict(request))[:7], 16)
    return fields


def _renamed(fields: Mapping[str, Any], names: Mapping[str, str | None]) -> dict[str, Any]:
    """Call fields as the server does, and leave out what it does not take."""
    renamed = ((names.get(name, name), value) for name, value in fields.items())
    return {name: value for name, value in renamed if name is not None}


def _text(value: object) -> str:
    """Take text that can be written to files: halves of surrogate pairs become the replacement character."""
    if not isinstance(value, str):
        raise AnswerError(f"a response whose text is {type(value).__name__}")
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _reply(text: str, choice: Mapping[str, Any], usage: Usage, request: Request) -> Reply:
    """End the answer before the first stop string, in case the server does not."""
    reason = choice.get("finish_reason")
    if reason == "content_filter":
        raise AnswerError("the server's content filter took the answer")
    if not isinstance(reason, str):
        raise AnswerError("a response that does not say why it ends")
    stops = [at for at in (text.find(stop) for stop in request.stop) if at >= 0]
    finish: Finish = "length" if reason == "length" and not stops else "stop"
    return Reply(text[: min(stops)] if stops else text, usage, finish)
