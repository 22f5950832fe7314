"""Questions that make up one answer are all waited for."""

from __future__ import annotations

import asyncio

import pytest

from latentese.errors import AnswerError
from latentese.lm.protocol import Reply
from latentese.lm.together import answer_all, reply_all
from latentese.lm.usage import SpentError, spent_on
from latentese.records import Usage


def test_answers_come_in_the_order_of_the_questions() -> None:
    async def later(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    assert asyncio.run(answer_all(later(seconds) for seconds in (0.01, 0.0))) == [0.01, 0.0]
    assert asyncio.run(answer_all(later(seconds) for seconds in ())) == []


def test_the_first_failure_is_raised_after_all_have_ended() -> None:
    ended: list[str] = []

    async def question(name: str, n_steps: int, fails: bool) -> str:
        for _ in range(n_steps):
            await asyncio.sleep(0)
        ended.append(name)
        if fails:
            raise AnswerError(name)
        return name

    asked = [("slow failure", 3, True), ("quick failure", 1, True), ("slow answer", 5, False)]
    with pytest.raises(AnswerError, match="slow failure"):
        asyncio.run(answer_all(question(*each) for each in asked))
    assert ended == ["quick failure", "slow failure", "slow answer"]


def test_a_failure_tells_what_the_answers_beside_it_cost() -> None:
    async def question(number: int) -> Reply:
        if number == 1:
            raise AnswerError("nothing")
        if number == 2:
            raise SpentError("something of it", Usage(0, 5))
        return Reply("all", Usage(10, 1), "stop")

    with pytest.raises(AnswerError, match=r"^nothing$") as failed:
        asyncio.run(reply_all(question(number) for number in range(4)))
    assert spent_on(failed.value) == Usage(20, 7)
    assert spent_on(AnswerError("nothing")) == Usage()
