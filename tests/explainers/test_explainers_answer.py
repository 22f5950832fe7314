"""What models write, and what is kept of it."""

from __future__ import annotations

import pytest

from latentese.errors import AnswerError
from latentese.explainers.answer import clean_answer, read_reply
from latentese.lm.protocol import Reply
from latentese.records import Usage


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (" names of cities.\nNext unit:", "names of cities"),
        ("\n\n  names   of\tcities ", "names of cities"),
        ("Fires on names of cities", "names of cities"),
        ('"fires on: names of cities."', "names of cities"),
        ("Fires only on numbers", "Fires only on numbers"),
        ("“names of cities”", "names of cities"),
        ("'names' of cities, such as 'Rome'", "'names' of cities, such as 'Rome'"),
        ("'Rome', 'Paris'", "'Rome', 'Paris'"),
        ("the word <<of>>", "the word of"),
        ("the ending '-ness'", "the ending '-ness'"),
        ("日本の都市", "日本の都市"),
    ],
)
def test_one_phrase_is_kept(answer: str, text: str) -> None:
    assert clean_answer(answer, "Fires on", max_words=6) == text


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty answer"),
        ("  \n ", "empty answer"),
        ("Fires on:", "empty answer"),
        ("...", "empty answer"),
        ("!?", "without words"),
        ("one two three four five six seven", "7 words, at most 6"),
    ],
)
def test_an_unusable_answer_says_why(answer: str, reason: str) -> None:
    with pytest.raises(AnswerError, match=reason):
        clean_answer(answer, "Fires on", max_words=6)


def test_list_that_was_cut_off_keeps_its_whole_items() -> None:
    reply = Reply("the words 'rise', 'rising', 'incr", Usage(), "length")
    assert read_reply(reply, "Fires on", 30) == "the words 'rise', 'rising'"


def test_phrase_that_was_cut_off_is_no_answer() -> None:
    with pytest.raises(AnswerError, match="cut off"):
        read_reply(Reply("words for things that are", Usage(), "length"), "Fires on", 30)
