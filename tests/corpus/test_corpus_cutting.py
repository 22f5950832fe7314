from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import END, make_tokenizer

from latentese.corpus.cutting import TokenizedText, cut_windows, pieces_of, tokenize_texts

TOKENIZER: Any = make_tokenizer()


def test_the_first_token_of_a_split_character_carries_it() -> None:
    # "é🙂" as bytes: é is one token, the emoji four; all four end behind character 2.
    assert pieces_of("é🙂!", [1, 2, 2, 2, 2, 3]) == ["é", "🙂", "", "", "", "!"]


def test_a_space_outside_of_the_offsets_belongs_to_the_next_token() -> None:
    # Offsets (0, 3), (4, 7): the space at 3 was read with the second word.
    assert pieces_of("the cat", [3, 7]) == ["the", " cat"]


def test_an_emoji_is_one_piece() -> None:
    (tokenized,) = tokenize_texts(TOKENIZER, ["a🙂b"])
    assert len(tokenized.token_ids) == 6
    assert list(tokenized.pieces) == ["a", "🙂", "", "", "", "b"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), min_size=1, max_size=4))
def test_pieces_join_to_the_text_and_ids_decode_to_it(texts: list[str]) -> None:
    for text, tokenized in zip(texts, tokenize_texts(TOKENIZER, texts), strict=True):
        assert "".join(tokenized.pieces) == text
        assert len(tokenized.pieces) == len(tokenized.token_ids)
        assert TOKENIZER.decode(tokenized.token_ids) == text


def test_special_tokens_are_neither_added_nor_read_out_of_a_text() -> None:
    (tokenized,) = tokenize_texts(TOKENIZER, [f"a{END}b"])
    assert 0 not in tokenized.token_ids
    assert "".join(tokenized.pieces) == f"a{END}b"
    assert TOKENIZER(END)["input_ids"] == [0]  # the tokenizer itself is left as it was


def tokenized(n: int) -> TokenizedText:
    return TokenizedText(list(range(n)), [str(i) for i in range(n)])


def test_windows_follow_one_another_and_keep_a_long_enough_tail() -> None:
    windows = cut_windows(tokenized(10), ctx_len=4, n_max=9, min_tokens=2)
    assert [window.token_ids for window in windows] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    assert windows[2].pieces == ("8", "9")
    assert len(cut_windows(tokenized(10), ctx_len=4, n_max=9, min_tokens=3)) == 2


def test_few_windows_are_spread_over_a_long_document() -> None:
    # 12 windows, 3 wanted: the middles of three thirds, windows 2, 6 and 10.
    windows = cut_windows(tokenized(48), ctx_len=4, n_max=3, min_tokens=2)
    assert [window.token_ids[0] for window in windows] == [8, 24, 40]
    # One wanted: the one in the middle.
    assert [window.token_ids[0] for window in cut_windows(tokenized(20), 4, 1, 2)] == [8]


@pytest.mark.parametrize("n", [0, 1])
def test_a_short_document_gives_none(n: int) -> None:
    assert cut_windows(tokenized(n), ctx_len=4, n_max=3, min_tokens=2) == []


@given(st.integers(0, 200), st.integers(2, 9), st.integers(1, 9))
def test_windows_never_overlap(n: int, ctx_len: int, n_max: int) -> None:
    windows = cut_windows(tokenized(n), ctx_len, n_max, min_tokens=2)
    ids = [i for window in windows for i in window.token_ids]
    assert ids == sorted(set(ids))
    assert len(windows) <= n_max
