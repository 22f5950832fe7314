"""Which examples are shown."""

from __future__ import annotations

import pytest

from latentese.errors import SettingError
from latentese.explainers.selection import EveryFiring, ExampleChoice
from latentese.records import Context, Example, Kind


def example(context: int, act: float, kind: Kind = "top", document: int | None = None) -> Example:
    number = context if document is None else document
    return Example(0, Context(context, ("a", "b"), (False, True), number, "prose", "explain"), kind, (0.0, act))


def contexts(choice: ExampleChoice, examples: list[Example]) -> list[int]:
    return [shown.context.context for shown in choice.of(examples)]


def test_the_strongest_of_each_kind_strongest_first() -> None:
    examples = [example(i, float(i)) for i in range(1, 5)] + [example(i, i / 10, "quantile") for i in range(5, 8)]
    assert contexts(ExampleChoice(n_top=2, n_quantile=2), examples) == [4, 3, 7, 6]


def test_spread_quantile_ones_go_from_strong_to_weak() -> None:
    top = [example(i, float(i)) for i in range(1, 5)]
    bands = [example(10 + i, i / 10, "quantile") for i in range(1, 21)]  # four in each of five bands
    assert contexts(ExampleChoice(n_top=2, n_quantile=5, spread=True), top + bands) == [4, 3, 28, 24, 20, 16, 12]
    assert contexts(ExampleChoice(n_top=2, n_quantile=4, spread=True), top + bands) == [4, 3, 28, 23, 18, 13]
    assert contexts(ExampleChoice(n_top=1, n_quantile=9, spread=True), top + bands[:3]) == [4, 13, 12, 11]


def test_where_every_firing_example_is_shown_top_ones_come_first() -> None:
    examples = [example(1, 1.0), example(2, 3.0, "quantile"), example(3, 2.0), example(4, 9.0, "random")]
    assert [shown.context.context for shown in EveryFiring().of(examples)] == [3, 1, 2]


def test_other_documents_come_before_repeats() -> None:
    examples = [example(1, 9.0, document=1), example(2, 8.0, document=1), example(3, 1.0, document=2)]
    assert contexts(ExampleChoice(n_top=2), examples) == [1, 3]
    assert contexts(ExampleChoice(n_top=3), examples) == [1, 2, 3]


def test_random_examples_near_misses_and_silent_contexts_are_never_shown() -> None:
    examples = [example(1, 5.0, "random"), example(2, 0.0, "near_miss"), example(3, 0.0), example(4, 1.0)]
    assert contexts(ExampleChoice(), examples) == [4]


def test_ties_and_the_order_of_rows_change_nothing() -> None:
    examples = [example(i, 1.0) for i in range(20)]
    assert contexts(ExampleChoice(), examples[::-1]) == contexts(ExampleChoice(), examples) == list(range(8))


def test_at_least_one_is_shown() -> None:
    with pytest.raises(SettingError, match="n_top"):
        ExampleChoice(n_top=0)
