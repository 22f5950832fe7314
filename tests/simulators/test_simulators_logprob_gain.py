"""What an explanation makes likelier, on the subject's own tokens."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from toy_units import make_context, make_explanation

from latentese.errors import AnswerError, SettingError
from latentese.lm.protocol import TextReply, TextRequest
from latentese.records import Context, Simulation, Usage
from latentese.simulators.logprob_gain import UNTOLD, LogprobGainSimulator, per_character, per_token


class LetterReader:
    """Reads letter by letter, each with probability 1/4; told of a letter, that one has 1/2, and `z` 1/8."""

    name = "letters"

    def __init__(self) -> None:
        self.asked: list[TextRequest] = []

    async def token_logprobs(self, request: TextRequest) -> TextReply:
        self.asked.append(request)
        told, text = request.messages[0].content, request.messages[1].content
        if "mute" in text:
            raise AnswerError("it is mute")
        letter = told.split("contains ")[1][0] if "contains " in told else ""
        chance = {letter: 1 / 2, "z": 1 / 8} if letter else {}
        logprobs = tuple(math.log(chance.get(c, 1 / 4)) for c in text)
        return TextReply(tuple(range(1, len(text) + 1)), logprobs, Usage(len(text)))


def simulate(text: str, *contexts: Context) -> tuple[list[Simulation], list[TextRequest]]:
    reader = LetterReader()
    found = asyncio.run(LogprobGainSimulator(reader).simulate(make_explanation(text), contexts))
    return found, reader.asked


def test_tokens_gain_what_their_characters_do() -> None:
    [found], asked = simulate("b", make_context(3, "bb abb zz a"))
    assert found.context == 3
    # The first token counts nowhere; ` abb` gains twice ln 2; ` zz` is less likely, which is no activation.
    assert found.expected == pytest.approx((0, 2 * math.log(2), 0, 0), abs=1e-5)
    assert [request.n_shared for request in asked] == [1, 1]
    assert asked[0].messages[1] == asked[1].messages[1]
    assert asked[1].messages[0].content == UNTOLD


def test_the_beginning_is_the_explanation_s_own_and_one_line() -> None:
    _, asked = simulate("b\tand\nc" + "!" * 999, make_context(1, "a b"), make_context(2, "a c"))
    told = {request.messages[0].content for request in asked} - {UNTOLD}
    assert len(told) == 1
    [beginning] = told
    assert beginning.startswith("The following passage contains b and c!!!")
    assert len(beginning) < 460


def test_a_failed_question_is_a_failed_context_alone() -> None:
    good, bad = simulate("b", make_context(1, "a b"), make_context(2, "a mute"))[0]
    assert good.expected is not None
    assert (bad.expected, bad.error) == (None, "it is mute")


def test_a_context_without_text_is_asked_nothing() -> None:
    [found], asked = simulate("b", Context(1, ("", ""), (False, False), 1, "toy", "test"))
    assert (found.expected, asked) == ((0.0, 0.0), [])


def test_another_tokenizer_is_aligned_by_characters() -> None:
    # The reader's tokens are `abcd` and `ef`; the subject's `ab`, `cde`, `f`, and the rest of a character.
    gains = per_character(TextReply((4, 6), (-8.0, -1.0), Usage()), 6)
    np.testing.assert_allclose(gains, [-2, -2, -2, -2, -0.5, -0.5])
    np.testing.assert_allclose(per_token(gains, ("ab", "cde", "f", "")), [-4, -4.5, -0.5, -0.5])


@pytest.mark.parametrize(
    ("ends", "logprobs"),
    [((4,), (-1.0,)), ((4, 6), (-1.0,)), ((), ()), ((6,), (math.nan,)), ((4, 4, 6), (-1.0,) * 3)],
)
def test_numbers_that_do_not_fit_the_text_are_no_answer(ends: tuple[int, ...], logprobs: tuple[float, ...]) -> None:
    with pytest.raises(AnswerError):
        per_character(TextReply(ends, logprobs, Usage()), 6)


def test_it_reads_words_and_needs_a_model_that_tells() -> None:
    simulator = LogprobGainSimulator(LetterReader())
    assert simulator.reads(make_explanation("b"))
    assert not simulator.reads(make_explanation("  "))
    assert not simulator.reads(make_explanation(None))
    with pytest.raises(SettingError, match="tells probabilities"):
        LogprobGainSimulator(object())  # type: ignore[arg-type]
