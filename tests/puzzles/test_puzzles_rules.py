"""Texts are cut without loss, and fire exactly where a rule says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentese.errors import SettingError
from latentese.puzzles.rules import Rule, activations, cut


def test_words_digits_and_signs_are_tokens_with_the_space_before_them() -> None:
    assert cut("The red, 12 m\n  def a_b: ¿qué?") == (
        "The", " red", ",", " 1", "2", " m", "\n", " ", " def", " a", "_", "b", ":", " ¿", "qué", "?"
    )  # fmt: skip


@given(st.text())
def test_nothing_is_lost_or_added(text: str) -> None:
    assert "".join(cut(text)) == text
    assert "" not in cut(text)


def acts_of(text: str, *rules: Rule) -> dict[str, float]:
    tokens = cut(text)
    return {token: act for token, act in zip(tokens, activations(tokens, rules), strict=True) if act}


def test_a_token_fires_where_the_pattern_touches_it() -> None:
    # "kind|ness" is touched at its end; the space before "loud" is no touch of " loud".
    assert acts_of("kindness, loud", Rule("ness", 3)) == {"kindness": 3}
    assert acts_of("a loud cat", Rule("a ", 2)) == {"a": 2}


def test_the_group_fires_and_what_stands_around_it_does_not() -> None:
    assert acts_of("it was built and they built", Rule(r"was (\w+)", 5)) == {" built": 5}
    tokens = cut("it was built and they built")
    assert activations(tokens, [Rule(r"was (\w+)", 5)]) == (0, 0, 5, 0, 0, 0)


def test_the_stronger_of_two_rules_holds() -> None:
    assert acts_of("red dog", Rule("red", 2), Rule("red|dog", 1)) == {"red": 2, " dog": 1}


def test_an_empty_match_fires_nothing() -> None:
    assert acts_of("red dog", Rule("x*", 2)) == {}


def test_white_space_fires_where_it_is_meant() -> None:
    assert acts_of("a\nb", Rule("\n", 2)) == {"\n": 2}


@pytest.mark.parametrize(
    ("on", "act", "said"),
    [("(", 1, "a regular expression"), ("(a)(b)", 1, "one group at most"), ("a", 0, "above 0")],
)
def test_bad_rules_are_refused(on: str, act: float, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Rule(on, act)
