"""Of several drawn explanations the one that predicts held-out examples best, and the trace of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from toy_units import WordListSimulator, make_context, make_example

from latentese.errors import AnswerError, SettingError
from latentese.explainers.best_of_n import BestOfN, hold_out
from latentese.explainers.selection import ExampleChoice
from latentese.explainers.token_activation import TokenActivationExplainer
from latentese.lm.cached import CachedChat
from latentese.lm.protocol import Reply, Request
from latentese.records import Candidate, Context, Example, Explanation, Simulation, Unit, Usage
from latentese.store.tables import read_explanations, write_explanations

UNIT = Unit(1, 0.1, 4.0, 4.0, 0.0)


@dataclass
class Drawing:
    """Answers by the number of the sample; an empty answer is none."""

    answers: tuple[str, ...]
    asked: list[Request] = field(default_factory=list)

    @property
    def name(self) -> str:
        return "drawing"

    async def complete(self, request: Request) -> Reply:
        self.asked.append(request)
        if not self.answers[request.sample_idx]:
            raise AnswerError(f"nobody answers question {request.sample_idx}")
        return Reply(self.answers[request.sample_idx], Usage(10, 2), "stop")


def example(number: int, text: str, kind: str = "top", act: float = 4.0, document: int | None = None) -> Example:
    return make_example(make_context(number, text, "explain", document), {"river", "mill"}, kind, act)  # type: ignore[arg-type]


SHOWN = example(0, "the river ran by", act=9.0)
HELD_OUT = [
    example(1, "a river and a road"),
    example(2, "an old mill by night"),
    example(3, "the road went by night", "random"),
]
EXAMPLES = [SHOWN, *HELD_OUT]


def explain(
    answers: tuple[str, ...], examples: Sequence[Example] = EXAMPLES, simulator: WordListSimulator | None = None
) -> Explanation:
    inner = TokenActivationExplainer(Drawing(answers), choice=ExampleChoice(n_top=1, n_quantile=0))
    best = BestOfN(inner, simulator or WordListSimulator(), "best_of_3", n=len(answers))
    return asyncio.run(best.explain(UNIT, examples))


def test_the_best_on_held_out_examples_is_kept_with_all_candidates() -> None:
    explanation = explain(("road", "river mill", "river"))
    # Counted held-out tokens, truth 4 on `river` and `mill`: 4 + 4 + 4 = 12, of which 2 fire.
    # 'river mill': exactly these, r = 1. 'river': s=1 on one of them: n=12, y: sum 8 sumsq 32; s: sum 1 sumsq 1; ys 4;
    # r = (12*4 - 8) / sqrt((12*32 - 64)(12 - 1)) = 40 / sqrt(320 * 11) = .6742.
    # 'road': on two others: ys = 0, r = (0 - 8*2) / sqrt(320 * (12*2 - 4)) = -16 / 80 = -.2.
    assert explanation.text == "river mill"
    assert [candidate.text for candidate in explanation.candidates] == ["road", "river mill", "river"]
    assert [candidate.value for candidate in explanation.candidates] == pytest.approx([-0.2, 1.0, 0.6742], abs=1e-4)
    assert (explanation.explanation, explanation.explainer) == ("1.best_of_3.0", "best_of_3")
    assert explanation.usage == Usage(30, 6)
    assert (explanation.examples, explanation.chosen_on) == ((0,), (1, 2, 3))


class Asking(WordListSimulator):
    """Pays 5 and 1 tokens for every context."""

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        return [replace(answer, usage=Usage(5, 1)) for answer in await super().simulate(explanation, contexts)]


def test_what_choosing_costs_is_part_of_what_the_explanation_costs() -> None:
    explanation = explain(("road", "river mill", "road"), simulator=Asking())
    # Three answers of 10 and 2 tokens; two different texts, each simulated in three contexts.
    assert explanation.usage == Usage(3 * 10 + 2 * 3 * 5, 3 * 2 + 2 * 3 * 1)


def test_the_first_answer_is_the_likeliest_and_the_others_are_drawn_under_their_numbers() -> None:
    chat = Drawing(("road", "river", "mill"))
    inner = TokenActivationExplainer(chat)
    asyncio.run(BestOfN(inner, WordListSimulator(), temperature=0.5).explain(UNIT, EXAMPLES))
    assert [(request.sample_idx, request.temperature) for request in chat.asked] == [(0, 0.0), (1, 0.5), (2, 0.5)]
    assert len({request.messages for request in chat.asked}) == 1


def test_what_the_plain_explainer_asked_is_not_asked_again_nor_are_samples(tmp_path: Path) -> None:
    chat = Drawing(("road", "river", "mill"))
    cached = CachedChat(chat, tmp_path / "answers.sqlite")
    inner = TokenActivationExplainer(cached)
    asyncio.run(inner.explain(UNIT, EXAMPLES))
    best = BestOfN(inner, WordListSimulator())
    first = asyncio.run(best.explain(UNIT, EXAMPLES))
    assert len(chat.asked) == 3
    assert asyncio.run(best.explain(UNIT, EXAMPLES)) == first
    assert len(chat.asked) == 3


def test_no_document_that_was_shown_decides() -> None:
    # Context 4 is of the shown document, though it was not shown itself; 5 and 6 are of kinds that are not scored.
    others = [
        example(4, "a river at dawn", document=0),
        example(5, "a mill at dawn", "quantile"),
        example(6, "no road at all", "near_miss"),
    ]
    assert hold_out([*EXAMPLES, *others], {0}) == HELD_OUT
    explanation = explain(("road", "river mill"), [*EXAMPLES, *others])
    shown = {e.context.document for e in [*EXAMPLES, *others] if e.context.context in explanation.examples}
    judged = {e.context.document for e in [*EXAMPLES, *others] if e.context.context in explanation.chosen_on}
    assert judged and not shown & judged
    assert {e.context.split for e in [*EXAMPLES, *others]} == {"explain"}


def test_equal_candidates_the_first_is_kept_and_judged_once() -> None:
    simulator = Counting()
    explanation = explain(("river", "mill", "river"), simulator=simulator)
    # `river` and `mill` each name one of the two firing tokens: equal values.
    assert explanation.text == "river"
    assert len({candidate.value for candidate in explanation.candidates}) == 1
    assert simulator.n_asked == 2


class Counting(WordListSimulator):
    n_asked = 0

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        self.n_asked += 1
        return await super().simulate(explanation, contexts)


def test_an_unusable_answer_is_a_candidate_that_is_never_kept() -> None:
    explanation = explain(("", "road", "river"))
    assert explanation.text == "river" and explanation.error is None
    assert explanation.candidates[0] == Candidate(None, None, "nobody answers question 0")


def test_without_any_usable_answer_there_is_a_row_that_says_why() -> None:
    explanation = explain(("", ""))
    assert (explanation.text, explanation.error) == (None, "nobody answers question 0")
    assert [candidate.error for candidate in explanation.candidates] == [f"nobody answers question {i}" for i in (0, 1)]


def test_where_nothing_is_held_out_the_first_usable_answer_is_kept_without_a_value() -> None:
    explanation = explain(("", "road", "river"), [SHOWN])
    assert (explanation.text, explanation.chosen_on) == ("road", ())
    assert [candidate.value for candidate in explanation.candidates] == [None] * 3


def test_where_nothing_is_held_out_nothing_is_drawn_for_comparison() -> None:
    chat = Drawing(("road", "river", "mill"))
    explanation = asyncio.run(BestOfN(TokenActivationExplainer(chat), WordListSimulator()).explain(UNIT, [SHOWN]))
    assert (explanation.text, explanation.chosen_on) == ("road", ())
    assert explanation.candidates == (Candidate("road", None),)
    assert (len(chat.asked), explanation.usage) == (1, Usage(10, 2))


class Failing(WordListSimulator):
    """Gives no answer to the context of one number."""

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        answers = await super().simulate(explanation, contexts)
        return [replace(answer, expected=None, error="no") if answer.context == 2 else answer for answer in answers]


def test_a_context_without_a_simulation_enters_no_value() -> None:
    # Without context 2 only `river` fires, so that 'river' is right to the last token.
    explanation = explain(("road", "river"), simulator=Failing())
    assert explanation.candidates[1].value == pytest.approx(1.0)


class Choosy(WordListSimulator):
    """Of `road` it tells the context alone in which nothing happens."""

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        told = await super().simulate(explanation, contexts)
        if explanation.text != "mill":
            return told
        return [one if one.context == 2 else Simulation(one.context, None, "unsure") for one in told]


def test_candidates_are_compared_on_contexts_that_all_have_an_answer_to() -> None:
    # Alone on context 2 `mill` is right; so is `river mill`, which comes first.
    explanation = explain(("river mill", "mill"), simulator=Choosy())
    assert [candidate.value for candidate in explanation.candidates] == pytest.approx([1.0, 1.0])
    explanation = explain(("river", "mill"), simulator=Choosy())
    assert explanation.text == "mill" and explanation.candidates[0].value is None


def test_the_trace_survives_the_file(tmp_path: Path) -> None:
    explanation = explain(("", "road", "river"))
    write_explanations([explanation], tmp_path / "explanations.jsonl")
    assert read_explanations(tmp_path / "explanations.jsonl") == [explanation]


@pytest.mark.parametrize(("field_name", "value"), [("n", 1), ("temperature", 0.0)])
def test_settings_that_would_draw_nothing(field_name: str, value: float) -> None:
    with pytest.raises(SettingError, match=field_name):
        BestOfN(TokenActivationExplainer(Drawing(("a",))), WordListSimulator(), **{field_name: value})  # type: ignore[arg-type]
