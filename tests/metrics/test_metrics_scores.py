"""Score rows: which contexts they are over, and failures counted."""

from __future__ import annotations

import polars as pl
import pytest

from latentese import schemas
from latentese.metrics.intervals import Bootstrap
from latentese.metrics.scores import correlation_scores
from latentese.records import Explanation

EXPLANATION = Explanation("5.reader.0", 5, "reader", 0, "boats", "m", "", ())


def row(context: int, kind: str, true: list[float], expected: list[float] | None, **other: object) -> dict[str, object]:
    return {
        "explanation": "5.reader.0", "unit": 5, "simulator": "s", "control": "none", "split": "test",
        "context": context, "document": context // 2, "kind": kind, "true_acts": true, "expected_acts": expected,
        "error": None if expected else "no answer",
    } | other  # fmt: skip


def scores(rows: list[dict[str, object]]) -> pl.DataFrame:
    table = pl.DataFrame(rows, schema=schemas.SIMULATIONS)
    return correlation_scores(table, [EXPLANATION], Bootstrap(n_boot=20))


def test_one_row_per_choice_of_contexts() -> None:
    found = scores([row(0, "top", [0, 3], [0, 1]), row(2, "random", [0, 0], [0, 1]), row(4, "near_miss", [0], [9])])
    assert found.schema == schemas.SCORES
    both, alone = found.sort("contexts", descending=True).to_dicts()
    # y = 0 3 0 0, s = 0 1 0 1: deviations -.75 2.25 -.75 -.75 and -.5 .5 -.5 .5; r = 1.5 / sqrt(6.75 * 1).
    assert (both["contexts"], both["n_judged"], both["n_documents"]) == ("top_and_random", 2, 2)
    assert both["value"] == pytest.approx(1.5 / 6.75**0.5)
    assert (alone["contexts"], alone["n_judged"], alone["value"]) == ("random_only", 1, None)
    assert (both["explainer"], both["revision"], both["metric"]) == ("reader", 0, "correlation")


def test_failures_are_counted_and_enter_no_value() -> None:
    judged = [row(0, "top", [0, 3], [0, 1]), row(1, "top", [2, 0], [1, 0])]
    found, worst, best = scores([*judged, row(2, "top", [0, 5], None)]).to_dicts()
    assert (found["n_judged"], found["n_failed"], found["n_documents"]) == (2, 1, 1)
    assert found["value"] == pytest.approx(scores(judged)["value"][0])
    assert (worst["metric"], best["metric"]) == ("correlation.worst", "correlation.best")
    # Answers so far lie in 0..1. At worst 1, 0 for 0, 5: y = 0 3 2 0 0 5 and s = 0 1 1 0 1 0 (sums 10, 3, 38, 3, 5).
    assert worst["value"] == pytest.approx((6 * 5 - 10 * 3) / ((6 * 38 - 100) * (6 * 3 - 9)) ** 0.5)
    # At best 0, 1: y s adds up to 10.
    assert best["value"] == pytest.approx((6 * 10 - 10 * 3) / ((6 * 38 - 100) * (6 * 3 - 9)) ** 0.5)
    assert (worst["n_judged"], worst["n_failed"], worst["n_documents"]) == (2, 1, 2)


def test_calibrate_examples_have_no_score() -> None:
    assert scores([row(0, "top", [0, 3], [0, 1], split="calibrate")]).is_empty()


def test_a_score_with_nothing_judged_is_null() -> None:
    [found] = scores([row(0, "top", [0, 5], None)]).to_dicts()
    assert (found["value"], found["n_judged"], found["n_failed"]) == (None, 0, 1)


def test_controls_and_splits_are_scored_apart() -> None:
    rows = [row(0, "top", [0, 3], [0, 1]), row(0, "top", [0, 3], [1, 0], control="wrong_explanation")]
    rows += [row(9, "top", [0, 3], [0, 1], split="select")]
    found = scores(rows).sort("control", "split")
    assert found["value"].to_list() == pytest.approx([1, 1, -1])


def test_no_simulations_give_an_empty_table() -> None:
    assert scores([]).schema == schemas.SCORES
