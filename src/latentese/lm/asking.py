"""Asking a server: within its limits and the budget, again where that may help, and never more than that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

from latentese.errors import AnswerError, BudgetError, LatenteseError, SettingError
from latentese.lm.budget import Account
from latentese.lm.endpoint import Endpoint
from latentese.lm.openai import AttemptError, Connection
from latentese.lm.pacing import Pacer
from latentese.lm.usage import Meter
from latentese.records import Usage

_MOST_TOKENS = 10**9
"""Of one request: a server that counts more miscounts."""


class Answered(NamedTuple):
    """A server's response to one request."""

    body: Mapping[str, Any]
    usage: Usage


@dataclass
class _Session:
    """What lives in one event loop while requests are under way there."""

    connection: Connection
    loop: asyncio.AbstractEventLoop
    slots: asyncio.Semaphore
    turnstile: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Requests are paced in the order they came."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an attempt has ended and its cost is known, and then replaced."""
    n_users: int = 0
    n_under_way: int = 0
    closing: asyncio.Task[None] | None = None
    """Set when a request meets the end of the budget: no other begins. The error comes only after it, since whoever
    gathers the requests cancels the others on the first error, and the sockets would stay open."""


class Asker:
    """Asks one endpoint.

    A connection lives as long as requests wait for their answers: stages run several event loops one after another,
    and what one loop opened is of no use to the next.
    """

    def __init__(self, endpoint: Endpoint, pacer: Pacer, account: Account) -> None:
        self.endpoint = endpoint
        self.meter = Meter()
        self._pacer = pacer
        self._account = account
        self._session: _Session | None = None

    async def ask(self, path: str, body: Mapping[str, Any], most: Usage) -> Answered:
        """Post a request and return its JSON; `most` is what it may cost at most.

        Raises AnswerError when there is no usable response after all attempts that make sense; SettingError when the
        server refuses key, account or model; BudgetError, after all that is under way has ended, when the budget is
        spent.
        """
        async with self._opened() as session:
            n_failed = 0
            while True:
                try:
                    return await self._attempt(session, path, body, most)
                except AttemptError as failure:
                    n_failed += 1
                    if not await self._pacer.back_off(failure, n_failed):
                        raise self._given_up(failure, n_failed) from None

    async def get(self, path: str) -> str:
        """Get a resource with one attempt; raises what `ask` does."""
        async with self._opened() as session:
            try:
                return await session.connection.get(path)
            except AttemptError as failure:
                raise self._given_up(failure, 1) from None

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[_Session]:
        loop = asyncio.get_running_loop()
        session = self._session
        if session is None or session.loop is not loop:
            slots = asyncio.Semaphore(self._pacer.limits.n_concurrent)
            session = self._session = _Session(Connection(self.endpoint), loop, slots)
        session.n_users += 1
        try:
            yield session
        finally:
            session.n_users -= 1
            if session.n_users == 0:
                if self._session is session:
                    self._session = None
                await session.connection.close()

    async def _attempt(self, session: _Session, path: str, body: Mapping[str, Any], most: Usage) -> Answered:
        async with session.slots:
            await self._reserve(session, most)
            charged, is_failed = Usage(), True
            try:
                async with session.turnstile:
                    await self._pacer.turn(most.prompt_tokens + most.completion_tokens)
                charged = most  # also when the attempt is cancelled from here on: the server may have answered
                text = await session.connection.post(path, body)
                answered = self._parsed(text, most)
                charged, is_failed = answered.usage, False
                return answered
            except AttemptError as failure:
                if failure.status is not None or not failure.was_sent:
                    charged = Usage()
                raise
            finally:
                self._account.settle(most, charged)
                money = self._account.price.of(charged) if self._account.price else None
                self.meter.add(charged, money, is_failed)
                session.n_under_way -= 1
                session.settled.set()
                session.settled = asyncio.Event()

    async def _reserve(self, session: _Session, most: Usage) -> None:
        """Wait until the budget allows a request: what is under way may turn out cheaper than it could be."""
        while session.closing or not self._account.reserve(most):
            if session.n_under_way == 0:
                session.closing = session.closing or asyncio.create_task(session.connection.close())
                await session.closing
                raise self._over_budget(most)
            await session.settled.wait()
        session.n_under_way += 1

    def _over_budget(self, most: Usage) -> BudgetError:
        next_costs = f"the next request may cost {most.prompt_tokens + most.completion_tokens:,} tokens"
        return BudgetError(
            f"the budget of {self.endpoint.name} is spent ({self._account}; {next_costs}). "
            "All answers are kept: raise the budget (lm.lm.budget) and run again to go on"
        )

    def _parsed(self, text: str, most: Usage) -> Answered:
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            raise AnswerError(f"not JSON: {self.endpoint.scrub(text)[:60]!r}") from None
        if not isinstance(body, dict):
            raise AnswerError(f"not a JSON object: {self.endpoint.scrub(text)[:60]!r}")
        if body.get("error"):
            raise AnswerError(f"the server reports {self.endpoint.scrub(json.dumps(body['error']))}")
        return Answered(body, _usage(body, most))

    def _given_up(self, failure: AttemptError, n_failed: int) -> LatenteseError:
        """Say what went wrong; a refused key, account or model fails every request alike, and so stops the run."""
        if failure.is_unpaid:
            return SettingError("key_env", self.endpoint.key_env, f"a key whose account can pay ({failure})")
        if failure.status == 401:
            return SettingError("key_env", self.endpoint.key_env, f"a key that the server takes ({failure})")
        if failure.is_forbidden:
            return SettingError("key_env", self.endpoint.key_env, f"a key that may use this model ({failure})")
        if failure.status == 404:
            return SettingError("model", self.endpoint.name, f"a model and an address that the server has ({failure})")
        attempts = "1 attempt" if n_failed == 1 else f"{n_failed} attempts"
        return AnswerError(f"no answer from {self.endpoint.name} after {attempts}: {failure}")


def _usage(body: Mapping[str, Any], most: Usage) -> Usage:
    """Read what the server counted; the most there can be where it does not count."""
    counted = body.get("usage")
    if isinstance(counted, dict):
        n_prompt, n_completion = counted.get("prompt_tokens"), counted.get("completion_tokens")
        if _is_count(n_prompt) and _is_count(n_completion):
            return Usage(n_prompt, n_completion)
    return most


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS
