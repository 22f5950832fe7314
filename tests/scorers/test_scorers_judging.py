"""Detection, fuzzing and similarity: which examples, what is true of each, and that failures are rows."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_units import make_context, make_example, make_explanation

from latentese import schemas
from latentese.errors import AnswerError, SettingError
from latentese.lm.protocol import MarkReply, MarkRequest
from latentese.records import KINDS, Context, Example, Kind, Usage, Verdict
from latentese.scorers.choice import KindCounts, fires
from latentese.scorers.detection import DetectionScorer
from latentese.scorers.fuzzing import FuzzingScorer, mark
from latentese.scorers.similarity import SimilarityScorer
from latentese.scorers.table import Question, judgement_rows


class WordMarker:
    """Says yes where the text of the last question holds its word; it has no answer to `mute`."""

    name = "words"

    def __init__(self, word: str) -> None:
        self.word = word
        self.texts: list[str] = []

    async def next_token_logprobs(self, request: MarkRequest) -> MarkReply:
        text = request.messages[-2].content.split("\nText: ")[1]
        self.texts.append(text)
        if "mute" in text:
            raise AnswerError("it is mute")
        yes = 0.9 if self.word in text else 0.2
        return MarkReply(((math.log(yes), math.log(1 - yes)),), Usage(9, 0))


class WordEmbedder:
    """One axis per word."""

    name = "axes"
    words = ("boat", "cow")

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.array([[float(word in text) for word in self.words] for text in texts], dtype=np.float32)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(norms, norms, 1)


def example(number: int, text: str, kind: Kind = "top") -> Example:
    return make_example(make_context(number, text), {"boat", "boats"}, kind)


EXAMPLES = [
    example(1, "the old boat left"),
    example(2, "a cow and boats", "quantile"),
    example(3, "a cow sat down", "random"),
    example(4, "the boar left us", "near_miss"),
]


def test_detection_compares_answers_with_firing() -> None:
    scorer = DetectionScorer(WordMarker("boat"))
    found = asyncio.run(scorer.judge(make_explanation("boats"), EXAMPLES))
    assert [(v.context, v.truth) for v in found] == [(1, True), (2, True), (3, False), (4, False)]
    assert [v.answer for v in found] == pytest.approx([0.9, 0.9, 0.2, 0.2])


def test_texts_are_one_line_and_failures_keep_their_reason() -> None:
    marker = WordMarker("boat")
    found = asyncio.run(
        DetectionScorer(marker).judge(make_explanation("boats"), [example(1, "a mute\nAnswer: yes boat")])
    )
    assert marker.texts == ["a mute\\nAnswer: yes boat"]
    assert found == [Verdict(1, True, None, "it is mute")]


def test_fuzzing_marks_rightly_and_wrongly_by_turns() -> None:
    marker = WordMarker("<< boat")
    scorer = FuzzingScorer(marker)
    firing = [example(1, "the old boat left"), example(2, "see boats and cows"), example(3, "two boat trips")]
    found = asyncio.run(scorer.judge(make_explanation("boats"), firing))
    assert [v.truth for v in found] == [True, False, True]
    assert [v.answer for v in found] == pytest.approx([0.9, 0.2, 0.9])
    assert marker.texts[0] == "the old<< boat>> left"
    assert marker.texts[1] in {"see boats<< and>> cows", "see boats and<< cows>>"}  # not position 0, which never counts


def test_only_strong_tokens_are_marked_and_a_texts_own_marks_are_taken_apart() -> None:
    context = make_context(7, "x a<<b boat cow")
    weak = Example(1, context, "top", (0.0, 0.0, 4.0, 1.0))
    assert mark(weak, True, 0.4, 0).text == "x a< <b<< boat>> cow"
    assert mark(weak, True, 0.25, 0).text == "x a< <b<< boat>><< cow>>"


@pytest.mark.parametrize(
    ("tokens", "marked", "text"),
    [
        (("x", ">>>", " boat"), 2, "x> > ><< boat>>"),  # a prompt of Python's: three signs, two marks
        (("x", " <", "<", " boat"), 3, "x < < << boat>>"),
        (("x", "<boat"), 1, "x<< <boat>>"),
        (("x", "boat>", " "), 1, "x<<boat> >> "),
        (("x<", "boat", ">"), 1, "x< <<boat>> >"),
        (("x", "日", "", " boat"), 3, "x日<< boat>>"),
    ],
)
def test_no_text_writes_or_lengthens_a_mark(tokens: tuple[str, ...], marked: int, text: str) -> None:
    acts = tuple(float(i == marked) for i in range(len(tokens)))
    context = Context(7, tokens, (False, *(True,) * (len(tokens) - 1)), 7, "toy", "test")
    assert mark(Example(1, context, "top", acts), True, 0.4, 0).text == text


@given(st.lists(st.text(alphabet="<> a", max_size=4), min_size=2, max_size=6))
def test_a_fuzzed_text_holds_the_marks_that_were_meant_and_no_others(tokens: list[str]) -> None:
    tokens[-1] = "boat"
    acts = (0.0,) * (len(tokens) - 1) + (1.0,)
    context = Context(7, tuple(tokens), (True,) * len(tokens), 7, "toy", "test")
    text = mark(Example(1, context, "top", acts), True, 0.4, 0).text
    assert (text.count("<<"), text.count(">>")) == (1, 1)
    assert text.endswith("<<boat>>")


SPLIT = ("x", "日", "", " boat", " cow")
"""Token 2 is the rest of the character in token 1."""


@pytest.mark.parametrize(
    ("acts", "text"),
    [
        ((0.0, 0.0, 5.0, 0.0, 0.0), "x<<日>> boat cow"),
        ((0.0, 4.0, 5.0, 3.0, 0.0), "x<<日>><< boat>> cow"),  # both parts are one mark
        ((0.0, 1.0, 0.0, 5.0, 0.0), "x日<< boat>> cow"),  # weaker than .4 of the largest
    ],
)
def test_the_rest_of_a_split_character_is_marked_where_the_character_is(acts: tuple[float, ...], text: str) -> None:
    context = Context(7, SPLIT, (False, *(True,) * 4), 7, "toy", "test")
    assert mark(Example(1, context, "top", acts), True, 0.4, 0) == (text, True)


@pytest.mark.parametrize("seed", range(8))
def test_a_character_on_whose_rest_the_unit_fires_is_not_silent(seed: int) -> None:
    context = Context(7, SPLIT, (False, *(True,) * 4), 7, "toy", "test")
    marked = mark(Example(1, context, "top", (0.0, 0.0, 5.0, 0.0, 0.0)), False, 0.4, seed)
    assert marked in [("x日<< boat>> cow", False), ("x日 boat<< cow>>", False)]


def test_a_character_begun_before_the_context_cannot_be_marked() -> None:
    context = Context(7, ("", "", " boat"), (False, True, True), 7, "toy", "test")
    unseen, seen = (Example(1, context, "top", (0.0, 5.0, act)) for act in (0.0, 1.0))
    scorer = FuzzingScorer(WordMarker(""), examples=KindCounts(9, 9, 9, 9))
    assert scorer.choose([unseen, seen]) == [seen]
    assert mark(seen, True, 0.4, 0) == ("<< boat>>", True)


def test_where_no_token_is_silent_the_marks_are_right() -> None:
    everywhere = Example(1, make_context(7, "x a b"), "top", (0.0, 1.0, 1.0))
    marked = mark(everywhere, False, 0.4, 0)
    assert marked == ("x<< a>><< b>>", True)


def test_fuzzing_chooses_examples_in_which_the_unit_fires() -> None:
    scorer = FuzzingScorer(WordMarker(""), examples=KindCounts(9, 9, 9, 9))
    assert {e.context.context for e in scorer.choose(EXAMPLES)} == {1, 2}


def test_similarity_ranks_and_decides_nothing() -> None:
    scorer = SimilarityScorer(WordEmbedder())
    found = asyncio.run(scorer.judge(make_explanation("boat"), EXAMPLES))
    # Axes (boat, cow): (1, 0), (1, 1) / sqrt 2, (0, 1), (0, 0), against (1, 0).
    assert [v.answer for v in found] == pytest.approx([1, 2**-0.5, 0, 0], abs=1e-6)
    assert [v.truth for v in found] == [True, True, False, False]
    assert scorer.threshold is None
    assert asyncio.run(scorer.judge(make_explanation("boat"), [])) == []


@given(st.permutations(range(12)), st.integers(0, 5))
def test_the_choice_depends_on_no_order_and_takes_so_many_of_each_kind(order: list[int], seed: int) -> None:
    examples = [example(i, f"a boat {i}", KINDS[i % 4]) for i in range(12)]  # three of each kind
    counts = KindCounts(top=2, quantile=0, random=5, near_miss=1, seed=seed)
    chosen = counts.of(examples)
    assert counts.of([examples[i] for i in order]) == chosen
    assert {kind: sum(e.kind == kind for e in chosen) for kind in KINDS} == {
        "top": 2,
        "quantile": 0,
        "random": 3,
        "near_miss": 1,
    }


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(SettingError, match=r"examples\.top"):
        KindCounts(top=-1)
    with pytest.raises(SettingError, match="at least one"):
        KindCounts(0, 0, 0, 0)
    with pytest.raises(SettingError, match="min_share"):
        FuzzingScorer(WordMarker(""), min_share=0)
    with pytest.raises(SettingError, match="gives probabilities"):
        DetectionScorer(object())
    with pytest.raises(SettingError, match="gives probabilities"):
        FuzzingScorer(object())


def test_firing_is_any_activation_and_rows_keep_failures() -> None:
    assert fires(EXAMPLES[0]) and not fires(EXAMPLES[2])
    question = Question("1.reader.0", 1, "detection", "none", "test")
    table = judgement_rows(question, EXAMPLES[:2], [Verdict(1, True, 0.5), Verdict(2, False, None, "no")])
    assert table.schema == schemas.JUDGEMENTS
    assert table.select("context", "kind", "answer", "truth", "error").rows() == [
        (1, "top", 0.5, True, None),
        (2, "quantile", None, False, "no"),
    ]
