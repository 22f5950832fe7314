"""Written sentences as evidence: what is asked, what is read, what is shown, and the control with random texts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from toy_units import WordListSimulator, make_context, make_example, make_explanation

from latentese.errors import AnswerError, LatenteseError, SettingError
from latentese.lm.protocol import Finish, Message, Reply, Request
from latentese.records import Context, Example, Explanation, Simulation, Unit, Usage
from latentese.refinement.base import Counterexample, Evidence, Gathered, Material, Shown
from latentese.refinement.controls import RandomSentences, draw_random
from latentese.refinement.generated import GeneratedSentences
from latentese.refinement.revise import Reviser
from latentese.refinement.sentences import SentenceWriter

UNIT = Unit(1, 0.1, 4.0, 4.0, 0.0)
PARENT = make_explanation("boat ferry", examples=(1,))


class Writes:
    """Answers always the same, and keeps what it was asked."""

    name = "writes"

    def __init__(self, answer: str, finish: Finish = "stop") -> None:
        self.answer, self.finish = answer, finish
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Reply:
        self.asked.append(request)
        if not self.answer:
            raise AnswerError("no answer today")
        return Reply(self.answer, Usage(70, 30), self.finish)


class ToyReader:
    """A subject whose unit fires on `boat` alone."""

    def examples(self, units: Sequence[Unit], texts: Sequence[str]) -> list[list[Example]]:
        contexts = [make_context(-1 - i, f"\n {text}", "explain") for i, text in enumerate(texts)]
        return [[make_example(context, {"boat"}, unit=unit.unit) for context in contexts] for unit in units]


SENTENCES = "1. A boat left.\n2) The ferry sank.\n3. A ferry and a ferry.\nSo much for that."


def arm(answer: str = SENTENCES, **fields: object) -> GeneratedSentences:
    made = GeneratedSentences(Reviser(Writes("ships")), SentenceWriter(Writes(answer)), **fields)  # type: ignore[arg-type]
    return made.with_reader(ToyReader())  # type: ignore[arg-type]


def mined() -> Counterexample:
    missed = make_example(make_context(7, "on the canoe again", "explain"), {"canoe"})
    return Counterexample(missed, (0.0,) * 4, "false_negative")


def material(shown: frozenset[int] = frozenset()) -> Material:
    fresh = tuple(make_example(make_context(n, f"a boat {n}", "explain"), {"boat"} if n % 2 else ()) for n in range(20))
    evidence = Evidence((), (mined(),), ())
    return Material(UNIT, PARENT, evidence, fresh, shown, WordListSimulator(), (0, 1, 1))


def gather(made: GeneratedSentences | RandomSentences, given: Material | None = None) -> Gathered:
    return asyncio.run(made.gather(given or material()))


def test_the_whole_question() -> None:
    chat = Writes(SENTENCES)
    asyncio.run(SentenceWriter(chat).ask("boats\nand {shown} <<water>>"))
    [request] = chat.asked
    assert request.n_shared == 3
    assert request.messages[3:] == (
        Message("user", "Description: boats and {shown} < <water> >\nWrite 10 sentences."),
        Message("assistant", "Sentences:"),
    )


def read(answer: str, finish: Finish = "stop", **fields: int) -> list[str]:
    return SentenceWriter(Writes("x"), **fields).read(Reply(answer, Usage(), finish))  # type: ignore[arg-type]


def test_numbered_lines_of_bounded_length_are_sentences_and_nothing_else_is() -> None:
    assert read(SENTENCES) == ["A boat left.", "The ferry sank.", "A ferry and a ferry."]
    assert read('1. "Quoted."\n2. Twice.\n3. Twice.') == ["Quoted.", "Twice."]
    assert read("1. Whole.\n2. Cut of", "length") == ["Whole."]
    assert read("1. a\n2. b\n3. c", n_sentences=2) == ["a", "b"]
    assert read(f"1. {'x' * 30}\n2. short", max_chars=10) == ["short"]
    assert read("1. ...\n2. bell \x07 rings\n3. fine") == ["fine"]


@pytest.mark.parametrize("answer", ["", "I cannot do that.", "1.\n2. !!!", "1st of all"])
def test_an_answer_without_sentences_is_a_failed_answer(answer: str) -> None:
    with pytest.raises(AnswerError, match="no numbered sentence"):
        read(answer)


def test_sentences_on_which_the_unit_is_silent_are_shown_those_expected_most_first() -> None:
    found = gather(arm())
    assert [s.context.text.strip() for s in found.sentences] == [
        "A boat left.",
        "The ferry sank.",
        "A ferry and a ferry.",
    ]
    items = found.evidence.counterexamples
    assert [item.kind for item in items] == ["false_positive"] * 2
    assert {item.example.context.context for item in items} == {-2, -3}
    assert all(max(item.expected) == 1 for item in items)  # the simulator takes `ferry` from the description
    assert arm().shows(found.evidence) == Shown(sentences=tuple(i.example.context.context for i in items))
    assert found.usage == Usage(70, 30)
    assert len(gather(arm(n_shown=1)).evidence.counterexamples) == 1


class Fails(WordListSimulator):
    """A simulator that has no answer."""

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        return [Simulation(context.context, None, "no answer") for context in contexts]


def test_where_the_simulator_fails_every_counted_token_is_expected() -> None:
    items = gather(arm(), replace(material(), simulator=Fails())).evidence.counterexamples
    assert len(items) == 2
    assert all(item.expected == tuple(map(float, item.example.context.keep)) for item in items)


def test_mined_counterexamples_are_shown_too_where_they_are_wanted() -> None:
    both = gather(arm(with_mined=True))
    assert [item.example.context.context for item in both.evidence.counterexamples][-1] == 7
    shown = arm().shows(both.evidence)
    assert (shown.false_negatives, len(shown.sentences), shown.false_positives) == ((7,), 2, ())
    assert shown.contexts >= {7, -2, -3}


def test_no_sentence_is_shown_twice() -> None:
    assert gather(arm(), material(frozenset({-2, -3}))).evidence.counterexamples == ()


@pytest.mark.parametrize(("answer", "error"), [("", "no answer today"), ("Sorry.", "no numbered sentence")])
def test_a_failed_answer_is_counted_and_leaves_what_was_mined(answer: str, error: str) -> None:
    alone, both = gather(arm(answer)), gather(arm(answer, with_mined=True))
    assert alone.error is not None and error in alone.error
    assert (alone.evidence.counterexamples, alone.sentences) == ((), ())
    assert both.evidence.counterexamples == (mined(),)


def test_the_revision_has_its_own_name_and_lineage_and_names_no_sentence_among_its_examples() -> None:
    made = arm(with_mined=True)
    evidence = gather(made).evidence
    written = asyncio.run(made.propose(UNIT, PARENT, evidence, 2))
    assert (written.explanation, written.explainer, written.parent) == (
        "1.generated.2",
        "generated",
        PARENT.explanation,
    )
    assert written.examples == (7,)


def test_the_control_shows_as_many_random_texts_one_per_document() -> None:
    control = RandomSentences(arm())
    found = gather(control)
    items = found.evidence.counterexamples
    assert len(items) == 2 == len({item.example.context.document for item in items})
    assert all(item.example in material().fresh for item in items)
    assert all((item.kind == "false_negative") == (item.example.max_act > 0) for item in items)
    assert control.shows(found.evidence) == Shown(random_examples=tuple(i.example.context.context for i in items))
    written = asyncio.run(control.propose(UNIT, PARENT, found.evidence, 1))
    assert written.explainer == "random_sentences"
    assert gather(control) == found  # a seeded draw


def test_random_texts_are_another_draw_in_another_round_and_never_two_of_a_document() -> None:
    examples = [make_example(make_context(n, "a b", document=n // 2), ()) for n in range(20)]
    first, second = draw_random(examples, 4, (0, 1, 1)), draw_random(examples, 4, (0, 2, 1))
    assert first != second
    assert len({e.context.document for e in draw_random(examples, 99, (0, 1, 1))}) == 10
    assert draw_random(examples, 0, (0, 1, 1)) == []


def test_mistakes_are_one_line() -> None:
    with pytest.raises(SettingError, match="n_shown"):
        arm(n_shown=0)
    with pytest.raises(SettingError, match=r"writer\.max_chars"):
        SentenceWriter(Writes("x"), max_chars=0)
    with pytest.raises(LatenteseError, match="generated runs the subject"):
        gather(replace(arm(), reader=None))
