"""The question put to the language model, word for word, and what becomes of its answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from latentese.errors import AnswerError, SettingError
from latentese.explainers.prompt import ExplainPrompt, Worked
from latentese.explainers.rendering import MarkedExcerpts
from latentese.explainers.token_activation import TokenActivationExplainer
from latentese.lm.protocol import Finish, Message, Reply, Request
from latentese.records import Context, Example, Explanation, Unit, Usage

UNIT = Unit(7, 0.01, 6.0, 4.0, 0.0)
TINY = ExplainPrompt("Say what fires.", (Worked("- a <<cat>>", "animals"),), "Excerpts:\n{shown}", "Fires on")


@dataclass
class Recorder:
    """Answers always the same and remembers what it was asked."""

    answer: str = " rivers"
    finish: Finish = "stop"
    asked: list[Request] = field(default_factory=list)

    @property
    def name(self) -> str:
        return "recorder"

    async def complete(self, request: Request) -> Reply:
        self.asked.append(request)
        if not self.answer:
            raise AnswerError("nobody answers")
        return Reply(self.answer, Usage(20, 2), self.finish)


def example(tokens: tuple[str, ...], acts: tuple[float, ...], context: int) -> Example:
    keep = (False, *(True,) * (len(tokens) - 1))
    return Example(7, Context(context, tokens, keep, context, "prose", "explain"), "top", acts)


EXAMPLES = [
    example(("Along", " the", " Rhine", " and", " the", " El", "be"), (0, 0, 6.0, 0, 0, 3.0, 3.0), 11),
    example(("the", " Thames", "\n", "It"), (0, 5.0, 0.5, 0), 4),
]


def explain(chat: Recorder, examples: list[Example] = EXAMPLES, **settings: Any) -> Explanation:
    return asyncio.run(TokenActivationExplainer(chat, **settings).explain(UNIT, examples))


def test_the_explanation_says_where_it_comes_from() -> None:
    explanation = explain(Recorder(" 'Rhine'."), rendering=MarkedExcerpts(TINY))
    assert explanation == Explanation(
        explanation="7.token_activation.0",
        unit=7,
        explainer="token_activation",
        revision=0,
        text="Rhine",
        model="recorder",
        prompt_sha256=TINY.sha256,
        examples=(11, 4),
        usage=Usage(20, 2),
    )


def test_a_prompt_from_the_configuration_word_for_word() -> None:
    chat = Recorder()
    explain(chat, rendering=MarkedExcerpts(TINY))
    assert chat.asked == [
        Request(
            (
                Message("system", "Say what fires."),
                Message("user", "Excerpts:\n- a <<cat>>"),
                Message("assistant", "Fires on animals"),
                Message(
                    "user",
                    "Excerpts:\n- Along the <<Rhine>> and the <<Elbe>>\n- the <<Thames>>\\nIt\n"
                    "Marked: Rhine (1), Elbe (1), Thames (1)",
                ),
                Message("assistant", "Fires on"),
            ),
            max_tokens=48,
            stop=("\n",),
            n_shared=3,
        )
    ]


@pytest.mark.parametrize(
    ("chat", "error"),
    [
        (Recorder(""), "nobody answers"),
        (Recorder("\n"), "empty answer"),
        (Recorder("one two three"), "an answer of 3 words, at most 2 allowed"),
        (Recorder("rivers and", "length"), "an answer cut off before it said anything whole"),
    ],
)
def test_an_unusable_answer_is_a_row_with_the_reason(chat: Recorder, error: str) -> None:
    explanation = explain(chat, max_words=2)
    assert (explanation.text, explanation.error) == (None, error)
    assert explanation.examples == (11, 4)


def test_a_silent_unit_asks_nothing() -> None:
    chat = Recorder()
    explanation = explain(chat, [example(("a", " b"), (0.0, 0.0), 1)])
    assert (explanation.error, explanation.examples, chat.asked) == ("no example in which the unit fires", (), [])


def test_the_prompts_hash_changes_with_any_word_of_it() -> None:
    others = [
        ExplainPrompt("Say!", TINY.worked, TINY.question, TINY.answer),
        ExplainPrompt(TINY.system, (Worked("- a <<cat>>", "pets"),), TINY.question, TINY.answer),
        ExplainPrompt(TINY.system, TINY.worked, "{shown}", TINY.answer),
        ExplainPrompt(TINY.system, TINY.worked, TINY.question, "It is"),
    ]
    assert len({prompt.sha256 for prompt in (TINY, *others)}) == 5


def test_worked_units_may_come_as_a_list() -> None:
    assert ExplainPrompt(TINY.system, list(TINY.worked), TINY.question, TINY.answer).sha256 == TINY.sha256


def test_braces_of_a_corpus_are_text() -> None:
    [*_, question, _] = TINY.messages("- {0} {shown} {")
    assert question.content == "Excerpts:\n- {0} {shown} {"


@pytest.mark.parametrize(("field_name", "value"), [("question", "no place for them"), ("answer", " ")])
def test_a_prompt_without_its_parts_is_refused(field_name: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"prompt.{field_name}"):
        ExplainPrompt("system", **{field_name: value})


@pytest.mark.parametrize("setting", [{"max_words": 0}, {"max_tokens": 0}, {"temperature": -0.1}])
def test_settings_that_no_question_can_have_are_refused_before_any_is_asked(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(setting))):
        TokenActivationExplainer(Recorder(), **setting)
