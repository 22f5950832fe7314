"""Where a character is split over tokens: what is shown of the unit on it, by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from latentese.patterns.characters import shown_acts
from latentese.records import Context, Example


def acts_of(tokens: tuple[str, ...], acts: tuple[float, ...]) -> dict[int, float]:
    keep = (False, *(True,) * (len(tokens) - 1))
    return shown_acts(Example(0, Context(0, tokens, keep, 0, "prose", "explain"), "top", acts))


def test_the_first_token_of_a_character_has_the_largest_activation_of_them_all() -> None:
    tokens = ("On", "山", "", "水", "", "", " a")
    assert acts_of(tokens, (0.0, 0.0, 5.0, 3.0, 1.0, 2.0, 1.5)) == {0: 0.0, 1: 5.0, 3: 3.0, 6: 1.5}


def test_a_character_begun_before_the_context_is_not_shown() -> None:
    assert acts_of(("", "", " mill"), (0.0, 5.0, 1.0)) == {2: 1.0}
    assert acts_of(("", ""), (0.0, 5.0)) == {}


def test_padding_has_no_activation_and_changes_none() -> None:
    assert acts_of(("A", " mill", "", ""), (0.0, 1.0, 0.0, 0.0)) == {0: 0.0, 1: 1.0}


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=8))
def test_where_every_token_has_a_text_each_keeps_its_own(acts: list[float]) -> None:
    assert acts_of(("a",) * len(acts), tuple(acts)) == dict(enumerate(acts))
