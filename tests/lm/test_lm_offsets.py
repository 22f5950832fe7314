"""Tokens of a server found again in the text that it was given."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import make_tokenizer

from latentese.errors import AnswerError
from latentese.lm.offsets import token_ends

TOKENIZER = make_tokenizer()
PART = "\N{REPLACEMENT CHARACTER}"


def test_tokens_and_offsets() -> None:
    assert token_ends(["the", " mill", "\t"], "the mill\t") == {0: 0, 3: 1, 8: 2, 9: 3}


def test_tokens_before_the_text_do_not_shift_it() -> None:
    assert token_ends(["<s>", "the", " mill"], "the mill") == {0: 1, 3: 2, 8: 3}


def test_a_first_token_that_is_not_told_stands_for_the_rest() -> None:
    assert token_ends(["", " mill"], "the mill") == {3: 1, 8: 2}


@pytest.mark.parametrize("parts", [[PART, PART, PART], ["bytes:\\xe6", "bytes:\\x97", "bytes:\\xa5"]])
def test_a_split_character_has_no_offset_inside(parts: list[str]) -> None:
    assert token_ends(["a", *parts, "b"], "a日b") == {0: 0, 1: 1, 2: 4, 3: 5}
    assert token_ends(["a", *parts], "a日") == {0: 0, 1: 1, 2: 4}
    assert token_ends([*parts, "b"], "日b") == {1: 3, 2: 4}


def test_a_character_of_the_text_may_itself_be_the_replacement() -> None:
    assert token_ends(["a", PART, "b"], f"a{PART}b") == {0: 0, 1: 1, 2: 2, 3: 3}


@pytest.mark.parametrize("tokens", [["the", " hill"], ["mill"], ["the mill", "s"], []])
def test_tokens_that_do_not_spell_the_text(tokens: list[str]) -> None:
    with pytest.raises(AnswerError, match="do not spell the prompt"):
        token_ends(tokens, "the mill")


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters=PART), min_size=1, max_size=30))
def test_offsets_are_those_of_the_tokenizer_or_an_error(text: str) -> None:
    encoded = TOKENIZER(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    tokens = [TOKENIZER.decode([token]) for token in encoded["input_ids"]]
    try:
        ends = token_ends(tokens, text)
    except AnswerError:
        assert any(PART in token for token in tokens)  # only where characters are split
        return
    for offset, n_before in ends.items():
        assert TOKENIZER.decode(encoded["input_ids"][:n_before]) == text[:offset]
