"""Several questions that make up one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Protocol, TypeVar

from latentese.errors import AnswerError
from latentese.lm.usage import SpentError, spent_on
from latentese.records import Usage


class Costly(Protocol):
    """An answer that tells what it cost."""

    @property
    def usage(self) -> Usage:
        """What it cost."""
        ...


Answered = TypeVar("Answered")
Replied = TypeVar("Replied", bound=Costly)


async def answer_all(questions: Iterable[Awaitable[Answered]]) -> list[Answered]:
    """Wait for all answers, also when one fails: what is under way is paid for, and is not left behind.

    Raises the first failure in the order of the questions, whichever came first.
    """
    return _answers(await asyncio.gather(*questions, return_exceptions=True))


async def reply_all(questions: Iterable[Awaitable[Replied]]) -> list[Replied]:
    """Wait for all answers as `answer_all` does; an AnswerError tells what those cost that came."""
    outcomes = await asyncio.gather(*questions, return_exceptions=True)
    try:
        return _answers(outcomes)
    except AnswerError as error:
        raise SpentError(str(error), sum(map(_usage, outcomes), Usage())) from error


def _answers(outcomes: Sequence[Answered | BaseException]) -> list[Answered]:
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]


def _usage(outcome: Costly | BaseException) -> Usage:
    if isinstance(outcome, BaseException):
        return spent_on(outcome) if isinstance(outcome, AnswerError) else Usage()
    return outcome.usage
