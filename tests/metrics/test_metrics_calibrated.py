"""Scores on the unit's scale: fitted on `calibrate`, reported elsewhere."""

from __future__ import annotations

import polars as pl
import pytest

from latentese import schemas
from latentese.metrics.calibrated import calibrated_scores, calibration_table, fit_calibrations
from latentese.metrics.intervals import Bootstrap
from latentese.records import Explanation

EXPLANATION = Explanation("5.reader.0", 5, "reader", 0, "boats", "m", "", ())


def row(context: int, true: list[float], expected: list[float] | None, split: str = "test") -> dict[str, object]:
    return {
        "explanation": "5.reader.0", "unit": 5, "simulator": "s", "control": "none", "split": split,
        "context": context, "document": context, "kind": "top", "true_acts": true, "expected_acts": expected,
        "error": None if expected else "no answer",
    }  # fmt: skip


def scores(*rows: dict[str, object]) -> dict[str, dict[str, object]]:
    table = pl.DataFrame(list(rows), schema=schemas.SIMULATIONS)
    found = calibrated_scores(table, [EXPLANATION], fit_calibrations(table), Bootstrap(n_boot=20))
    assert found.schema == schemas.SCORES
    return {str(r["metric"]): r for r in found.to_dicts()}


FITTED = row(0, [1, 0, 4, 0], [1, 0, 2, 0], "calibrate")
"""s = 1 0 2 0 has mean .75 and squares 2.75, y has mean 1.25; products 9 - 3.75 = 5.25: slope 21/11, intercept -2/11.
From 1 both firings and nothing else are predicted."""


def test_the_fit_is_of_calibrate_examples() -> None:
    table = pl.DataFrame([FITTED, row(1, [0, 9], [3, 0])], schema=schemas.SIMULATIONS)
    [fit] = calibration_table(fit_calibrations(table)).to_dicts()
    assert (fit["n_tokens"], fit["threshold"]) == (4, 1.0)
    assert (fit["slope"], fit["intercept"]) == pytest.approx((21 / 11, -2 / 11))


def test_scores_on_the_fitted_scale_by_hand() -> None:
    found = scores(FITTED, row(1, [0, 4, 0], [0, 2, 1]))
    value = {metric: r["value"] for metric, r in found.items()}
    assert value["r2"] == pytest.approx(1 - (4 + 1) / 16)
    assert value["absolute_deviation"] == pytest.approx(1 - 3 / 4)
    # The line says -2/11, 40/11, 19/11; percentiles 0, 4, 1.
    assert value["r2.linear"] == pytest.approx(1 - (4 + 16 + 361) / 121 / 16)
    assert value["absolute_deviation.linear"] == pytest.approx(1 - (2 + 4 + 19) / 11 / 4)
    assert value["r2.percentile"] == pytest.approx(1 - 1 / 16)
    assert value["absolute_deviation.percentile"] == pytest.approx(1 - 1 / 4)
    # y = 0 4 0 and s = 0 4 1: r = (3 * 16 - 4 * 5) / sqrt((48 - 16) (51 - 25)).
    assert value["correlation.percentile"] == pytest.approx(28 / (32 * 26) ** 0.5)
    assert (value["precision"], value["recall"], value["base_rate"]) == pytest.approx((0.5, 1, 1 / 3))
    assert value["f1"] == pytest.approx(2 / 3)


def test_without_calibrate_examples_only_the_bare_errors_are_told() -> None:
    assert set(scores(row(1, [0, 4], [0, 2]))) == {"r2", "absolute_deviation"}


def test_a_unit_silent_on_calibrate_has_no_threshold() -> None:
    found = scores(row(0, [0, 0], [1, 0], "calibrate"), row(1, [0, 4], [0, 2]))
    assert "precision" not in found
    assert "r2.linear" in found


def test_failures_widen_bounds_and_enter_no_value() -> None:
    answered = row(1, [0, 4, 0], [0, 2, 1])
    found, without = scores(FITTED, answered, row(2, [0, 3], None)), scores(FITTED, answered)
    for metric, r in without.items():
        assert found[metric]["value"] == r["value"]
        assert (found[metric]["n_judged"], found[metric]["n_failed"]) == (1, 1)
    # At best 0 and 2 (the range is 0..2), at worst 2 and 0.
    assert found["r2.best"]["value"] == pytest.approx(1 - (5 + 1) / 25)
    assert found["r2.worst"]["value"] == pytest.approx(1 - (5 + 4 + 9) / 25)
    # One of two predictions and the one firing are right: at best 2 of 3, at worst 1 of 3, and 1 of 2 firings.
    assert found["precision.best"]["value"] == pytest.approx(2 / 3)
    assert found["precision.worst"]["value"] == pytest.approx(1 / 3)
    assert found["recall.worst"]["value"] == pytest.approx(1 / 2)
    for metric in ("r2.linear", "absolute_deviation.percentile", "correlation.percentile", "f1"):
        worst, value, best = (found[f"{metric}{bound}"]["value"] for bound in (".worst", "", ".best"))
        assert worst < value  # type: ignore[operator]
        assert worst < best  # type: ignore[operator]


def test_a_failed_calibrate_example_is_not_fitted_to() -> None:
    table = pl.DataFrame([FITTED, row(9, [7, 7], None, "calibrate")], schema=schemas.SIMULATIONS)
    [fit] = calibration_table(fit_calibrations(table)).to_dicts()
    assert fit["n_tokens"] == 4


def test_nothing_answered_has_neither_value_nor_bounds() -> None:
    found = scores(FITTED, row(2, [0, 3], None))
    assert found["r2"]["value"] is None
    assert found["r2"]["n_failed"] == 1
    assert not any(metric.endswith((".worst", ".best")) for metric in found)
