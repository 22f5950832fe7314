"""Token patterns of planted rules, and tries by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentese.errors import SettingError
from latentese.patterns.n2g import (
    Firing,
    N2GSettings,
    Pattern,
    PatternTrie,
    Strength,
    TokenIds,
    build_trie,
    find_patterns,
)

PAD = 0


def firing(*token_ids: int, act: float) -> Firing:
    return Firing(token_ids, tuple(f" w{token}" for token in token_ids), act)


def rule(act_of: Callable[[TokenIds], float]) -> Strength:
    """A unit whose activation at the last token is a function of the tokens, those in front of the pad left out."""
    return lambda texts: [act_of(text) for text in texts]


def tokens_of(patterns: Sequence[Pattern | None]) -> list[tuple[str | None, ...] | None]:
    return [None if pattern is None else pattern.tokens for pattern in patterns]


def test_a_unit_of_one_token_needs_nothing_before_it() -> None:
    unit = rule(lambda text: 4.0 if text[-1] == 7 else 0.0)
    found = find_patterns([firing(1, 2, 7, act=4.0)], unit, PAD, N2GSettings())
    assert found == [Pattern((" w7",), 4.0)]


def test_a_skip_gram_is_found_with_a_wildcard_in_its_place() -> None:
    # fires on 9 when 2 stands two before it, whatever is between
    unit = rule(lambda text: 3.0 if text[-1] == 9 and text[-3:-2] == (2,) else 0.0)
    found = find_patterns([firing(4, 2, 8, 9, act=3.0), firing(2, 6, 9, act=3.0)], unit, PAD, N2GSettings())
    assert tokens_of(found) == [(" w2", None, " w9"), (" w2", None, " w9")]


def test_a_token_belongs_to_the_pattern_when_half_of_the_activation_hangs_on_it() -> None:
    # 5 alone gives `alone`, 5 behind 3 gives 4
    def unit(alone: float) -> Strength:
        return rule(lambda text: (4.0 if text[-2] == 3 else alone) if text[-1] == 5 else 0.0)

    shown = [firing(1, 3, 5, act=4.0)]
    assert tokens_of(find_patterns(shown, unit(1.9), PAD, N2GSettings())) == [(" w3", " w5")]
    # exactly half is kept by the last token alone: the suffix ends there
    assert tokens_of(find_patterns(shown, unit(2.0), PAD, N2GSettings())) == [(" w5",)]
    # with three quarters asked for, 2.9 of 4 is not enough, and padding 3 leaves less than that
    assert tokens_of(find_patterns(shown, unit(2.9), PAD, N2GSettings(share=0.75))) == [(" w3", " w5")]


def test_wildcards_in_front_of_all_that_matters_are_dropped() -> None:
    # needs two tokens before 5, but not which: no single padding costs anything
    unit = rule(lambda text: 4.0 if text[-1] == 5 and len(text) == 4 else 0.0)
    assert tokens_of(find_patterns([firing(1, 3, 5, act=4.0)], unit, PAD, N2GSettings())) == [(" w5",)]


def test_what_hangs_on_a_distant_token_gives_no_pattern() -> None:
    unit = rule(lambda text: 1.0 if 3 in text else 0.0)
    far = firing(3, 1, 1, 1, 1, 5, act=1.0)  # six tokens are needed
    assert tokens_of(find_patterns([far], unit, PAD, N2GSettings(max_tokens=5))) == [None]
    needed = (" w3", None, None, None, None, " w5")
    assert tokens_of(find_patterns([far], unit, PAD, N2GSettings(max_tokens=6))) == [needed]


@pytest.mark.parametrize("lengths_at_once", [1, 2, 7, 100])
def test_how_many_lengths_are_tried_at_once_does_not_matter(lengths_at_once: int) -> None:
    unit = rule(lambda text: 1.0 * (3 in text) + 0.5 * (4 in text))
    shown = [firing(4, 3, 1, 1, 5, act=1.5), firing(3, 4, 5, act=1.5), firing(1, 4, 2, 3, act=1.5)]
    settings = N2GSettings(lengths_at_once=lengths_at_once)
    # 3 alone keeps 1.0 of 1.5; padding it takes all of the suffix
    expected = [(" w3", None, None, " w5"), (" w3", None, " w5"), (" w3",)]
    assert tokens_of(find_patterns(shown, unit, PAD, settings)) == expected


def test_texts_begin_with_one_pad_and_equal_ones_are_asked_about_once() -> None:
    asked: list[TokenIds] = []

    def unit(texts: Sequence[TokenIds]) -> list[float]:
        asked.extend(texts)
        return [1.0 if text[-1] == 5 and 3 in text else 0.0 for text in texts]

    find_patterns([firing(2, 3, 5, act=1.0), firing(1, 3, 5, act=1.0)], unit, PAD, N2GSettings(lengths_at_once=1))
    assert asked == [(PAD, 5), (PAD, 3, 5), (PAD, PAD, 5)]


def test_no_firings_ask_nothing() -> None:
    def unit(texts: Sequence[TokenIds]) -> list[float]:
        raise AssertionError(texts)

    assert find_patterns([], unit, PAD, N2GSettings()) == []


def test_patterns_with_the_same_tokens_are_merged_and_their_activations_averaged() -> None:
    trie = build_trie([Pattern(("a",), 1.0), Pattern(("b", "a"), 5.0), Pattern(("a",), 2.0, 3)])
    # ("a",): (1 * 1 + 3 * 2) / 4
    assert trie.patterns == (Pattern(("b", "a"), 5.0, 1), Pattern(("a",), 1.75, 4))


def test_the_order_of_patterns_does_not_matter() -> None:
    patterns = [Pattern(("a",), 1.0), Pattern(("b",), 1.0), Pattern(("a",), 3.0)]
    assert build_trie(patterns) == build_trie(patterns[::-1])


def test_the_pattern_that_names_most_tokens_says_what_to_expect() -> None:
    trie = build_trie(
        [Pattern(("c",), 1.0), Pattern(("b", "c"), 2.0), Pattern(("a", None, "c"), 3.0), Pattern(("a", "b", "c"), 9.0)]
    )
    # alone; behind b; behind a and anything (longer than b c, as many named); behind both
    assert trie.expected(["c"]) == (1.0,)
    assert trie.expected(["b", "c"]) == (0.0, 2.0)
    assert trie.expected(["a", "x", "c"]) == (0.0, 0.0, 3.0)
    assert trie.expected(["a", "b", "c", "c"]) == (0.0, 0.0, 9.0, 1.0)


def test_a_pattern_needs_all_its_tokens_also_at_the_beginning_of_a_text() -> None:
    trie = build_trie([Pattern(("a", None, "b"), 2.0)])
    assert trie.expected(["a", "b"]) == (0.0, 0.0)
    assert trie.expected(["x", "b"]) == (0.0, 0.0)
    assert trie.expected(["a", "a", "b", "b"]) == (0.0, 0.0, 2.0, 2.0)


def test_an_empty_trie_expects_silence() -> None:
    assert PatternTrie(()).expected(["a", "b"]) == (0.0, 0.0)
    assert PatternTrie(()).text() == ""


def test_a_trie_is_written_strongest_first_with_its_tokens_quoted() -> None:
    trie = build_trie([Pattern((" it's",), 0.5), Pattern((" New", None, "\n"), 12.345)])
    assert trie.text() == "' New' * '\\n'\t12.3\n\" it's\"\t0.5"
    assert trie.text(n_patterns=1) == "' New' * '\\n'\t12.3"


def ends_with(text: Sequence[str], pattern: Sequence[str | None]) -> bool:
    if len(pattern) > len(text):
        return False
    end = text[len(text) - len(pattern) :]
    return all(wanted in (None, token) for wanted, token in zip(pattern, end, strict=True))


WORDS = st.sampled_from("ab")
PATTERNS = st.lists(st.sampled_from(["a", "b", None]), max_size=3)


@given(st.lists(st.tuples(PATTERNS, WORDS), max_size=6), st.lists(WORDS, max_size=8))
def test_a_trie_fires_exactly_where_one_of_its_patterns_ends(
    drawn: list[tuple[list[str | None], str]], text: list[str]
) -> None:
    patterns = [(*before, last) for before, last in drawn]
    fires = [any(ends_with(text[:end], pattern) for pattern in patterns) for end in range(1, len(text) + 1)]
    assert [act > 0 for act in build_trie(Pattern(p, 1.0) for p in patterns).expected(text)] == fires


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.0}, {"max_tokens": 0}, {"lengths_at_once": 0}])
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=f"n2g.{next(iter(wrong))}"):
        N2GSettings(**wrong)  # type: ignore[arg-type]
