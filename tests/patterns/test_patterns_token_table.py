"""Token tables by hand."""

from __future__ import annotations

import pytest

from latentese.errors import SettingError
from latentese.patterns.n2g import Pattern, PatternTrie
from latentese.patterns.token_table import TableSettings, TokenTable, build_table
from latentese.records import Context, Example


def example(tokens: tuple[str, ...], acts: tuple[float, ...], keep: tuple[bool, ...] | None = None) -> Example:
    keep = keep or (True,) * len(tokens)
    return Example(0, Context(0, tokens, keep, 0, "prose", "explain"), "top", acts)


def test_an_entry_is_the_mean_over_all_occurrences_with_silent_ones_added() -> None:
    shown = [example((" a", " b", " a"), (4.0, 0.0, 0.0)), example((" a", " c"), (2.0, 3.0))]
    # " a": (4 + 0 + 2) / (3 + 1); " c": 3 / (1 + 1); " b" never fires
    assert build_table(shown, TableSettings(n_prior=1.0)).entries == ((" a", 1.5), (" c", 1.5))
    # without a prior: 6 / 3 and 3 / 1
    assert build_table(shown, TableSettings(n_prior=0.0)).entries == ((" c", 3.0), (" a", 2.0))


def test_positions_that_do_not_count_are_left_out() -> None:
    shown = [example((" a", " b", ""), (9.0, 1.0, 1.0), (False, True, True))]
    assert build_table(shown, TableSettings(n_prior=0.0)).entries == ((" b", 1.0),)


def test_only_the_strongest_entries_stay() -> None:
    shown = [example((" a", " b", " c"), (1.0, 3.0, 2.0))]
    table = build_table(shown, TableSettings(n_prior=0.0, max_entries=2))
    assert table.entries == ((" b", 3.0), (" c", 2.0))


def test_expected_is_looked_up_by_exact_text() -> None:
    table = TokenTable(((" a", 2.0), ("A", 1.0)))
    assert table.expected([" a", "a", "A", " a"]) == (2.0, 0.0, 1.0, 2.0)


def test_a_split_character_occurs_once_with_its_largest_activation() -> None:
    shown = [example(("x", "山", "", " b"), (0.0, 1.0, 5.0, 0.0)), example(("x", "山", ""), (0.0, 0.0, 0.0))]
    # "山": (5 + 0) / 2
    assert build_table(shown, TableSettings(n_prior=0.0)).entries == (("山", 2.5),)


def test_a_character_whose_first_token_does_not_count_is_left_out() -> None:
    shown = [example(("山", "", " b"), (0.0, 5.0, 1.0), (False, True, True))]
    assert build_table(shown, TableSettings(n_prior=0.0)).entries == ((" b", 1.0),)


def test_the_rest_of_a_split_character_is_expected_to_do_what_its_first_token_does() -> None:
    entries = (("山", 2.0), (" b", 1.0))
    assert TokenTable(entries).expected(["", "山", "", "", "水", "", " b"]) == (0.0, 2.0, 2.0, 2.0, 0.0, 0.0, 1.0)
    behind_a = PatternTrie((Pattern((" a", "山"), 0.5),))
    assert TokenTable(entries, behind_a).expected([" a", "山", "", "山", ""]) == (0.0, 0.5, 0.5, 2.0, 2.0)


def test_the_order_of_examples_does_not_matter() -> None:
    shown = [example((" a", " b"), (0.1, 0.2)), example((" b", " a"), (0.2, 0.1))]
    assert build_table(shown, TableSettings()).entries == build_table(shown[::-1], TableSettings()).entries


@pytest.mark.parametrize("settings", [{"n_prior": -1.0}, {"max_entries": 0}])
def test_settings_are_checked(settings: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=next(iter(settings))):
        TableSettings(**settings)  # type: ignore[arg-type]
