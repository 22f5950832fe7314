"""Language models behind a server that speaks the OpenAI API: OpenAI, vLLM, llama.cpp, LM Studio and others."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from tqdm import tqdm

from latentese.errors import AnswerError, SettingError
from latentese.lm.asking import Answered, Asker
from latentese.lm.budget import Budget, Price
from latentese.lm.endpoint import Endpoint
from latentese.lm.marks import MarkReading, NextToken, candidate_logprobs
from latentese.lm.pacing import Limits, Pacer
from latentese.lm.places import text_logprobs
from latentese.lm.prompts import Prompts, TranscriptPrompts
from latentese.lm.protocol import MarkReply, MarkRequest, Message, Reply, Request, TextReply, TextRequest
from latentese.lm.usage import Meter, SpentError
from latentese.lm.wire import CompletionWire, Wire, most_of, most_of_answer, only_choice
from latentese.records import Usage
from latentese.store.files import sha256_json

_TRIAL = MarkRequest((Message("user", "1, 2, 3, 4, "),), (6, 9), ("5",))
"""A text whose reading shows whether a server can read any."""


class ServedChat:
    """A model that chats. It tells no probabilities: `ServedLM` does where its server can.

    Every failure is an AnswerError, so that it becomes a counted row, but for what would fail every request alike
    (key, model) and the end of the budget.
    """

    def __init__(self, endpoint: Endpoint, wire: Wire, budget: Budget, limits: Limits | None = None) -> None:
        self._endpoint = endpoint
        self._wire = wire
        self._account = budget.account(endpoint.name, endpoint.model)
        self._asker = Asker(endpoint, Pacer(limits or Limits()), self._account)
        self._has_said = endpoint.is_loopback

    @property
    def name(self) -> str:
        """Model, address, and a hash of how it is asked."""
        return f"{self._endpoint.name}#{sha256_json([self._wire.path, self._wire.settings])[:8]}"

    @property
    def price(self) -> Price | None:
        """Of its tokens, where the budget lists one."""
        return self._account.price

    @property
    def meter(self) -> Meter:
        """What went to the server since this object was made."""
        return self._asker.meter

    async def complete(self, request: Request) -> Reply:
        """Ask for an answer."""
        answered = await self._ask(self._wire.path, self._wire.body(request), most_of_answer(request))
        with _paid([answered]):
            return self._wire.read(answered.body, answered.usage, request)

    async def probe(self) -> None:
        """Ask the server for its models, which costs nothing; raises LatenteseError when it does not answer."""
        try:
            await self._asker.get("/models")
        except AnswerError as error:
            raise SettingError("base_url", self._endpoint.base_url, f"a server that answers ({error})") from None

    async def _ask(self, path: str, fields: Mapping[str, Any], most: Usage) -> Answered:
        if not self._has_said:
            self._has_said = True
            tqdm.write(f"sending {self._endpoint.what_is_sent}, as allow_remote allows", file=sys.stderr)
        return await self._asker.ask(path, {"model": self._endpoint.model, **fields}, most)


class ServedLM(ServedChat):
    """A model that chats, and tells log-probabilities inside a given text by plain completions."""

    def __init__(
        self,
        endpoint: Endpoint,
        wire: Wire,
        budget: Budget,
        marks: MarkReading,
        prompts: Prompts | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(endpoint, wire, budget, limits)
        self._marks = marks
        self._prompts = prompts or TranscriptPrompts()
        if isinstance(marks, NextToken) and marks.ids_field and isinstance(self._prompts, TranscriptPrompts):
            allowed = "null, or prompts=TokenPrompts: a transcript knows no ids of tokens"
            raise SettingError("marks.ids_field", marks.ids_field, allowed)

    @property
    def marks_name(self) -> str:
        """Model, address, and a hash of how marked texts are read: chat may be set up differently without them."""
        return f"{self._endpoint.name}#{sha256_json([self._marks.settings, self._prompts.name])[:8]}"

    def n_requests(self, request: MarkRequest) -> int:
        """How many requests a marked text takes."""
        return self._marks.n_requests(len(request.marks))

    async def next_token_logprobs(self, request: MarkRequest) -> MarkReply:
        """Read a marked text, in one request or in one per mark, as the server allows."""
        prompt = self._prompts.marked(request)
        asked: list[Answered] = []
        with _paid(asked):
            ask = partial(self._complete_one, most_of(request.messages, 1), asked)
            places = await self._marks.places(prompt, ask)
            logprobs = tuple(candidate_logprobs(place, prompt, self._marks.floor_unlisted) for place in places)
        return MarkReply(logprobs, _total(asked))

    async def token_logprobs(self, request: TextRequest) -> TextReply:
        """Read a text in one request; raises SettingError when texts are read in a way that does not tell."""
        prompt = self._prompts.text(request)
        asked: list[Answered] = []
        with _paid(asked):
            ask = partial(self._complete_one, most_of(request.messages, 1), asked)
            ends, logprobs = text_logprobs(await self._marks.prompt_places(prompt.prompt, ask), prompt)
        return TextReply(ends, logprobs, _total(asked))

    async def probe(self) -> None:
        """Ask for the models, and read a short text; raises LatenteseError when the server cannot."""
        await super().probe()
        try:
            ask = partial(self._complete_one, most_of(_TRIAL.messages, 1), [])
            await self._marks.places(self._prompts.marked(_TRIAL), ask)
        except AnswerError as error:
            raise SettingError("marks", self._marks.settings["reading"], f"what the server can do ({error})") from None

    async def _complete_one(self, most: Usage, asked: list[Answered], fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Complete a prompt by one token and return the one choice; notes what was answered."""
        answered = await self._ask(CompletionWire.path, {"max_tokens": 1, "temperature": 0.0, **fields}, most)
        asked.append(answered)
        return only_choice(answered.body)


@contextmanager
def _paid(asked: list[Answered]) -> Iterator[None]:
    """Have an AnswerError tell what was answered before it."""
    try:
        yield
    except AnswerError as error:
        raise SpentError(str(error), _total(asked)) from error


def _total(asked: list[Answered]) -> Usage:
    n_prompt = sum(answered.usage.prompt_tokens for answered in asked)
    return Usage(n_prompt, sum(answered.usage.completion_tokens for answered in asked))
