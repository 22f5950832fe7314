"""Questions that make up one answer are all waited for."""

from __future__ import annotations

import asyncio

import pytest

from latentese.errors import AnswerError
from latentese.lm.together import answer_all


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
