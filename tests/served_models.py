"""Models behind a loopback server, and questions to them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentese.errors import AnswerError
from latentese.lm.budget import Budget
from latentese.lm.endpoint import Endpoint
from latentese.lm.marks import MarkReading
from latentese.lm.pacing import Limits
from latentese.lm.protocol import Chat, Message, Reply, Request
from latentese.lm.served import ServedChat, ServedLM
from latentese.lm.testing.server import LoopbackServer
from latentese.lm.wire import ChatWire
from latentese.records import Usage

KEY = "sk-secret-0123456789"


@dataclass(frozen=True)
class Rule:
    """Says what it was asked about, for 7 and 2 tokens."""

    name: str = "rule"

    async def complete(self, request: Request) -> Reply:
        return Reply(f"about {request.messages[-1].content}", Usage(7, 2), "stop")


def ask(content: str, **fields: Any) -> Request:
    return Request((Message("user", content),), max_tokens=8, **fields)


def make_chat(server: LoopbackServer, folder: Path, limits: Limits | None = None, **settings: Any) -> ServedChat:
    """A client of the server; other settings are those of its endpoint or budget."""
    of_budget = {name: settings.pop(name) for name in ("max_tokens", "max_money", "prices") if name in settings}
    endpoint = Endpoint(**({"base_url": server.base_url, "model": "toy", "timeout_seconds": 5.0} | settings))
    return ServedChat(endpoint, ChatWire(), Budget(folder / "spending.sqlite", **of_budget), limits)


def complete_all(chat: Chat, requests: Sequence[Request]) -> list[Reply | AnswerError]:
    """Ask everything at once; what failed is returned in its place."""

    async def all_at_once() -> list[Reply | AnswerError]:
        return await asyncio.gather(*(_outcome(chat, request) for request in requests))

    return asyncio.run(all_at_once())


async def _outcome(chat: Chat, request: Request) -> Reply | AnswerError:
    try:
        return await chat.complete(request)
    except AnswerError as error:
        return error


def make_lm(server: LoopbackServer, folder: Path, marks: MarkReading, **given: Any) -> ServedLM:
    """A client that also reads marked texts."""
    limits = given.pop("limits", Limits(n_attempts=1))
    endpoint = Endpoint(server.base_url, "toy", timeout_seconds=given.pop("timeout_seconds", 20.0))
    return ServedLM(
        endpoint, ChatWire(prefix_fields={}), Budget(folder / "spending.sqlite"), marks, limits=limits, **given
    )
