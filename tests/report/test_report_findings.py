"""Means by kind, layer and density, by hand; whatever judges and metrics there are."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from flows.publish import finding_metrics
from latentese import schemas
from latentese.metrics.intervals import Bootstrap
from latentese.metrics.scores import correlation_scores
from latentese.records import Explanation
from latentese.report.findings import FINDINGS, FindingsSettings, density_name, find, kind_of, layer_name
from latentese.report.inputs import ReportSettings, Target
from latentese.store.tables import read_table

SETTINGS = FindingsSettings(n_boot=200)
TRUTH = [0.0, 1.0, 0.0, 2.0]
EXACT = [0.0, 0.5, 0.0, 1.0]
BLIND = [0.0, 1.0, 1.0, 0.0]
LOW = -2 / 44**0.5
"""r of BLIND: n = 4, Sy = 3, Ss = 2, Sys = 1, Syy = 5, Sss = 2, so (4 - 6) / sqrt(11 * 4)."""
NEURONS, TOPK = "latentese.dictionaries.neurons.Neurons", "latentese.dictionaries.topk.TopK"


def target(
    name: str, expected: dict[int, list[float]], dictionary: str = TOPK, hookpoint: str = "layers.4.x"
) -> Target:
    """Units simulated alike on four documents; unit u fires on 10^-u of tokens; another unit's explanation is blind."""
    explanations = {f"{u}.ex.0": Explanation(f"{u}.ex.0", u, "ex", 0, "words", "m", "0", ()) for u in expected}
    rows = [
        (f"{u}.ex.0", u, "sim", control, "test", d, d, "top", TRUTH, acts if control == "none" else BLIND, None)
        for u, acts in expected.items()
        for control in ("none", "wrong_explanation")
        for d in range(4)
    ]
    simulations = pl.DataFrame(rows, schema=schemas.SIMULATIONS, orient="row")
    units = [(u, 1, 10.0**-u, 1.0, 1.0, 0.0, 4, u, [1]) for u in expected]
    return Target(
        name=name,
        units=pl.DataFrame(units, schema=schemas.UNITS, orient="row"),
        examples=schemas.EXAMPLES.to_frame(),
        pool=schemas.POOL.to_frame(),
        explanations=explanations,
        scores=correlation_scores(simulations, explanations.values(), Bootstrap(n_boot=20)),
        simulations=simulations,
        decisions=schemas.DECISIONS.to_frame(),
        finals=schemas.FINALS.to_frame(),
        train_log=schemas.TRAIN_LOG.to_frame(),
        evaluation={},
        example_counts={},
        level=0.95,
        dictionary=dictionary,
        hookpoint=hookpoint,
    )


def with_scores(one: Target, rows: list[tuple[str, int, str, str, float | None, float | None, float | None]]) -> Target:
    """The same target with scores of another judge: explanation, unit, control, metric, value, low, high."""
    from dataclasses import replace

    more = [
        (name, unit, "ex", 0, "detection", control, "test", "top_and_random", metric, *interval, 4, 8, 2)
        for name, unit, control, metric, *interval in rows
    ]
    return replace(one, scores=pl.concat([one.scores, pl.DataFrame(more, schema=schemas.SCORES, orient="row")]))


def groups(found: pl.DataFrame, by: str, *columns: str) -> list[tuple[object, ...]]:
    return found.filter(by=by).select("group", "kind", *columns).rows()


def test_names_of_kinds_layers_and_densities() -> None:
    classes = [NEURONS, "latentese.dictionaries.pca.PCA", "latentese.dictionaries.random.RandomDirections", TOPK, ""]
    assert [kind_of(name) for name in classes] == ["neuron", "PCA direction", "random direction", "latent", "latent"]
    assert [layer_name(name) for name in ("layers.4.mlp_act", "layers.12.resid_post", "embed", "")] == [
        "layer  4", "layer 12", "embed", "unknown",
    ]  # fmt: skip
    assert [density_name(rate) for rate in (0.0, 0.001, 0.0099, 0.01, 1.0)] == [
        "0 %", "0.1 % to 1 %", "0.1 % to 1 %", "1 % to 10 %", "10 % to 100 %",
    ]  # fmt: skip


def test_means_stand_beside_the_control_and_kinds_are_not_pooled() -> None:
    found = find([target("a", {1: EXACT, 2: BLIND}), target("b", {3: EXACT}, NEURONS)], SETTINGS)
    assert found.schema == FINDINGS
    assert groups(found, "kind", "value", "wrong", "n_units", "n_judged") == [
        ("latent", "latent", pytest.approx((1 + LOW) / 2), pytest.approx(LOW), 2, 8),
        ("neuron", "neuron", pytest.approx(1.0), pytest.approx(LOW), 1, 4),
    ]


def test_intervals_resample_units() -> None:
    """All documents are alike, so all the width is that of drawing two units from two: both, or one of them twice."""
    found = find([target("a", {1: EXACT, 2: BLIND})], SETTINGS)
    row = found.filter(by="kind").row(0, named=True)
    assert (row["low"], row["high"]) == (pytest.approx(LOW), pytest.approx(1.0))
    assert (row["wrong_low"], row["wrong_high"]) == (pytest.approx(LOW), pytest.approx(LOW))


def test_targets_of_one_layer_come_together_and_layers_go_up() -> None:
    at = {"a": "layers.12.x", "b": "layers.4.x", "c": "layers.12.y"}
    found = find([target(name, {1: EXACT}, hookpoint=hookpoint) for name, hookpoint in at.items()], SETTINGS)
    assert groups(found, "layer", "n_units") == [("layer  4", "latent", 1), ("layer 12", "latent", 2)]


def test_densities_go_up_from_the_rarest() -> None:
    found = find([target("a", {1: EXACT, 4: BLIND, 3: EXACT})], SETTINGS)
    assert groups(found, "density", "n_units", "value") == [
        ("0.01 % to 0.1 %", "latent", 1, pytest.approx(LOW)),
        ("0.1 % to 1 %", "latent", 1, pytest.approx(1.0)),
        ("10 % to 100 %", "latent", 1, pytest.approx(1.0)),
    ]


def test_any_judge_and_metric_has_its_rows_and_bounds_have_none() -> None:
    one = with_scores(
        target("a", {1: EXACT, 2: EXACT}),
        [
            ("1.ex.0", 1, "none", "auroc", 0.8, 0.7, 0.9),
            ("2.ex.0", 2, "none", "auroc", 0.6, None, None),
            ("1.ex.0", 1, "wrong_explanation", "auroc", 0.5, 0.4, 0.6),
            ("1.ex.0", 1, "none", "auroc.worst", 0.1, 0.1, 0.1),
            ("2.ex.0", 2, "none", "r2.linear", None, None, None),
        ],
    )
    found = find([one], SETTINGS).filter(by="kind")
    rows = {(row["simulator"], row["metric"]): row for row in found.to_dicts()}
    assert set(rows) == {("sim", "correlation"), ("detection", "auroc"), ("detection", "r2.linear")}
    auroc = rows["detection", "auroc"]
    assert (auroc["value"], auroc["wrong"], auroc["n_units"]) == (pytest.approx(0.7), 0.5, 2)
    assert (auroc["wrong_low"], auroc["wrong_high"]) == (0.4, 0.6), "of one unit, its own interval"
    assert auroc["low"] < 0.62
    assert auroc["high"] > 0.78
    assert (auroc["n_judged"], auroc["n_failed"]) == (16, 4)
    undefined = rows["detection", "r2.linear"]
    assert (undefined["value"], undefined["low"], undefined["n_units"], undefined["n_undefined"]) == (None, None, 0, 1)


def test_a_score_that_is_not_finite_is_not_defined() -> None:
    one = with_scores(target("a", {1: EXACT}), [("1.ex.0", 1, "none", "auroc", float("nan"), None, None)])
    row = find([one], SETTINGS).filter(by="kind", metric="auroc").row(0, named=True)
    assert (row["value"], row["n_units"], row["n_undefined"]) == (None, 0, 1)


def test_revisions_and_other_splits_are_no_findings() -> None:
    one = target("a", {1: EXACT})
    later = {**one.explanations, "1.rev.1": Explanation("1.rev.1", 1, "rev", 1, "x", "m", "0", (), parent="1.ex.0")}
    from dataclasses import replace

    renamed = one.scores.with_columns(explanation=pl.lit("1.rev.1"), explainer=pl.lit("rev"))
    found = find([replace(one, explanations=later, scores=pl.concat([one.scores, renamed]))], SETTINGS)
    assert found["explainer"].unique().to_list() == ["ex"]


def test_without_scores_there_are_no_rows() -> None:
    from dataclasses import replace

    one = target("a", {1: EXACT})
    assert find([replace(one, scores=one.scores.clear())], SETTINGS).schema == FINDINGS


def test_the_report_has_them_as_tables_figures_and_a_section(published: Path, settings: ReportSettings) -> None:
    found = read_table(published / "findings.parquet", FINDINGS)
    assert set(found["kind"]) == {"latent", "neuron"}
    assert groups(found.filter(simulator="similarity", explainer="token_activation"), "layer", "n_units") == [
        ("layer 12", "latent", 10), ("layer  4", "neuron", 10),
    ]  # fmt: skip
    assert pl.read_csv(published / "findings.csv").height == found.height
    html = (published / "index.html").read_text()
    assert 'id="findings"' in html
    assert "By kind of unit, explainer and judge" in html


def test_names_of_metrics_are_what_mlflow_takes() -> None:
    found = find([target("a", {3: EXACT})], SETTINGS).with_columns(simulator=pl.lit("a/b%[x]"))
    names = dict(finding_metrics(found))
    assert names["findings/layer/layer  4/latent/ex/abx/correlation/value"] == pytest.approx(1.0)
    assert names["findings/density/0.1  to 1/latent/ex/abx/correlation/n_units"] == 1.0
