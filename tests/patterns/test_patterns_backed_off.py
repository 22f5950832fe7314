"""Nested patterns by hand: where each ends, what it leans on, and what is left out."""

from __future__ import annotations

import pytest
from toy_units import make_context

from latentese.patterns.backed_off import backed_off_acts, base_of, lengthened
from latentese.records import Example


def example(text: str, acts: tuple[float, ...]) -> Example:
    return Example(1, make_context(0, text, "explain"), "top", acts)


def test_the_arithmetic_by_hand() -> None:
    examples = [example("x New York", (0.0, 0.0, 4.0)), example("x old York York", (0.0, 0.0, 0.0, 2.0))]
    trie = backed_off_acts([(" York",), (" old", " York")], examples, n_prior=1.0)
    # ` York` ends in three places: (4 + 0 + 2 + 1 * 0) / (3 + 1). Behind ` old` in one: (0 + 1 * 1.5) / (1 + 1).
    assert {pattern.tokens: pattern.act for pattern in trie.patterns} == {(" York",): 1.5, (" old", " York"): 0.75}
    assert trie.expected((" old", " York", " New", " York")) == (0.0, 0.75, 0.0, 1.5)


def test_without_a_prior_each_expects_its_own_mean() -> None:
    examples = [example("x a b", (0.0, 0.0, 6.0)), example("x c b", (0.0, 0.0, 0.0))]
    trie = backed_off_acts([(" b",), (" a", " b"), (" c", " b")], examples, n_prior=0.0)
    assert {p.tokens: p.act for p in trie.patterns} == {(" a", " b"): 6.0, (" b",): 3.0, (" c", " b"): 0.0}


def test_what_changes_no_expectation_is_left_out() -> None:
    examples = [example("x a b", (0.0, 0.0, 6.0))]
    trie = backed_off_acts([(" b",), (" a",), (" never",), (" z", " b")], examples, n_prior=1.0)
    assert [pattern.tokens for pattern in trie.patterns] == [(" b",)]


def test_positions_that_do_not_count_do_not_count() -> None:
    first = make_context(0, "b b", "explain")
    trie = backed_off_acts([("b",), (" b",)], [Example(1, first, "top", (9.0, 3.0))], n_prior=0.0)
    assert [(pattern.tokens, pattern.act) for pattern in trie.patterns] == [((" b",), 3.0)]


def test_the_base_is_the_longest_end_that_is_a_pattern() -> None:
    patterns = {("c",): 1.0, ("b", "c"): 1.0, ("a", "b", "c"): 1.0}
    assert base_of(("a", "b", "c"), patterns) == ("b", "c")
    assert base_of(("a", None, "c"), patterns) == ("c",)
    assert base_of(("c",), patterns) is None


def test_a_pattern_is_lengthened_by_the_token_before_it() -> None:
    texts = ("", " a", " b", " c")
    assert lengthened((" c",), texts, 3) == (" b", " c")
    assert lengthened((None, " c"), texts, 3) == (" a", None, " c")
    assert lengthened((" a",), texts, 1) is None  # padding
    assert lengthened((" a", " b", " c"), texts[1:], 2) is None  # the beginning


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_patterns_and_examples_does_not_matter(order: int) -> None:
    examples = [example("x a b", (0.0, 1.0, 6.0)), example("x c b", (0.0, 0.0, 0.0))][::order]
    found = backed_off_acts([(" b",), (" a",), (" c", " b")][::order], examples, 1.0)
    assert found == backed_off_acts([(" a",), (" b",), (" c", " b")], examples, 1.0)
