"""Yes-or-no questions word by word, and that nothing but yes or no is an answer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import pytest

from latentese.errors import AnswerError, SettingError
from latentese.lm.protocol import MarkReply, MarkRequest, Message, Reply, Request
from latentese.records import Usage
from latentese.scorers.questions import WorkedQuestion, YesNo, YesNoPrompt, read_yes_no, share_of_yes

PROMPT = YesNoPrompt(
    "Say yes or no.", (WorkedQuestion("boats", "a ferry", True), WorkedQuestion("boats", "tea", False))
)


class Both:
    """Tells probabilities and writes, and remembers what it was asked."""

    name = "both"

    def __init__(self, logprobs: Sequence[Sequence[float]] = ((0.0, 0.0),), text: str = "yes") -> None:
        self.logprobs, self.text = tuple(tuple(row) for row in logprobs), text
        self.asked: list[MarkRequest | Request] = []

    async def next_token_logprobs(self, request: MarkRequest) -> MarkReply:
        self.asked.append(request)
        return MarkReply(self.logprobs, Usage(1, 0))

    async def complete(self, request: Request) -> Reply:
        self.asked.append(request)
        return Reply(self.text, Usage(1, 1), "stop")


def test_the_whole_question() -> None:
    lm = Both()
    assert asyncio.run(YesNo(lm, PROMPT, "probabilities").ask("ships\nand {text}", "a {explanation} \\n b")) == 0.5
    [asked] = lm.asked
    assert isinstance(asked, MarkRequest)
    assert asked.messages == (
        Message("system", "Say yes or no."),
        Message("user", "Explanation: boats\nText: a ferry"),
        Message("assistant", "Answer: yes"),
        Message("user", "Explanation: boats\nText: tea"),
        Message("assistant", "Answer: no"),
        # One line, and braces stay what they are.
        Message("user", "Explanation: ships and {text}\nText: a {explanation} \\n b"),
        Message("assistant", "Answer:"),
    )
    assert (asked.n_shared, asked.marks, asked.candidates) == (5, (7,), (" yes", " no"))


def test_a_model_without_probabilities_writes_its_answer() -> None:
    lm = Both(text=" No, it does not.")
    assert asyncio.run(YesNo(lm, PROMPT, "text").ask("ships", "tea")) == 0.0
    [asked] = lm.asked
    assert isinstance(asked, Request)
    assert (asked.n_shared, asked.messages[-1]) == (5, Message("assistant", "Answer:"))


def test_the_share_of_yes_by_hand() -> None:
    # .3 / (.3 + .1), whatever else the model might have said.
    assert share_of_yes([(math.log(0.3), math.log(0.1))]) == pytest.approx(0.75)
    assert share_of_yes([(-math.inf, -2.0)]) == pytest.approx(0, abs=1e-300)
    assert share_of_yes([(-2.0, -math.inf)]) == 1.0


@pytest.mark.parametrize(
    "logprobs", [[], [(0.0,)], [(0.0, 0.0), (0.0, 0.0)], [(math.nan, 0.0)], [(-math.inf, -math.inf)]]
)
def test_what_is_no_distribution_over_yes_and_no_is_a_failed_answer(logprobs: list[tuple[float, ...]]) -> None:
    with pytest.raises(AnswerError):
        share_of_yes(logprobs)


@pytest.mark.parametrize(("answer", "expected"), [("yes", 1), (" Yes.", 1), ("**No**", 0), ("NO, since yes", 0)])
def test_the_first_word_decides(answer: str, expected: float) -> None:
    assert read_yes_no(answer) == expected


@pytest.mark.parametrize("answer", ["", "1", "maybe yes", "nothing", "yesterday"])
def test_other_words_are_failed_answers(answer: str) -> None:
    with pytest.raises(AnswerError, match="neither yes nor no"):
        read_yes_no(answer)


def test_a_prompt_and_a_model_that_cannot_work_are_refused() -> None:
    with pytest.raises(SettingError, match=r"\{text\}"):
        YesNoPrompt("x", question="only {explanation}")
    with pytest.raises(SettingError, match="gives probabilities"):
        YesNo(object(), PROMPT, "probabilities")
    with pytest.raises(SettingError, match="one of probabilities, text"):
        YesNo(Both(), PROMPT, "guess")
