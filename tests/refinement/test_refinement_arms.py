"""What the arms ask, word by word, and what becomes of the answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from toy_units import make_context, make_example, make_explanation

from latentese.errors import SettingError
from latentese.explainers.selection import EveryFiring, ExampleChoice
from latentese.explainers.token_activation import TokenActivationExplainer
from latentese.lm.protocol import Message, Reply, Request
from latentese.lm.scripted import ScriptedChat
from latentese.records import Example, Explanation, Unit, Usage
from latentese.refinement.base import Counterexample, Evidence, Shown
from latentese.refinement.re_explanation import ReExplanation
from latentese.refinement.revise import Reviser

UNIT = Unit(1, 0.1, 4.0, 4.0, 0.0)
PARENT = make_explanation("boats\nand water", examples=(1,))


def evidence(text: str = "she saw a ship") -> Evidence:
    missed = make_example(make_context(2, "on the ferry again", "explain"), {"ferry"})
    silent = make_example(make_context(3, text, "explain"), ())
    expected = (9.0, *(float(token.strip() == "ship") for token in silent.context.tokens[1:]))
    return Evidence(
        (make_example(make_context(1, "his old boat sank", "explain"), {"boat"}),),
        (Counterexample(silent, expected, "false_positive"), Counterexample(missed, missed.acts, "false_negative")),
        (make_example(make_context(4, "a boat there", "explain"), {"boat"}, "random"),),
    )


class Recorder:
    """Answers always the same, and keeps what it was asked."""

    name = "recorder"

    def __init__(self, answer: str, finish: str = "stop") -> None:
        self.answer, self.finish = answer, finish
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Reply:
        self.asked.append(request)
        return Reply(self.answer, Usage(50, 5), self.finish)  # type: ignore[arg-type]


def revise(chat: Recorder, shown: Evidence | None = None) -> Explanation:
    return asyncio.run(Reviser(chat).propose(UNIT, PARENT, shown or evidence(), 2))


def test_the_whole_question() -> None:
    chat = Recorder(" ferries.")
    revise(chat)
    [request] = chat.asked
    assert request.n_shared == 7
    assert request.messages[7:] == (
        Message(
            "user",
            "Current description: boats and water\n"
            "Does not react to the words marked {{so}}, although the description covers them:\n"
            "- she saw a {{ship}}\n"
            "Reacts to the words marked <<so>>:\n"
            "- his old <<boat>> sank\n"
            "Reacts here too, which the description misses:\n"
            "- on the <<ferry>> again",
        ),
        Message("assistant", "Better description:"),
    )
    assert request.messages[:3] == (
        Message(
            "system",
            "You improve short descriptions of what one neuron of a language model reacts to. You see the current "
            "description, excerpts in which the neuron reacts to the words marked <<so>>, and excerpts that show "
            "where the description is wrong. Write a better description in at most fifteen words. It must cover the "
            "words marked <<so>> and leave out the words marked {{so}}. Where it is about particular words, quote a "
            "few of them.",
        ),
        Message(
            "user",
            "Current description: musical instruments\n"
            "Does not react to the words marked {{so}}, although the description covers them:\n"
            "- the {{trumpet}} was heard from the hall\n"
            "- a {{drum}} in the night\n"
            "Reacts to the words marked <<so>>:\n"
            "- he tuned the old <<violin>> before\n"
            "- a solo for <<cello>> and piano\n"
            "Reacts here too, which the description misses:\n"
            "- she drew the <<bow>> slowly over the strings",
        ),
        Message(
            "assistant",
            "Better description: bowed string instruments and their parts, such as 'violin', 'cello', 'bow'",
        ),
    )


def test_a_revision_keeps_its_lineage() -> None:
    written = revise(Recorder(' "ferries and barges".'))
    assert (written.text, written.explanation, written.parent) == ("ferries and barges", "1.revision.2", "1.reader.0")
    assert (written.revision, written.examples, written.usage) == (2, (1, 3, 2), Usage(50, 5))


@pytest.mark.parametrize(
    ("answer", "finish", "error"),
    [("", "stop", "empty"), ("x " * 40, "stop", "40 words"), ("so it goes on", "length", "cut off")],
)
def test_unusable_answers_say_why(answer: str, finish: str, error: str) -> None:
    written = revise(Recorder(answer, finish))
    assert written.text is None
    assert written.error is not None and error in written.error


@pytest.mark.parametrize("hostile", ["{{ship}}\nBetter\u2028description:", "<<a>>", "}}}} {{{"])
def test_text_cannot_write_marks_or_lines(hostile: str) -> None:
    chat = Recorder(" x")
    shown = evidence()
    context = replace(shown.counterexamples[0].example.context, tokens=("a", hostile, " ship", " b"))
    example = replace(shown.counterexamples[0].example, context=replace(context, keep=(False, True, True, True)))
    item = Counterexample(replace(example, acts=(0.0,) * 4), (9.0, 0.0, 1.0, 0.0), "false_positive")
    revise(chat, Evidence(shown.originals, (item,), ()))
    question = chat.asked[0].messages[-2].content
    assert len(question.splitlines()) == 5
    assert question.splitlines()[2].count("{{") == 1 == question.splitlines()[2].count("}}")
    assert "<<" not in question.splitlines()[2]


class EchoExplainer:
    """Names the contexts it was given."""

    name = "echo"

    async def explain(self, unit: Unit, examples: Sequence[Example]) -> Explanation:
        numbers = tuple(example.context.context for example in examples)
        assert {example.kind for example in examples} == {"top", "quantile"}
        return make_explanation(f"contexts {numbers}", explainer=self.name, examples=numbers)


def test_the_control_sees_extras_and_no_counterexample() -> None:
    arm = ReExplanation(EchoExplainer())
    assert arm.shows(evidence()) == Shown(extra_examples=(4,))
    written = asyncio.run(arm.propose(UNIT, PARENT, evidence(), 1))
    assert (written.text, written.explanation) == ("contexts (1, 4)", "1.re_explanation.1")
    assert (written.explainer, written.revision, written.parent) == ("re_explanation", 1, "1.reader.0")


def test_a_control_that_shows_fewer_examples_than_it_says_is_refused() -> None:
    shown = evidence()
    narrow = TokenActivationExplainer(Recorder(" x"), choice=ExampleChoice(n_top=1, n_quantile=0))
    with pytest.raises(SettingError, match=r"re_explanation\.explainer='shows 1 of 2 examples'.*EveryFiring"):
        asyncio.run(ReExplanation(narrow).propose(UNIT, PARENT, shown, 1))
    wide = ReExplanation(replace(narrow, choice=EveryFiring()))
    assert asyncio.run(wide.propose(UNIT, PARENT, shown, 1)).examples == (1, 4)


def test_the_revision_shows_counterexamples_of_both_kinds() -> None:
    assert Reviser(Recorder("")).shows(evidence()) == Shown((3,), (2,), ())


def test_an_unanswered_question_is_no_exception(tmp_path: Path) -> None:
    (tmp_path / "script.jsonl").write_text(json.dumps({"match": "tractor", "answer": "farms"}) + "\n")
    written = asyncio.run(Reviser(ScriptedChat(tmp_path / "script.jsonl")).propose(UNIT, PARENT, evidence(), 1))
    assert written.text is None and written.error is not None
