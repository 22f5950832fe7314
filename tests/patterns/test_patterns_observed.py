"""What patterns are worth on text, counted by hand."""

from __future__ import annotations

import pytest
from toy_units import make_context, make_example

from latentese.patterns.n2g import Pattern, PatternTrie, build_trie
from latentese.patterns.observed import observed_acts

CITY, NEW_CITY = Pattern((" city",), 9.0), Pattern((" new", " city"), 9.0)
EXAMPLES = [
    make_example(make_context(0, "the new city and the old city"), {"city"}, act=4.0),
    make_example(make_context(1, "the new city"), {"city"}, act=4.0),
    make_example(make_context(2, "the old city"), set()),
]


def acts(trie: PatternTrie) -> dict[str, float]:
    return {pattern.text: pattern.act for pattern in trie.patterns}


def test_a_pattern_is_worth_its_mean_with_silent_places_and_the_prior() -> None:
    # ' city' stands at 4 places, 3 of them firing with 4: 12 / 4, and with one silent place more 12 / 5
    assert acts(observed_acts(build_trie([CITY]), EXAMPLES, 0.0)) == {"' city'": 3.0}
    assert acts(observed_acts(build_trie([CITY]), EXAMPLES, 1.0)) == {"' city'": pytest.approx(2.4)}


def test_each_place_counts_for_the_pattern_that_decides_there() -> None:
    # ' new city' takes the two places behind ' new' (4, 4); ' city' is left with 4 and 0
    found = observed_acts(build_trie([CITY, NEW_CITY]), EXAMPLES, 0.0)
    assert acts(found) == {"' new' ' city'": 4.0, "' city'": 2.0}
    assert [pattern.n_firings for pattern in found.patterns] == [2, 2]


def test_patterns_that_decide_nowhere_or_only_in_silence_are_left_out() -> None:
    trie = build_trie([Pattern((" village",), 5.0), Pattern((" old",), 5.0), CITY])
    assert set(acts(observed_acts(trie, EXAMPLES, 1.0))) == {"' city'"}
    assert observed_acts(trie, [], 1.0).patterns == ()


def test_position_0_counts_nowhere() -> None:
    example = make_example(make_context(0, "city of the city"), {"city"}, act=2.0)
    trie = build_trie([Pattern(("city",), 5.0), CITY])
    assert acts(observed_acts(trie, [example], 0.0)) == {"' city'": 2.0}
