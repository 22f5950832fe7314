"""Yes-or-no scores by hand, bounds of failed answers, and the ranking against its definition."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_units import make_explanation

from latentese import schemas
from latentese.metrics.classification import auroc, auroc_of, classification_scores, counts_by_document
from latentese.metrics.intervals import Bootstrap

Row = tuple[int, float | None, bool]


def judgements(rows: list[Row], kind: str = "top") -> pl.DataFrame:
    columns = {
        "explanation": "1.reader.0",
        "unit": 1,
        "simulator": "detection",
        "control": "none",
        "split": "test",
        "kind": kind,
    }
    table = [
        columns
        | {
            "context": i,
            "document": document,
            "answer": answer,
            "truth": truth,
            "error": None if answer is not None else "no",
        }
        for i, (document, answer, truth) in enumerate(rows)
    ]
    return pl.DataFrame(table, schema=schemas.JUDGEMENTS)


def scores(rows: list[Row], threshold: float | None = 0.5) -> dict[str, float | None]:
    found = classification_scores(
        judgements(rows), [make_explanation("boats")], {"detection": threshold}, Bootstrap(20)
    ).filter(contexts="all_kinds")
    assert found.schema == schemas.SCORES
    return dict(zip(found["metric"].to_list(), found["value"].to_list(), strict=True))


def test_all_metrics_by_hand() -> None:
    # Yes to .9 (true), .8 (not), no to .3 (true), .1 (not), .2 (not).
    found = scores([(1, 0.9, True), (1, 0.8, False), (2, 0.3, True), (2, 0.1, False), (3, 0.2, False)])
    assert found == {
        "auroc": pytest.approx(5 / 6),  # of 2 x 3 pairs only (.3, .8) is the wrong way round
        "base_rate": pytest.approx(2 / 5),
        "balanced_accuracy": pytest.approx((1 / 2 + 2 / 3) / 2),
        "precision": pytest.approx(1 / 2),
        "recall": pytest.approx(1 / 2),
        "f1": pytest.approx(1 / 2),
    }


def test_without_a_threshold_answers_only_rank() -> None:
    assert set(scores([(1, 0.9, True), (2, 0.2, False)], None)) == {"auroc", "base_rate"}


def test_always_the_same_answer_is_worth_a_half() -> None:
    found = scores([(1, 0.9, True), (2, 0.9, False), (3, 0.9, False), (4, 0.9, False)])
    assert (found["balanced_accuracy"], found["auroc"]) == (0.5, 0.5)
    assert found["precision"] == pytest.approx(1 / 4)


def test_one_side_alone_has_no_value_and_is_counted() -> None:
    found = scores([(1, 0.9, True), (2, 0.8, True)])
    assert (found["auroc"], found["balanced_accuracy"]) == (None, None)
    assert (found["recall"], found["base_rate"]) == (1, 1)


def test_failed_answers_widen_bounds_and_are_never_numbers() -> None:
    rows: list[Row] = [(1, 0.9, True), (2, 0.2, False), (3, None, True), (4, None, False)]
    found = scores(rows)
    assert (found["balanced_accuracy"], found["auroc"]) == (1, 1)  # of those that were answered
    # Both wrong: one of two right on each side. Both right: everything is.
    assert (found["balanced_accuracy.worst"], found["balanced_accuracy.best"]) == (0.5, 1)
    # Wrong for certain: the true one below all, the other above all; of four pairs one is in order.
    assert (found["auroc.worst"], found["auroc.best"]) == (0.25, 1)
    assert "base_rate.worst" not in found
    table = classification_scores(judgements(rows), [make_explanation("boats")], {"detection": 0.5}, Bootstrap(20))
    assert set(table["n_judged"]) == {2}
    assert set(table["n_failed"]) == {2}


def test_no_answer_at_all_is_a_row_without_a_value() -> None:
    table = classification_scores(
        judgements([(1, None, True), (2, None, False)]), [make_explanation("boats")], {"detection": 0.5}, Bootstrap(20)
    )
    plain = table.filter(~pl.col("metric").str.contains(".", literal=True), contexts="all_kinds")
    assert plain["value"].null_count() == plain.height > 0


def test_random_texts_have_rows_of_their_own() -> None:
    both = pl.concat(
        [judgements([(1, 0.9, True)]), judgements([(2, 0.2, False), (3, 0.6, False), (4, 0.7, True)], "random")]
    )
    table = classification_scores(both, [make_explanation("boats")], {"detection": 0.5}, Bootstrap(20))
    value = {
        contexts: table.filter(contexts=contexts, metric="base_rate")["value"].item()
        for contexts in ("all_kinds", "random_only")
    }
    assert value == {"all_kinds": 0.5, "random_only": pytest.approx(1 / 3)}


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.1, 0.4, 0.4, 0.9]), st.booleans()), min_size=1))
def test_auroc_is_the_share_of_pairs_in_order(rows: list[tuple[int, float, bool]]) -> None:
    true = [answer for _, answer, truth in rows if truth]
    other = [answer for _, answer, truth in rows if not truth]
    counts = counts_by_document(judgements(list(rows)))
    found = float(auroc(counts.sum(axis=0)))
    single = auroc_of([truth for _, _, truth in rows], [answer for _, answer, _ in rows])
    assert (single is None) if np.isnan(found) else single == pytest.approx(found)
    if not true or not other:
        assert np.isnan(found)
    else:
        pairs = [(a > b) + (a == b) / 2 for a in true for b in other]
        assert found == pytest.approx(sum(pairs) / len(pairs))


def test_documents_are_what_intervals_resample() -> None:
    rows: list[Row] = [
        (document, 0.9 if document % 3 else 0.2, truth) for document in range(30) for truth in (True, False)
    ]
    table = classification_scores(judgements(rows), [make_explanation("boats")], {"detection": 0.5}, Bootstrap(200))
    [row] = table.filter(contexts="all_kinds", metric="recall").iter_rows(named=True)
    assert row["n_documents"] == 30
    assert row["low"] < row["value"] < row["high"]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.none() | st.sampled_from([0.0, 0.2, 0.6, 1.0]), st.booleans()), min_size=1)
)
def test_bounds_hold_the_value(rows: list[Row]) -> None:
    found = scores(rows)
    for name in ("auroc", "balanced_accuracy", "recall", "f1"):
        value, worst, best = (found.get(f"{name}{suffix}") for suffix in ("", ".worst", ".best"))
        if value is not None and worst is not None and best is not None:
            assert worst - 1e-9 <= value <= best + 1e-9
