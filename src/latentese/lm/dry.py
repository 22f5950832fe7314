"""Language models that ask nothing and count what would be asked: what a run costs is known before it begins."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from latentese.lm.cached import CachedChat, CachedLM
from latentese.lm.forks import ForkReader, logprobs_one_by_one
from latentese.lm.protocol import (
    ForkRequest,
    MarkReply,
    MarkRequest,
    Message,
    Question,
    Reply,
    Request,
    TextReply,
    TextRequest,
)
from latentese.lm.served import ServedChat, ServedLM
from latentese.lm.wire import most_of, most_of_answer
from latentese.records import Usage
from latentese.store.files import sha256_json


@dataclass
class Estimate:
    """What would be asked: answers as long as they may be, prompts rather too many tokens than too few."""

    n_kept: int = 0
    """Questions whose answer is kept, or that were counted before."""
    n_requests: int = 0
    """Sent to the server: a marked text may take one per mark."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float | None = None
    """At the listed price; None where the model has none."""

    def add(self, n_requests: int, each: Usage, money: float | None) -> None:
        """Count requests of one size; `money` is the price of one."""
        self.n_requests += n_requests
        self.prompt_tokens += n_requests * each.prompt_tokens
        self.completion_tokens += n_requests * each.completion_tokens
        if money is not None:
            self.money = (self.money or 0.0) + n_requests * money

    def __add__(self, other: Estimate) -> Estimate:
        money = [estimate.money for estimate in (self, other) if estimate.money is not None]
        return Estimate(
            self.n_kept + other.n_kept,
            self.n_requests + other.n_requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            sum(money) if money else None,
        )


class DryChat:
    """Answers what is kept, and anything else with a guess that no other question gets."""

    def __init__(self, lm: CachedChat) -> None:
        self._lm = lm
        self._price = lm.inner.price if isinstance(lm.inner, ServedChat) else None
        self._counted: set[Question] = set()
        self._estimate = Estimate()

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._lm.name

    def take(self) -> Estimate:
        """Return what was counted since this was last asked."""
        taken, self._estimate = self._estimate, Estimate()
        return taken

    async def complete(self, request: Request) -> Reply:
        """Answer, and count the question unless its answer is kept."""
        kept = self._lm.kept(request)
        self._count(request, most_of_answer(request), 0 if kept else 1)
        return kept or Reply(_guessed_text(request), Usage(), "stop")

    def _count(self, request: Question, each: Usage, n_requests: int) -> None:
        if not n_requests or request in self._counted:
            self._estimate.n_kept += 1
            return
        self._counted.add(request)
        self._estimate.add(n_requests, each, self._price.of(each) if self._price else None)


class DryLM(DryChat):
    """The same for a model that also reads texts."""

    def __init__(self, lm: CachedLM) -> None:
        super().__init__(lm)
        self._reader = lm

    async def next_token_logprobs(self, request: MarkRequest) -> MarkReply:
        """Answer, and count the question unless its answer is kept."""
        kept = self._reader.kept_marks(request)
        served = self._reader.inner
        n_requests = served.n_requests(request) if isinstance(served, ServedLM) else 1
        self._count(request, most_of(request.messages, 1), 0 if kept else n_requests)
        return kept or MarkReply(_guessed_rows(request), Usage())

    async def forked_logprobs(self, request: ForkRequest) -> MarkReply:
        """Answer, and count the question, or one per fork, unless the answer is kept."""
        if not isinstance(self._reader.inner, ForkReader):
            return await logprobs_one_by_one(self, request)
        kept = self._reader.kept_marks(request)
        # The text, and as messages of their own what its forks say.
        read = (*request.messages, *(Message("assistant", answer) for answer in request.answers))
        self._count(request, most_of(read, 1), 0 if kept else 1)
        return kept or MarkReply(_guessed_rows(request), Usage())

    async def token_logprobs(self, request: TextRequest) -> TextReply:
        """Answer, and count the question unless its answer is kept."""
        kept = self._reader.kept_text(request)
        self._count(request, most_of(request.messages, 1), 0 if kept else 1)
        n_characters = len(request.messages[-1].content)
        guessed = _generator(request).uniform(-9, -1, n_characters)
        return kept or TextReply(tuple(range(1, n_characters + 1)), tuple(map(float, guessed)), Usage())


N_GUESSED = 20
"""Lines of a guess: more sentences than are asked for."""


def _guessed_text(request: Request) -> str:
    """Guess numbered lines: where sentences are read from them, what is asked because of the sentences counts too."""
    guess = _hash(request)[:8]
    return "\n".join(f"{number}. guess {guess}" + f" {number}" * (number > 1) for number in range(1, N_GUESSED + 1))


def _guessed_rows(request: MarkRequest | ForkRequest) -> tuple[tuple[float, ...], ...]:
    shape = (len(request.marks), len(request.candidates))
    drawn = _generator(request).uniform(-9, -1, shape)
    return tuple(tuple(map(float, row)) for row in drawn)


def _generator(request: MarkRequest | ForkRequest | TextRequest) -> np.random.Generator:
    return np.random.default_rng(int(_hash(request)[:15], 16))


def _hash(request: Question) -> str:
    return sha256_json(asdict(request))
