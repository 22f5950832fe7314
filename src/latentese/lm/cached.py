"""Language models that ask nothing twice: kept answers first, then the model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Protocol, TypeVar

from latentese.errors import AnswerError
from latentese.lm.answers import AnswerStore
from latentese.lm.forks import ForkReader, logprobs_one_by_one
from latentese.lm.protocol import (
    Chat,
    ForkRequest,
    Marker,
    MarkReply,
    MarkRequest,
    Question,
    Reply,
    Request,
    TextReader,
    TextReply,
    TextRequest,
)
from latentese.lm.usage import Ledger, Meter
from latentese.records import Usage
from latentese.store.files import canonical_json

Asked = TypeVar("Asked", Request, MarkRequest, ForkRequest, TextRequest)
Answered = TypeVar("Answered", Reply, MarkReply, TextReply)


class FullLM(Chat, Marker, TextReader, Protocol):
    """A language model that chats and tells probabilities."""


class CachedChat:
    """A chat model behind an answer store; errors are not kept, so whoever asks later asks again what failed."""

    def __init__(self, lm: Chat, path: str | Path) -> None:
        self.inner = lm
        self._store = AnswerStore(Path(path))
        self._under_way: dict[Question, asyncio.Future[str | AnswerError]] = {}
        self.ledger = Ledger()
        """Requests and tokens since this object was made."""

    @property
    def name(self) -> str:
        """Name of the model inside: a cache changes no answer."""
        return self.inner.name

    async def complete(self, request: Request) -> Reply:
        """Answer from the store, or ask the model and keep its answer."""
        return await self._ask(self.name, request, self.inner.complete, _chat_reply)

    def kept(self, request: Request) -> Reply | None:
        """Return the answer that the store holds."""
        return self._kept(self.name, request, _chat_reply)

    async def probe(self) -> None:
        """Find out whether a served model answers; raises LatenteseError when it does not. Nothing, for others."""
        if hasattr(self.inner, "probe"):
            await self.inner.probe()

    @property
    def meter(self) -> Meter | None:
        """What went to a served model, failures and repetitions included."""
        return getattr(self.inner, "meter", None)

    def _kept(self, model: str, request: Question, parse: Callable[[str], Answered]) -> Answered | None:
        kept = self._store.get(model, type(request).__name__, asdict(request))
        return None if kept is None else parse(kept)

    async def _ask(
        self,
        model: str,
        request: Asked,
        ask: Callable[[Asked], Awaitable[Answered]],
        parse: Callable[[str], Answered],
    ) -> Answered:
        kind, fields = type(request).__name__, asdict(request)
        kept = self._store.get(model, kind, fields) or await self._same_under_way(request)
        if kept is not None:
            self.ledger.add_cached()
            return parse(kept)
        self._under_way[request] = asyncio.get_running_loop().create_future()
        outcome: str | AnswerError = ""
        try:
            reply = await ask(request)
            outcome = kept = self._store.put(model, kind, fields, canonical_json(asdict(reply)))
        except AnswerError as error:
            outcome = error
            self.ledger.add_failed()
            raise
        finally:
            self._under_way.pop(request).set_result(outcome)
        self.ledger.add_asked(reply.usage)
        return parse(kept)

    async def _same_under_way(self, request: Question) -> str | None:
        """Wait for an identical request that is being answered; None when there is none, or it was given up.

        Raises its AnswerError: who asks at the same time has the same answer, and a failure may cost as much as one.
        """
        while request in self._under_way:
            outcome = await asyncio.shield(self._under_way[request])
            if isinstance(outcome, AnswerError):
                self.ledger.add_failed()
                raise outcome
            if outcome:
                return outcome
        return None


class CachedLM(CachedChat):
    """A model that chats and reads texts, behind an answer store."""

    def __init__(self, lm: FullLM, path: str | Path) -> None:
        super().__init__(lm, path)
        self._reader = lm

    @property
    def marks_name(self) -> str:
        """Name that texts are kept under; a served model may read them otherwise than it chats."""
        return getattr(self._reader, "marks_name", self.name)

    async def next_token_logprobs(self, request: MarkRequest) -> MarkReply:
        """Answer from the store, or ask the model and keep its answer."""
        return await self._ask(self.marks_name, request, self._reader.next_token_logprobs, _mark_reply)

    async def forked_logprobs(self, request: ForkRequest) -> MarkReply:
        """Answer from the store, or ask the model and keep its answer: fork by fork, if it is asked so."""
        if isinstance(self._reader, ForkReader):
            return await self._ask(self.marks_name, request, self._reader.forked_logprobs, _mark_reply)
        return await logprobs_one_by_one(self, request)

    async def token_logprobs(self, request: TextRequest) -> TextReply:
        """Answer from the store, or ask the model and keep its answer."""
        return await self._ask(self.marks_name, request, self._reader.token_logprobs, _text_reply)

    def kept_marks(self, request: MarkRequest | ForkRequest) -> MarkReply | None:
        """Return the answer that the store holds."""
        return self._kept(self.marks_name, request, _mark_reply)

    def kept_text(self, request: TextRequest) -> TextReply | None:
        """Return the answer that the store holds."""
        return self._kept(self.marks_name, request, _text_reply)


def _chat_reply(kept: str) -> Reply:
    fields = json.loads(kept)
    return Reply(fields["text"], Usage(**fields["usage"]), fields["finish"])


def _mark_reply(kept: str) -> MarkReply:
    fields = json.loads(kept)
    return MarkReply(tuple(tuple(row) for row in fields["logprobs"]), Usage(**fields["usage"]))


def _text_reply(kept: str) -> TextReply:
    fields = json.loads(kept)
    return TextReply(tuple(fields["ends"]), tuple(fields["logprobs"]), Usage(**fields["usage"]))
