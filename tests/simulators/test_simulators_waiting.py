"""A context that fails leaves no question behind: its answer would be paid for, and lost when the run ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from toy_units import make_context, make_explanation

from latentese.errors import AnswerError
from latentese.lm.protocol import MarkReply, MarkRequest, TextReply, TextRequest
from latentese.records import Usage
from latentese.simulators.all_at_once import AllAtOnceSimulator
from latentese.simulators.base import Simulator
from latentese.simulators.logprob_gain import LogprobGainSimulator
from latentese.simulators.one_at_a_time import OneAtATimeSimulator


class FirstFails:
    """Fails the first question at once, and takes some time for the others."""

    name = "first fails"

    def __init__(self) -> None:
        self.n_asked = 0
        self.n_answered = 0

    async def next_token_logprobs(self, request: MarkRequest) -> MarkReply:
        await self._take_time()
        return MarkReply(((-1.0,) * len(request.candidates),) * len(request.marks), Usage(1))

    async def token_logprobs(self, request: TextRequest) -> TextReply:
        await self._take_time()
        return TextReply((len(request.messages[-1].content),), (-1.0,), Usage(1))

    async def _take_time(self) -> None:
        self.n_asked += 1
        if self.n_asked == 1:
            raise AnswerError("busy")
        for _ in range(100):
            await asyncio.sleep(0)
        self.n_answered += 1


@pytest.mark.parametrize("simulator", [AllAtOnceSimulator, OneAtATimeSimulator, LogprobGainSimulator])
def test_questions_under_way_are_answered_before_a_context_fails(simulator: Callable[[FirstFails], Simulator]) -> None:
    lm = FirstFails()
    [found] = asyncio.run(simulator(lm).simulate(make_explanation("noise"), [make_context(1, "a loud bang")]))
    assert (found.expected, found.error) == (None, "busy")
    assert (lm.n_asked, lm.n_answered) == (2, 1)
