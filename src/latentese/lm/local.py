"""A language model from a folder, run in this process: answers in batches, shared prompt prefixes computed once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from latentese.errors import AnswerError, SettingError
from latentese.lm.chat_format import ChatFormat, ForkedPrompt, MarkedPrompt, Prompt, TextPrompt
from latentese.lm.decoding import Decoder
from latentese.lm.engine import Engine
from latentese.lm.guides import Guides
from latentese.lm.protocol import ForkRequest, MarkReply, MarkRequest, Reply, Request, TextReply, TextRequest
from latentese.lm.sampling import Answer
from latentese.records import Usage
from latentese.weights.devices import definite_dtype
from latentese.weights.load import load_causal_lm, load_tokenizer
from latentese.weights.source import ModelSource

SLOTS_STEP = 1280
"""Prompt and answer are given a multiple of this many slots, so that most requests can be decoded side by side."""

Answered = TypeVar("Answered", Reply, MarkReply, TextReply)


@dataclass(frozen=True)
class Loaded:
    """A model and its tokenizer in memory."""

    engine: Engine
    format: ChatFormat
    end_ids: frozenset[int]
    guides: Guides

    def answer(self, request: Request) -> Answer:
        """Begin an answer."""
        return Answer(request, self.end_ids, self.format.decode, self.guides.of(request))


@dataclass(frozen=True)
class _Chat:
    """A conversation that waits for its answer."""

    answer: Answer
    prompt: Prompt
    n_slots: int
    """What requests must have in common to be decoded side by side."""
    reply: asyncio.Future[Reply]


@dataclass(frozen=True)
class _Marks:
    """A marked text that waits to be read."""

    prompt: MarkedPrompt
    candidates: tuple[int, ...]
    reply: asyncio.Future[MarkReply]

    def read(self, engine: Engine) -> MarkReply:
        """Read the text."""
        prompt = self.prompt
        hidden = engine.read(engine.prefix(prompt.shared), prompt.own).hidden[list(prompt.read_at)]
        return _mark_reply(engine.logprobs_of(hidden, self.candidates), len(prompt.shared) + len(prompt.own))


@dataclass(frozen=True)
class _Forks:
    """A text that waits to be read with what may follow at some places."""

    prompt: ForkedPrompt
    candidates: tuple[int, ...]
    reply: asyncio.Future[MarkReply]

    def read(self, engine: Engine) -> MarkReply:
        """Read the text and its forks."""
        prompt = self.prompt
        hidden = engine.read_forks(engine.prefix(prompt.shared), prompt.own, prompt.forks)
        return _mark_reply(engine.logprobs_of(hidden, self.candidates), prompt.n_tokens)


@dataclass(frozen=True)
class _Text:
    """A text that waits to be read for its own tokens."""

    prompt: TextPrompt
    reply: asyncio.Future[TextReply]

    def read(self, engine: Engine) -> TextReply:
        """Read the text."""
        prompt, n_text = self.prompt, self.prompt.n_text
        hidden = engine.read(engine.prefix(prompt.shared), prompt.own).hidden[-n_text - 1 : -1]
        each = engine.logprobs_of_each(hidden, prompt.own[-n_text:]).tolist()
        starts = (0, *(n_before for _, n_before in prompt.ends))
        logprobs = tuple(sum(each[low:high]) for low, high in pairwise(starts))
        usage = Usage(len(prompt.shared) + len(prompt.own))
        return TextReply(tuple(end for end, _ in prompt.ends), logprobs, usage)


class LocalLM:
    """Chat and token probabilities of one transformers model, which is loaded when it is first asked.

    Concurrent calls are answered together, yet every answer is a function of (model, request): see `lm.engine`.
    Number format, device and `n_rows` belong to that function, and so to the name.
    """

    def __init__(self, source: ModelSource, dtype: str = "auto", device: str = "cpu", n_rows: int = 16) -> None:
        if n_rows < 1:
            raise SettingError("n_rows", n_rows, "at least 1")
        self._source = source
        self._dtype = definite_dtype(dtype, device)
        self._device = device
        self._n_rows = n_rows
        self._chats: list[_Chat] = []
        self._texts: list[_Marks | _Forks | _Text] = []
        self._writing: dict[Answer, _Chat] = {}
        self._begins: tuple[int, ...] = ()
        """What the chat that was begun last begins with behind its shared messages."""
        self._worker: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Model, number format, device and rows."""
        return f"{self._source.name}/{self._dtype}/{self._device}/rows={self._n_rows}"

    async def complete(self, request: Request) -> Reply:
        """Answer a request, held to its schema if it has one.

        Raises AnswerError when prompt and answer do not fit into the model; SettingError when the shared messages and
        the answer alone do not, and for a schema that the answer cannot be held to.
        """
        loaded = self._loaded()
        prompt = loaded.format.prompt(request)
        n_read = len(prompt.ids)
        self._check_length(len(prompt.shared) + request.max_tokens, n_read - len(prompt.shared))
        n_tokens = n_read + request.max_tokens
        n_slots = math.ceil(n_tokens / SLOTS_STEP) * SLOTS_STEP
        chat = _Chat(loaded.answer(request), prompt, n_slots, asyncio.get_running_loop().create_future())
        self._chats.append(chat)
        return await self._answered(chat.reply)

    async def next_token_logprobs(self, request: MarkRequest) -> MarkReply:
        """Read a marked text.

        Raises SettingError for candidates that share a first token, and what `complete` does for a text too long.
        """
        loaded = self._loaded()
        prompt = loaded.format.marked(request)
        self._check_length(len(prompt.shared), len(prompt.own))
        candidates = loaded.format.first_tokens(request.candidates)
        marks = _Marks(prompt, candidates, asyncio.get_running_loop().create_future())
        self._texts.append(marks)
        return await self._answered(marks.reply)

    async def forked_logprobs(self, request: ForkRequest) -> MarkReply:
        """Read a text once and all its forks; raises what `next_token_logprobs` does."""
        loaded = self._loaded()
        prompt = loaded.format.forked(request)
        self._check_length(len(prompt.shared), prompt.n_longest - len(prompt.shared))
        candidates = loaded.format.first_tokens(request.candidates)
        forks = _Forks(prompt, candidates, asyncio.get_running_loop().create_future())
        self._texts.append(forks)
        return await self._answered(forks.reply)

    async def token_logprobs(self, request: TextRequest) -> TextReply:
        """Read a text; raises what `complete` does for one too long."""
        prompt = self._loaded().format.text(request)
        self._check_length(len(prompt.shared), len(prompt.own))
        text = _Text(prompt, asyncio.get_running_loop().create_future())
        self._texts.append(text)
        return await self._answered(text.reply)

    def _loaded(self) -> Loaded:
        return load_local(str(self._source.folder()), self._dtype, self._device)

    def _check_length(self, n_common: int, n_own: int) -> None:
        """Refuse what the model cannot read: one long text is a failed answer, what all have in common a wrong setting.

        n_common: tokens of the shared messages and of the longest answer.
        """
        longest = self._loaded().engine.max_tokens
        if n_common > longest:
            allowed = f"at most {longest} for {self._source.name}"
            raise SettingError("tokens of shared messages and answer", n_common, allowed)
        if n_common + n_own > longest:
            n_tokens = n_common + n_own
            raise AnswerError(f"prompt and answer take {n_tokens} tokens, at most {longest} for {self._source.name}")

    async def _answered(self, reply: asyncio.Future[Answered]) -> Answered:
        """Wait for an answer, with a worker running in this event loop."""
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())
        return await reply

    async def _work(self) -> None:
        """Answer what waits until nothing does; between two steps others run, read answers and ask more."""
        try:
            await asyncio.sleep(0)
            while self._chats or self._texts:
                if self._texts:
                    self._read(self._texts.pop(0))
                    await asyncio.sleep(0)
                else:
                    await self._decode(self._chats[0].n_slots)
        except Exception as error:  # whoever waits gets it; nobody awaits the worker
            self._abandon(error)
        finally:
            # A cancelled run leaves questions of a closed event loop behind.
            self._chats, self._texts, self._writing = [], [], {}

    def _read(self, text: _Marks | _Forks | _Text) -> None:
        """Read a text, and answer; when that fails, it alone has no answer."""
        waiting: asyncio.Future[Any] = text.reply
        try:
            reply = text.read(self._loaded().engine)
        except Exception as error:  # whoever waits gets it
            if not waiting.done():
                waiting.set_exception(error)
        else:
            if not waiting.done():
                waiting.set_result(reply)

    def _abandon(self, error: Exception) -> None:
        chats = (*self._chats, *self._writing.values())
        replies: list[asyncio.Future[Any]] = [*(chat.reply for chat in chats), *(text.reply for text in self._texts)]
        for reply in replies:
            if not reply.done():
                reply.set_exception(error)

    async def _decode(self, n_slots: int) -> None:
        """Decode all waiting requests of one length, those included that arrive meanwhile."""
        decoder = Decoder(self._loaded().engine, self._n_rows, n_slots)
        while True:
            for chat in self._take(n_slots, decoder):
                self._writing[chat.answer] = chat
                decoder.begin(chat.prompt, chat.answer)
                self._finish([chat.answer] if chat.answer.has_ended else [])
            if decoder.is_idle:
                return
            self._finish(decoder.step())
            await asyncio.sleep(0)

    def _take(self, n_slots: int, decoder: Decoder) -> Iterator[_Chat]:
        """Hand out waiting requests of this length while there is room: first one that begins like the last."""
        waiting = [chat for chat in self._chats if chat.n_slots == n_slots]
        while waiting and decoder.has_room:
            alike = (chat for chat in waiting if self._begins and chat.prompt.begins == self._begins)
            chat = next(alike, waiting[0])
            self._begins = chat.prompt.begins
            waiting.remove(chat)
            self._chats.remove(chat)
            yield chat

    def _finish(self, answers: list[Answer]) -> None:
        for answer in answers:
            chat = self._writing.pop(answer)
            usage = Usage(len(chat.prompt.ids), answer.n_tokens)
            if chat.reply.done():
                continue
            if answer.problem is not None:
                chat.reply.set_exception(answer.problem)
            elif answer.finish is not None:
                chat.reply.set_result(Reply(answer.text, usage, answer.finish))


@cache
def load_local(folder: str, dtype: str, device: str) -> Loaded:
    """Load a model and its tokenizer, once per process: explainers and simulators share the memory."""
    tokenizer = load_tokenizer(Path(folder))
    model = load_causal_lm(Path(folder), dtype, device)
    engine, chat_format = Engine(model), ChatFormat(tokenizer)
    end_ids = chat_format.end_ids() | _end_ids(model.generation_config.eos_token_id)
    return Loaded(engine, chat_format, end_ids, Guides(tokenizer, end_ids, engine.n_vocab))


def _mark_reply(logprobs: Tensor, n_read: int) -> MarkReply:
    return MarkReply(tuple(tuple(row) for row in logprobs.tolist()), Usage(n_read))


def _end_ids(configured: int | list[int] | None) -> frozenset[int]:
    if configured is None:
        return frozenset()
    return frozenset(configured) if isinstance(configured, list) else frozenset([configured])
