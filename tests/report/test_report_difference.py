"""Differences of explanation sets by hand: what changed, and by how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl
import pytest
from rich.console import Console

from latentese import schemas
from latentese.metrics.intervals import Bootstrap
from latentese.records import Explanation
from latentese.report.difference import Difference, difference, show_difference, summary_lines
from latentese.report.explanation_set import ExplanationSet

BOOTSTRAP = Bootstrap(n_boot=200)
TRUTH = [0.0, 1.0, 0.0, 2.0]
EXACT = [0.0, 0.5, 0.0, 1.0]
"""r = 1."""
BLIND = [0.0, 1.0, 1.0, 0.0]
"""n = 4, Sy = 3, Ss = 2, Sys = 1, Syy = 5, Sss = 2: r = (4 - 6) / sqrt(11 * 4) = -0.30151"""
LOW = -2 / 44**0.5


def version(
    name: str, texts: Mapping[int, str | None], expected: Mapping[int, list[float] | None], contexts: str | None = "c"
) -> ExplanationSet:
    """A set whose units were simulated alike on contexts 0 to 3, each of a document of its own."""
    explanations = {
        unit: Explanation(f"{unit}.ex.0", unit, "ex", 0, text, "m", "0", ()) for unit, text in texts.items()
    }
    return ExplanationSet(name, explanations, {u: simulated(u, acts) for u, acts in expected.items()}, contexts, 0.95)


def simulated(unit: int, expected: list[float] | None, documents: range = range(4)) -> pl.DataFrame:
    error = "no answer" if expected is None else None
    rows = [(f"{unit}.ex.0", unit, "sim", "none", "test", d, d, "top", TRUTH, expected, error) for d in documents]
    return pl.DataFrame(rows, schema=schemas.SIMULATIONS, orient="row")


def compared(before: ExplanationSet, after: ExplanationSet) -> Difference:
    return difference(before, after, BOOTSTRAP)


TEXTS = {1: "one", 2: "two", 3: "three"}


def test_units_that_did_not_change_are_not_listed() -> None:
    before = version("a", TEXTS, {1: EXACT, 2: BLIND, 3: BLIND})
    found = compared(before, version("b", {**TEXTS, 2: "two, again"}, {1: EXACT, 2: EXACT, 3: BLIND}))
    assert [(c.unit, c.before_text, c.after_text) for c in found.changes] == [(2, "two", "two, again")]
    (change,) = found.changes
    assert (change.before, change.after) == (pytest.approx(LOW), pytest.approx(1.0))
    assert change.gain.value == pytest.approx(1 - LOW)
    # Four documents with the same sums: every resample gives the same gain, so the interval is the gain itself.
    assert (change.gain.low, change.gain.high) == (pytest.approx(1 - LOW), pytest.approx(1 - LOW))
    assert (found.n_both, found.n_text_changed, found.n_score_changed, found.n_gained, found.n_lost) == (3, 1, 1, 1, 0)


def test_the_mean_gain_is_over_all_units_with_both_scores() -> None:
    before = version("a", TEXTS, {1: EXACT, 2: BLIND, 3: None})
    found = compared(before, version("b", TEXTS, {1: BLIND, 2: BLIND, 3: EXACT}))
    assert found.n_scored == 2, "unit 3 had no score"
    assert found.mean_gain.value == pytest.approx((LOW - 1 + 0) / 2)
    assert found.mean_gain.low is not None
    assert found.mean_gain.low <= (LOW - 1) / 2 <= (found.mean_gain.high or 0)
    assert [(c.unit, c.gain.value is None) for c in found.changes] == [(1, False), (3, True)]
    assert (found.n_text_changed, found.n_score_changed, found.n_gained, found.n_lost) == (0, 2, 0, 1)


def test_a_version_against_itself_has_no_change_and_a_gain_of_zero() -> None:
    same = version("a", TEXTS, {1: EXACT, 2: BLIND})
    found = compared(same, same)
    assert (found.changes, tuple(found.mean_gain)) == ([], (0.0, 0.0, 0.0))
    assert summary_lines(found)[0].startswith(
        "0 of 3 units changed (0 texts, 0 scores); mean gain +0.00 [+0.00, +0.00]"
    )


def test_swapping_the_versions_turns_the_gains_around() -> None:
    before = version("a", TEXTS, {1: EXACT, 2: BLIND, 3: BLIND})
    after = version("b", TEXTS, {1: BLIND, 2: EXACT, 3: EXACT})
    there, back = compared(before, after), compared(after, before)
    assert there.mean_gain.value == pytest.approx(-(back.mean_gain.value or 0))
    assert (there.n_gained, there.n_lost) == (back.n_lost, back.n_gained) == (2, 1)
    assert [c.unit for c in there.changes] == [2, 3, 1], "largest gain first"


def test_units_of_one_version_alone_are_counted() -> None:
    found = compared(version("a", {1: "x", 5: "y"}, {}), version("b", {1: "x", 6: "z", 7: "z"}, {}))
    assert (found.n_both, found.n_only_before, found.n_only_after, found.changes) == (1, 1, 2, [])
    assert summary_lines(found)[-1] == "units in one version alone: 1 only in a, 2 only in b"
    assert "mean gain not defined over 0 units" in summary_lines(found)[0]


def test_a_failure_that_was_mended_is_a_change_of_text() -> None:
    found = compared(version("a", {1: None}, {}), version("b", {1: "words"}, {1: EXACT}))
    (change,) = found.changes
    assert (change.before_text, change.before, change.after, change.gain.value) == (
        None,
        None,
        pytest.approx(1.0),
        None,
    )


def test_paired_gains_are_over_contexts_that_both_answered() -> None:
    """The second version failed on context 3: the gain is over contexts 0 to 2, though the first answered all."""
    before, after = (version(name, {1: "x"}, {1: EXACT}) for name in "ab")
    failed = pl.concat([simulated(1, EXACT, range(3)), simulated(1, None, range(3, 4))])
    good_but_one = pl.concat([simulated(1, EXACT, range(3)), simulated(1, BLIND, range(3, 4))])
    found = compared(replace(before, simulations={1: good_but_one}), replace(after, simulations={1: failed}))
    (change,) = found.changes
    assert change.before is not None
    assert change.before < 1
    assert change.gain.value == pytest.approx(0.0)


@pytest.mark.parametrize("contexts", [("c", "d"), (None, None)])
def test_without_the_same_contexts_each_side_is_resampled_by_itself(contexts: tuple[str | None, str | None]) -> None:
    mixed = pl.concat([simulated(1, EXACT, range(3)), simulated(1, BLIND, range(3, 6))])
    before = replace(version("a", {1: "x"}, {}, contexts[0]), simulations={1: mixed})
    after = replace(version("b", {1: "x"}, {}, contexts[1]), simulations={1: mixed})
    found = compared(before, after)
    assert not found.paired
    # The same simulations, but nothing says that the documents are the same: the gain is 0 within a wide interval.
    assert found.mean_gain.value == pytest.approx(0.0)
    assert found.mean_gain.low is not None
    assert found.mean_gain.high is not None
    assert found.mean_gain.low < -0.1
    assert found.mean_gain.high > 0.1
    assert "are unpaired: the contexts differ" in summary_lines(found)[1]
    same = [replace(version, contexts_sha256="c") for version in (before, after)]
    assert tuple(compared(*same).mean_gain) == (0.0, 0.0, 0.0)


def test_one_document_gives_a_gain_and_no_interval() -> None:
    before, after = (version(name, {1: "x"}, {}) for name in "ab")
    one = [{1: simulated(1, acts, range(1))} for acts in (BLIND, EXACT)]
    (change,) = compared(replace(before, simulations=one[0]), replace(after, simulations=one[1])).changes
    assert tuple(change.gain) == (pytest.approx(1 - LOW), None, None)


def test_hostile_texts_are_shown_as_texts() -> None:
    hostile = "[bold]x[/bold]\n\x1b[31m\u202e"
    found = compared(version("a", {1: "x"}, {1: BLIND}), version("b[red]", {1: hostile}, {1: EXACT}))
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(show_difference(found))
    said = capture.get()
    assert "[bold]x[/bold]↵\u2039U+001B\u203a[31m\u2039U+202E\u203a" in said
    assert "b[red]" in said
    assert "\x1b" not in said


def test_json_has_every_figure() -> None:
    value = compared(version("a", TEXTS, {1: BLIND}), version("b", TEXTS, {1: EXACT})).as_json()
    assert {name: value[name] for name in ("n_changed", "n_gained", "n_lost", "paired", "level")} == {
        "n_changed": 1, "n_gained": 1, "n_lost": 0, "paired": True, "level": 0.95,
    }  # fmt: skip
    assert set(value["mean_gain"]) == {"value", "low", "high"}
    assert value["changes"][0]["gain"]["value"] == pytest.approx(1 - LOW)
