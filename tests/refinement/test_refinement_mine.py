"""Counterexamples by hand: both kinds, ranked, one per document, nothing shown before."""

from __future__ import annotations

import numpy as np
import pytest
from toy_units import make_context, make_example

from latentese.errors import SettingError
from latentese.records import Example, Simulation
from latentese.refinement.mine import MineSettings, draw_candidates, fit_line, mine

SETTINGS = MineSettings(n_false_positives=2, n_false_negatives=2, expected_high=0.0)


def pair(
    number: int, acts: list[float], expected: list[float], document: int | None = None
) -> tuple[Example, Simulation]:
    """A context of some words; position 0 does not count."""
    context = make_context(number, " ".join("abcdefgh"[: len(acts) + 1]), "explain", document)
    return Example(1, context, "random", (0.0, *acts)), Simulation(number, (99.0, *expected))


def found(*pairs: tuple[Example, Simulation]) -> list[tuple[int, str]]:
    examples, simulations = zip(*pairs, strict=True)
    return [(item.example.context.context, item.kind) for item in mine(examples, simulations, SETTINGS)]


def test_both_kinds_are_found_and_ranked() -> None:
    assert found(
        pair(0, [5, 0], [1, 0]),  # right
        pair(1, [0, 0], [0.6, 0]),
        pair(2, [0, 0], [0, 0.9]),
        pair(3, [0, 0], [0.1, 0]),  # a weaker false positive than two others
        pair(4, [4, 0], [0, 0]),
        pair(5, [0, 6], [0, 0]),
        pair(6, [0, 0], [0, 0]),  # right
    ) == [(2, "false_positive"), (1, "false_positive"), (5, "false_negative"), (4, "false_negative")]


def test_one_context_per_document() -> None:
    pairs = [pair(i, [0, 0], [0.9 - i / 10, 0], document=i // 2) for i in range(4)]
    assert found(*pairs) == [(0, "false_positive"), (2, "false_positive")]


def test_an_explanation_that_predicts_nothing_is_shown_the_strongest_contexts() -> None:
    assert found(*(pair(i, [act, 0], [0, 0]) for i, act in enumerate((2.0, 7.0, 0.0, 5.0)))) == [
        (1, "false_negative"), (3, "false_negative")
    ]  # fmt: skip


def test_the_simulators_scale_does_not_matter() -> None:
    acts = [[5, 0], [0, 0], [4, 0], [0, 3], [0, 0]]
    expected = [[0.9, 0.1], [0.8, 0], [0.2, 0], [0, 0], [0, 0.1]]
    small = found(*(pair(i, a, e) for i, (a, e) in enumerate(zip(acts, expected, strict=True))))
    large = found(*(pair(i, a, [1000 * x for x in e]) for i, (a, e) in enumerate(zip(acts, expected, strict=True))))
    assert small == large


def test_failed_simulations_are_left_out() -> None:
    example, _ = pair(0, [5, 0], [0, 0])
    assert mine([example], [Simulation(0, None, "failed")], SETTINGS) == ()


def test_the_line_by_hand() -> None:
    # Deviations of s: -1 0 1; of y: -2 0 2, so the slope is 4 / 2 = 2 and the line goes through (1, 2).
    assert fit_line(np.array([0.0, 1, 2]), np.array([0.0, 2, 4])) == pytest.approx((2, 0))
    assert fit_line(np.array([0.0, 1, 2]), np.array([4.0, 2, 0])) == pytest.approx((0, 2))


def test_candidates_are_the_strongest_and_a_draw_of_silent_ones() -> None:
    pool = [
        make_example(make_context(i, "a b", "explain"), {"b"} if i % 3 == 0 else (), act=float(i)) for i in range(30)
    ]
    settings = MineSettings(n_candidates=6)
    chosen = draw_candidates(pool, {27}, settings)
    numbers = [example.context.context for example in chosen]
    assert [number for number in numbers if number % 3 == 0 and number > 0] == [18, 21, 24]
    assert len(numbers) == 6 and numbers == sorted(numbers)
    assert chosen == draw_candidates(pool[::-1][::-1], {27}, settings)


@pytest.mark.parametrize("setting", [{"n_candidates": 1}, {"expected_high": 1.0}, {"n_false_positives": -1}])
def test_settings_that_mine_nothing_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(SettingError):
        MineSettings(**setting)
