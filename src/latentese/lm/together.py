"""Several questions that make up one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

Answered = TypeVar("Answered")


async def answer_all(questions: Iterable[Awaitable[Answered]]) -> list[Answered]:
    """Wait for all answers, also when one fails: what is under way is paid for, and is not left behind.

    Raises the first failure in the order of the questions, whichever came first.
    """
    answers = await asyncio.gather(*questions, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]
