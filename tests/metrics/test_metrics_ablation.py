"""Ablation scores from divergences: by hand, with failures counted and undefined ones stated."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentese import schemas
from latentese.metrics.ablation import MOST, ablation_effect, ablation_score, ablation_scores
from latentese.metrics.intervals import Bootstrap
from latentese.records import Explanation

EXPLANATION = Explanation("5.reader.0", 5, "reader", 2, "boats", "m", "", ())


def row(
    context: int, simulated: float | None, ablated: float, calibration: str = "linear", kind: str = "top"
) -> dict[str, object]:
    return {
        "explanation": "5.reader.0", "unit": 5, "simulator": "s", "control": "none", "split": "test",
        "context": context, "document": context // 2, "kind": kind, "calibration": calibration, "n_positions": 10,
        "simulated": simulated, "ablated": ablated, "error": "no answer" if simulated is None else None,
    }  # fmt: skip


def scores(*rows: dict[str, object]) -> dict[str, dict[str, object]]:
    table = pl.DataFrame(list(rows), schema=schemas.ABLATIONS)
    found = ablation_scores(table, [EXPLANATION], Bootstrap(n_boot=200))
    assert found.schema == schemas.SCORES
    assert found["metric"].is_unique().all()
    return {str(r["metric"]): r for r in found.to_dicts()}


def test_a_score_is_a_ratio_of_averages_over_positions_not_an_average_of_ratios() -> None:
    # 1 - (1 + 0 + 2) / (2 + 4 + 6); contexts 0 and 1 are of one document.
    found = scores(row(0, 1.0, 2.0), row(1, 0.0, 4.0, kind="random"), row(2, 2.0, 6.0))
    one = found["ablation"]
    assert one["value"] == pytest.approx(0.75)
    assert (one["n_documents"], one["n_judged"], one["n_failed"]) == (2, 3, 0)
    assert (one["contexts"], one["explainer"], one["revision"]) == ("top_and_random", "reader", 2)
    # Resamples of two documents: the first twice, both, or the second twice.
    assert (one["low"], one["high"]) == pytest.approx((1 - 2 / 6, 1 - 1 / 6))
    assert found["ablation_effect"]["value"] == pytest.approx(12 / 30)
    assert set(found) == {"ablation", "ablation_effect"}


def test_worse_than_the_mean_is_negative_and_each_scale_has_its_own_row() -> None:
    found = scores(row(0, 6.0, 2.0), row(0, 1.0, 2.0, "percentile"))
    assert found["ablation"]["value"] == pytest.approx(-2)
    assert found["ablation.percentile"]["value"] == pytest.approx(0.5)
    assert found["ablation"]["low"] is None  # one document has no interval
    assert set(found) == {"ablation", "ablation.percentile", "ablation_effect"}


def test_a_failed_context_is_counted_and_bounds_the_score() -> None:
    found = scores(row(0, 1.0, 2.0), row(2, None, 3.0))
    assert found["ablation"]["value"] == pytest.approx(0.5)
    assert all((r["n_judged"], r["n_failed"]) == (1, 1) for r in found.values())
    assert found["ablation"]["n_documents"] == 1
    # The missing one may change nothing, or move all probability at each of its 10 positions.
    assert found["ablation.best"]["value"] == pytest.approx(1 - 1 / 5)
    assert found["ablation.worst"]["value"] == pytest.approx(1 - (1 + 10 * math.log(2)) / 5)
    assert found["ablation_effect"]["value"] == pytest.approx(5 / 20)  # known without a simulation


def test_without_any_simulation_there_is_no_score() -> None:
    found = scores(row(0, None, 2.0), row(2, None, 3.0))
    assert set(found) == {"ablation", "ablation_effect"}
    assert found["ablation"]["value"] is None
    assert (found["ablation"]["n_judged"], found["ablation"]["n_failed"], found["ablation"]["n_documents"]) == (0, 2, 0)


def test_a_unit_that_does_nothing_has_no_score_and_its_effect_says_why() -> None:
    found = scores(row(0, 0.0, 0.0), row(2, 1e-12, 1e-12))
    assert found["ablation"]["value"] is None
    assert (found["ablation"]["n_judged"], found["ablation"]["n_failed"]) == (2, 0)
    effect = found["ablation_effect"]["value"]
    assert isinstance(effect, float) and 0 <= effect < 1e-9


def test_random_contexts_alone_are_named_so() -> None:
    assert {r["contexts"] for r in scores(row(0, 1.0, 2.0, kind="random")).values()} == {"random_only"}


def test_no_rows_give_no_scores() -> None:
    assert ablation_scores(schemas.ABLATIONS.to_frame(), [], Bootstrap()).is_empty()


positive = st.floats(1e-3, MOST)


@given(positive, positive, st.floats(0.1, 10))
def test_the_score_falls_with_what_the_simulation_changes_and_ignores_the_scale(
    simulated: float, ablated: float, times: float
) -> None:
    sums = np.array([1.0, simulated, ablated])
    value = float(ablation_score(sums))
    assert value <= 1
    assert float(ablation_score(sums + np.array([0, 0.1, 0]))) < value
    assert float(ablation_score(sums * times)) == pytest.approx(value)
    assert float(ablation_effect(sums * times)) == pytest.approx(ablated)
