from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from toy_report import Toy

from latentese.report.inputs import ReportSettings, open_target
from latentese.report.pairs import PAIRS
from latentese.report.statements import interval_text, statements
from latentese.report.summary import summarise, without_undefined
from latentese.report.tables import study_units
from latentese.store.tables import read_table


@pytest.fixture(scope="module")
def latents(published: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((published / "metrics.json").read_text())["latents"]
    return found


def test_counts_of_the_toy_study(latents: dict[str, Any]) -> None:
    counts = {
        key: latents[key] for key in ("n_studied", "n_explained", "n_failed", "n_unscored", "n_refined", "n_improved")
    }
    expected = {"n_studied": 12, "n_explained": 11, "n_failed": 1, "n_unscored": 1, "n_refined": 4, "n_improved": 2}
    assert counts == expected
    assert latents["share_failed"] == latents["share_unscored"] == 1 / 12


def test_means_agree_with_the_score_tables(toy: Toy, settings: ReportSettings, latents: dict[str, Any]) -> None:
    study = study_units(open_target("latents", toy.targets["latents"])[0], settings)
    for arm, column in (("initial", "initial_score"), ("final", "final_score"), ("wrong_explanation", "wrong_score")):
        assert latents["score"][arm]["mean"] == pytest.approx(study[column].mean())
        assert latents["score"][arm]["n_units"] == study[column].count()
        assert latents["score"][arm]["low"] <= latents["score"][arm]["mean"] <= latents["score"][arm]["high"]


def test_gain_of_refinement_is_over_the_units_that_took_part(
    toy: Toy, settings: ReportSettings, latents: dict[str, Any]
) -> None:
    study = study_units(open_target("latents", toy.targets["latents"])[0], settings).filter("refined")
    gain = latents["gain"]["refinement"]
    assert gain["n_units"] == 4
    assert gain["mean"] == pytest.approx((study["final_score"] - study["initial_score"]).mean())


def test_no_number_is_nan_and_the_target_is_summarised_the_same_twice(
    toy: Toy, published: Path, settings: ReportSettings, latents: dict[str, Any]
) -> None:
    target, _ = open_target("latents", toy.targets["latents"])
    pairs = read_table(published / "pairs.parquet", PAIRS)
    again = summarise(target, study_units(target, settings), pairs, settings)
    assert json.loads(json.dumps(again, allow_nan=False)) == latents


def test_what_is_not_defined_is_left_out() -> None:
    assert without_undefined({"a": math.nan, "b": {"c": None, "d": 1.5}, "e": math.inf, "f": 0}) == {
        "b": {"d": 1.5},
        "f": 0,
    }


def summary(low: float, mean: float, high: float) -> dict[str, Any]:
    estimate = {"mean": mean, "low": low, "high": high, "n_units": 5}
    gain = {
        "right_over_wrong": estimate,
        "refinement": estimate,
        "over_re_explanation": estimate,
        "over_random": estimate,
    }
    gain["over_table_baseline"] = estimate
    counts = {"n_failed": 0, "n_studied": 5, "n_explained": 5, "n_unscored": 0, "n_refined": 5, "n_improved": 2}
    return {"gain": gain, "baseline": "token_table", **counts}


@pytest.mark.parametrize(
    ("interval", "verdict", "head"),
    [
        ((0.1, 0.2, 0.3), "good", "Counterexamples beat explaining again"),
        ((-0.1, 0.1, 0.3), "open", "No evidence of gain over explaining again"),
        ((0.0, 0.0, 0.0), "open", "No evidence of gain over explaining again"),
        ((-0.3, -0.2, -0.1), "bad", "Explaining again beat counterexamples"),
        ((0.1, 0.2, 0.3), "good", "Counterexamples beat random texts"),
        ((-0.1, 0.1, 0.3), "open", "No evidence of gain over random texts"),
        ((-0.3, -0.2, -0.1), "bad", "Random texts beat counterexamples"),
    ],
)
def test_verdicts_follow_from_intervals(interval: tuple[float, float, float], verdict: str, head: str) -> None:
    found = {statement.head: statement for statement in statements(summary(*interval))}
    assert found[head].verdict == verdict
    assert interval_text(summary(*interval)["gain"]["refinement"], signed=True) in found[head].detail


def test_failures_are_said_plainly() -> None:
    found = statements({**summary(0.1, 0.2, 0.3), "n_failed": 2})
    assert any(s.head == "2 of 5 units could not be explained" and s.verdict == "bad" for s in found)


@pytest.mark.parametrize(
    ("counts", "detail"),
    [
        ({"n_refined": 0}, "No unit scored under the threshold on select."),
        ({"n_refined": 1}, "1 unit took part, none with a score on test on both sides."),
        ({"n_refined": 0, "n_apart": 3}, "Refinement was given the explanations of another explainer."),
        ({"n_refined": 0, "n_explained": 0}, "No unit has an explanation."),
    ],
)
def test_why_refinement_has_no_gain_is_said(counts: dict[str, int], detail: str) -> None:
    plain = {**summary(0.1, 0.2, 0.3), **counts}
    plain["gain"] = {**plain["gain"], "refinement": {"n_units": 0}}
    assert detail in [s.detail for s in statements(plain)]


@pytest.mark.parametrize(
    ("interval", "verdict", "head"),
    [
        ((0.1, 0.2, 0.3), "good", "The token table, which needs no language model, predicts worse"),
        ((-0.3, -0.2, -0.1), "bad", "The token table, which needs no language model, predicts better"),
        ((-0.1, 0.1, 0.3), "open", "No evidence of a difference to the token table, which needs no language model"),
    ],
)
def test_the_baseline_is_judged(interval: tuple[float, float, float], verdict: str, head: str) -> None:
    assert (verdict, head) in [(s.verdict, s.head) for s in statements(summary(*interval))]


def test_a_gain_without_an_interval_decides_nothing() -> None:
    plain = summary(0.1, 0.2, 0.3)
    plain["gain"] = {name: {"mean": 0.2, "n_units": 1} for name in plain["gain"]}
    assert {s.verdict for s in statements(plain)} == {"open", "note"}


def test_gain_over_the_baseline_is_over_units_with_both_scores(
    toy: Toy, settings: ReportSettings, latents: dict[str, Any]
) -> None:
    target, _ = open_target("latents", toy.targets["latents"])
    own = pl.col("explainer") == "token_table", pl.col("simulator") == "token_table", pl.col("control") == "none"
    rows = target.scores.filter(*own, contexts="top_and_random", metric="correlation").select("unit", table="value")
    both = study_units(target, settings).join(rows, on="unit").drop_nulls(["initial_score", "table"])
    assert latents["score"]["baseline"]["mean"] == pytest.approx(rows["table"].mean())
    assert latents["gain"]["over_table_baseline"]["n_units"] == both.height
    assert latents["by_pair"]["token_table"]["token_table"]["correlation"]["value"] == pytest.approx(
        rows["table"].mean()
    )


def test_random_contexts_alone_have_their_own_mean(toy: Toy, settings: ReportSettings, latents: dict[str, Any]) -> None:
    # The random contexts of the toy study are silent.
    assert latents["score_random_only"]["initial"] == {"n_units": 0}
    target, _ = open_target("latents", toy.targets["latents"])
    random = target.simulations.with_columns(kind=pl.col("kind").replace({"random": "near_miss", "top": "random"}))
    found = summarise(replace(target, simulations=random), study_units(target, settings), PAIRS.to_frame(), settings)
    for arm in ("initial", "wrong_explanation"):
        assert found["score_random_only"][arm] == found["score"][arm]
        assert found["score_random_only"][arm]["n_units"] > 5


def test_an_interval_as_text() -> None:
    assert interval_text({"mean": 0.414, "low": -0.006, "high": 0.8}) == "0.41 [\u22120.01, 0.80]"
    assert interval_text({"mean": -0.001, "low": -0.004, "high": 0.8}, signed=True) == "+0.00 [+0.00, +0.80]"
    assert interval_text({"mean": 0.41}) == "0.41 (no interval)"
