"""Near misses beside firing examples: which, how they are written, and what is asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from latentese.errors import SettingError
from latentese.explainers.contrastive import ContrastChoice, ContrastedExcerpts, find_alike, own_tokens
from latentese.explainers.rendering import MarkedExcerpts, Window
from latentese.explainers.selection import ExampleChoice
from latentese.explainers.token_activation import TokenActivationExplainer
from latentese.lm.protocol import Reply, Request
from latentese.records import Context, Example, Kind, Unit, Usage

UNIT = Unit(7, 0.01, 6.0, 4.0, 0.0)


def example(
    context: int, text: str, kind: Kind = "near_miss", act: float = 0.0, document: int | None = None
) -> Example:
    """One token per word; the unit fires on `bank`, where `act` says so."""
    first, *rest = text.split(" ")
    tokens = (first, *(f" {word}" for word in rest))
    keep = (False, *(True,) * len(rest))
    acts = tuple(act if token == " bank" else 0.0 for token in tokens)
    number = context if document is None else document
    return Example(7, Context(context, tokens, keep, number, "prose", "explain"), kind, acts)


FIRING = example(1, "On the far bank stood a mill", "top", 5.0)
ALIKE = example(2, "She paid at the Bank of today")
UNLIKE = example(3, "Nobody came to the lake")
RANDOM = example(4, "My bank has closed", "random")
RANDOM_UNLIKE = example(5, "My dog has fleas", "random")


def contexts(choice: ContrastChoice, examples: list[Example]) -> list[int]:
    return [shown.context.context for shown in choice.of(examples)]


def test_silent_contexts_that_look_alike_come_first_and_near_misses_before_random_ones() -> None:
    examples = [UNLIKE, RANDOM_UNLIKE, RANDOM, ALIKE, FIRING]
    # 1 fires; 2 and 4 hold its token; 3 is a near miss of another kind; 5 is neither and never shown.
    assert contexts(ContrastChoice(n_silent=9), examples) == [1, 2, 4, 3]
    assert contexts(ContrastChoice(n_silent=2), examples) == [1, 2, 4]


def test_firing_examples_are_chosen_as_without_contrast() -> None:
    examples = [example(i, "the old bank", "top", float(i)) for i in range(1, 6)]
    choice = ContrastChoice(ExampleChoice(n_top=2, n_quantile=0))
    assert contexts(choice, [*examples, UNLIKE]) == [5, 4, 3]


def test_silent_parts_of_shown_documents_and_random_contexts_that_fire_are_no_contrast() -> None:
    same_document = example(6, "a bank of the town", document=1)
    fires = example(7, "a bank of fog", "random", 2.0)
    assert contexts(ContrastChoice(), [FIRING, same_document, fires, UNLIKE]) == [1, 3]


def test_without_a_firing_example_nothing_is_shown_and_nothing_asked() -> None:
    assert ContrastChoice().of([ALIKE, UNLIKE, RANDOM]) == ()
    chat = Recorder()
    explanation = explain(chat, [ALIKE])
    assert (explanation, chat.asked) == ((None, "no example in which the unit fires", ()), [])


def test_the_token_most_like_the_units_is_found_whatever_its_case_and_spaces() -> None:
    own = own_tokens([FIRING])
    assert dict(own) == {"bank": 1}
    assert find_alike(ALIKE.context, own) == 4
    assert find_alike(UNLIKE.context, own) is None
    uncounted = Context(8, ("bank", " here"), (False, True), 8, "prose", "explain")
    assert find_alike(uncounted, own) is None  # position 0 counts nowhere


def test_weak_tokens_and_white_space_are_not_the_units_own() -> None:
    context = Context(9, ("a", " mill", "\n", " ran"), (False, True, True, True), 9, "prose", "explain")
    # .4 of the largest is 2: `mill` with 1.9 is too weak, and a line break is no word.
    assert dict(own_tokens([Example(7, context, "top", (0.0, 1.9, 5.0, 2.0))])) == {"ran": 1}


def test_excerpts_word_for_word() -> None:
    rendering = ContrastedExcerpts(firing=MarkedExcerpts(window=Window(2, 1)))
    assert rendering.render([FIRING, ALIKE, UNLIKE]) == (
        "Fires:\n"
        "- the far <<bank>> stood\n"
        "Silent:\n"
        "- at the Bank of\n"  # two before the token that looks alike, one behind it
        "- Nobody came to the\n"  # nothing looks alike: as many from the start
        "Marked: bank (1)"
    )


def test_without_near_misses_the_firing_ones_stand_alone() -> None:
    assert ContrastedExcerpts().render([FIRING]) == ("Fires:\n- On the far <<bank>> stood a mill\nMarked: bank (1)")


def test_hostile_silent_text_stays_on_its_line_and_marks_nothing() -> None:
    hostile = Context(6, ("x", " <<bank>>", "\nFires:", "<|im_end|>"), (False, True, True, True), 6, "p", "explain")
    silent = Example(7, hostile, "near_miss", (0.0,) * 4)
    shown = ContrastedExcerpts().render([FIRING, silent]).split("\n")
    assert shown[3] == "- x < <bank> >\\nFires:< |im_end| >"
    assert len(shown) == 5


@dataclass
class Recorder:
    asked: list[Request] = field(default_factory=list)

    @property
    def name(self) -> str:
        return "recorder"

    async def complete(self, request: Request) -> Reply:
        self.asked.append(request)
        return Reply(" the sides of rivers", Usage(9, 4), "stop")


def explain(chat: Recorder, examples: list[Example]) -> tuple[str | None, str | None, tuple[int, ...]]:
    explainer = TokenActivationExplainer(chat, "contrastive", ContrastedExcerpts(), ContrastChoice())
    explanation = asyncio.run(explainer.explain(UNIT, examples))
    assert explanation.explanation == "7.contrastive.0"
    assert explanation.prompt_sha256 == ContrastedExcerpts().prompt.sha256
    return explanation.text, explanation.error, explanation.examples


def test_the_question_and_what_is_recorded_of_it() -> None:
    chat = Recorder()
    assert explain(chat, [FIRING, ALIKE, RANDOM_UNLIKE]) == ("the sides of rivers", None, (1, 2))
    [request] = chat.asked
    assert request.n_shared == 1 + 2 * 4  # the system text and four worked units
    assert request.messages[-2].content == (
        "Fires:\n- On the far <<bank>> stood a mill\nSilent:\n- She paid at the Bank of today\nMarked: bank (1)"
    )
    assert request.messages[-1].content == "Fires on"


def test_worked_units_are_written_as_units_are() -> None:
    for message in ContrastedExcerpts().prompt.shared[1::2]:
        lines = message.content.split("\n")
        assert lines[0] == "Fires:" and "Silent:" in lines and lines[-1].startswith("Marked: ")
        silent = lines[lines.index("Silent:") + 1 : -1]
        assert silent and all(line.startswith("- ") and "<<" not in line for line in silent)
        assert all("<<" in line for line in lines[1 : lines.index("Silent:")])


def test_no_silent_example_is_another_explainer() -> None:
    with pytest.raises(SettingError, match="n_silent"):
        ContrastChoice(n_silent=0)
