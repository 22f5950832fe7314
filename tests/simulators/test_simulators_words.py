"""Words by character offsets, whatever the tokenizer; phrases of explanations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentese.simulators.words import phrases_of, words_of


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["The", " har", "bour", "."], ("The", "harbour", "harbour", ".")),
        ([" don", "'t", "\n\n"], ("don't", "don't", "")),
        (["snake", "_case", "(("], ("snake", "case", "((")),
        (["日", "", "本"], ("日本", "日本", "日本")),
        (["", ""], ("", "")),
        ([" a b"], ("a",)),
    ],
)
def test_the_word_of_each_token(tokens: list[str], words: tuple[str, ...]) -> None:
    assert words_of(tokens) == words


@given(st.lists(st.text(max_size=6), max_size=20))
def test_one_word_per_token_and_none_invented(tokens: list[str]) -> None:
    words = words_of(tokens)
    assert len(words) == len(tokens)
    assert all(word in "".join(tokens) for word in words)


def test_phrases_are_the_whole_what_it_quotes_and_its_items() -> None:
    text = "titles of nobility, such as 'earl' and the word \"crown\"."
    whole = "titles of nobility, such as 'earl' and the word crown"
    assert phrases_of(text) == (whole, "earl", "crown", "titles of nobility", "the word crown")


@pytest.mark.parametrize("text", ["of", "狗", "数字", "-", "."])
def test_an_explanation_stays_however_short(text: str) -> None:
    assert phrases_of(text) == (text,)


def test_apostrophes_quote_nothing() -> None:
    assert phrases_of("the king's and the queen's men") == (
        "the king's and the queen's men", "the king's", "the queen's men"
    )  # fmt: skip
