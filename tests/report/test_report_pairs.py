"""Every explainer beside every judge: figures by hand, counts, costs, and the table they are laid out in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from test_report_findings import BLIND, EXACT, LOW, SETTINGS, target, with_scores

from latentese import schemas
from latentese.records import Explanation, Usage
from latentese.report.findings import FindingsSettings, find
from latentese.report.inputs import Target
from latentese.report.pairs import PAIRS, nested, pair_tables, pairs_of
from latentese.store.tables import read_table


def with_explainers(one: Target) -> Target:
    """What `ex` asked per unit, one unit it failed on, and an explainer that asks nothing."""
    known = {e.explanation: replace(e, usage=Usage(100 * e.unit, 5)) for e in one.explanations.values()}
    failed = Explanation("9.ex.0", 9, "ex", 0, None, "m", "0", (), error="no answer", usage=Usage(60, 1))
    counts = {"simulators": {"sim": {"n_units": 2, "prompt_tokens": 500}}, "scorers": {"detection": {"n_units": 2}}}
    return replace(one, explanations=known | {"9.ex.0": failed}, score_counts=counts)


def judged_twice() -> Target:
    """Two units that `sim` simulates, one well, one badly; `detection` has a score of one alone."""
    detected = [
        ("1.ex.0", 1, "none", "auroc", 0.8, 0.7, 0.9),
        ("2.ex.0", 2, "none", "auroc", None, None, None),
        ("1.ex.0", 1, "wrong_explanation", "auroc", 0.5, 0.4, 0.6),
    ]  # fmt: skip
    one = with_scores(with_explainers(target("a", {1: EXACT, 2: BLIND})), detected)
    asked = pl.when(pl.col("simulator") == "detection").then(pl.lit("all_kinds")).otherwise("contexts")
    return replace(one, scores=one.scores.with_columns(contexts=asked))


def test_a_pair_has_its_mean_its_control_and_what_it_cost() -> None:
    one = judged_twice()
    pairs = pairs_of(find([one], SETTINGS), [one])
    assert pairs.schema == PAIRS
    simulated, detected = pairs.sort("metric", descending=True).to_dicts()
    assert simulated["value"] == pytest.approx((1 + LOW) / 2)
    assert (simulated["wrong"], simulated["n_units"], simulated["n_undefined"]) == (pytest.approx(LOW), 2, 0)
    # Prompt tokens: 100, 200 and 60 of three units; 500 of two units judged.
    assert (simulated["explainer_tokens"], simulated["judge_tokens"]) == (120.0, 250.0)
    assert (simulated["n_explained"], simulated["n_unexplained"]) == (2, 1)
    assert (detected["value"], detected["low"], detected["high"], detected["wrong"]) == (0.8, 0.7, 0.9, 0.5)
    assert (detected["n_units"], detected["n_undefined"], detected["n_failed"]) == (1, 1, 4)
    assert detected["judge_tokens"] is None, "its manifest does not say"


def test_questions_about_all_kinds_stand_beside_top_and_random_only() -> None:
    one = judged_twice()
    random_only = one.scores.with_columns(contexts=pl.lit("random_only"))
    both = replace(one, scores=pl.concat([one.scores, random_only.filter(simulator="detection")]))
    for contexts, n_units in (("top_and_random", {1, 2}), ("random_only", {1})):
        found = find([both], FindingsSettings(contexts, n_boot=20)).filter(by="target")
        assert set(found["n_units"]) == n_units
        assert found.select("explainer", "simulator", "metric").is_unique().all()


def test_one_metric_is_one_table_with_a_column_per_judge() -> None:
    one = judged_twice()
    more = one.scores.filter(simulator="sim").with_columns(
        explanation=pl.format("{}.table.0", "unit"), explainer=pl.lit("table"), simulator=pl.lit("other")
    )
    tables = {f"{u}.table.0": Explanation(f"{u}.table.0", u, "table", 0, "w", "none", "0", ()) for u in (1, 2)}
    one = replace(one, scores=pl.concat([one.scores, more]), explanations={**one.explanations, **tables})
    correlation, auroc = pair_tables(pairs_of(find([one], SETTINGS), [one]))
    assert (correlation.metric, correlation.judges, correlation.judge_tokens) == (
        "correlation", ("other", "sim"), (None, 250.0),
    )  # fmt: skip
    asked, table = correlation.rows
    assert (asked.explainer, asked.n_explained, asked.n_unexplained, asked.tokens) == ("ex", 2, 1, 120.0)
    assert (table.explainer, table.n_explained, table.n_unexplained, table.tokens) == ("table", 2, 0, 0.0)
    assert asked.cells[0] is None, "that judge was not asked about it"
    assert table.cells[1] is None
    assert asked.cells[1] is not None
    assert asked.cells[1].value == pytest.approx((1 + LOW) / 2)
    assert (auroc.metric, auroc.judges) == ("auroc", ("detection",))
    assert [cell.n_undefined for row in auroc.rows for cell in row.cells if cell] == [1]


def test_other_metrics_of_a_judge_with_a_correlation_are_data_and_no_table() -> None:
    one = target("a", {1: EXACT})
    more = one.scores.with_columns(metric=pl.lit("r2.linear"))
    pairs = pairs_of(find([replace(one, scores=pl.concat([one.scores, more]))], SETTINGS), [one])
    assert set(pairs["metric"]) == {"correlation", "r2.linear"}
    assert [table.metric for table in pair_tables(pairs)] == ["correlation"]
    assert set(nested(pairs)["ex"]["sim"]) == {"correlation", "r2.linear"}


def test_without_scores_there_are_no_pairs() -> None:
    one = replace(target("a", {1: EXACT}), scores=schemas.SCORES.to_frame())
    pairs = pairs_of(find([one], SETTINGS), [one])
    assert (pairs.schema, pairs.height, pair_tables(pairs), nested(pairs)) == (PAIRS, 0, [], {})


def test_the_report_has_them_as_parquet_csv_json_and_on_its_page(published: Path) -> None:
    pairs = read_table(published / "pairs.parquet", PAIRS)
    assert set(pairs["target"]) == {"latents", "neurons"}
    assert pl.read_csv(published / "pairs.csv").select("value").to_series().to_list() == pytest.approx(
        pairs["value"].to_list()
    )
    metrics = json.loads((published / "metrics.json").read_text())
    for row in pairs.to_dicts():
        told = metrics[row["target"]]["by_pair"][row["explainer"]][row["simulator"]][row["metric"]]
        assert (told["value"], told["n_units"]) == (row["value"], row["n_units"])
    html = (published / "index.html").read_text()
    assert html.count("Every explainer with every judge") == 2
    assert "1,200 tokens per unit" in html, "6000 of 5 units"
    assert "11 explained, 1 failed; 900 tokens per unit" in html
