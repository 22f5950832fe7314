from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from toy_report import Toy

from latentese.report.inputs import ReportSettings, open_target
from latentese.report.statements import interval_text, statements
from latentese.report.summary import summarise, without_undefined
from latentese.report.tables import study_units


@pytest.fixture(scope="module")
def latents(published: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((published / "metrics.json").read_text())["latents"]
    return found


def test_counts_of_the_toy_study(latents: dict[str, Any]) -> None:
    counts = {
        key: latents[key] for key in ("n_studied", "n_explained", "n_failed", "n_unscored", "n_refined", "n_accepted")
    }
    expected = {"n_studied": 12, "n_explained": 11, "n_failed": 1, "n_unscored": 1, "n_refined": 4, "n_accepted": 2}
    assert counts == expected
    assert latents["share_failed"] == 1 / 12


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
    toy: Toy, settings: ReportSettings, latents: dict[str, Any]
) -> None:
    target, _ = open_target("latents", toy.targets["latents"])
    again = summarise(target, study_units(target, settings), settings)
    assert json.loads(json.dumps(again, allow_nan=False)) == latents


def test_what_is_not_defined_is_left_out() -> None:
    assert without_undefined({"a": math.nan, "b": {"c": None, "d": 1.5}, "e": math.inf, "f": 0}) == {
        "b": {"d": 1.5},
        "f": 0,
    }


def summary(low: float, mean: float, high: float) -> dict[str, Any]:
    estimate = {"mean": mean, "low": low, "high": high, "n_units": 5}
    gain = {"right_over_wrong": estimate, "refinement": estimate, "over_re_explanation": estimate}
    return {"gain": gain, "n_failed": 0, "n_studied": 5, "n_unscored": 0, "n_refined": 5, "n_accepted": 2}


@pytest.mark.parametrize(
    ("interval", "verdict", "head"),
    [
        ((0.1, 0.2, 0.3), "good", "Counterexamples beat explaining again"),
        ((-0.1, 0.1, 0.3), "open", "No evidence of gain over explaining again"),
        ((0.0, 0.0, 0.0), "open", "No evidence of gain over explaining again"),
        ((-0.3, -0.2, -0.1), "bad", "Explaining again beat counterexamples"),
    ],
)
def test_verdicts_follow_from_intervals(interval: tuple[float, float, float], verdict: str, head: str) -> None:
    found = {statement.head: statement for statement in statements(summary(*interval))}
    assert found[head].verdict == verdict
    assert interval_text(summary(*interval)["gain"]["refinement"], signed=True) in found[head].detail


def test_failures_are_said_plainly() -> None:
    found = statements({**summary(0.1, 0.2, 0.3), "n_failed": 2})
    assert any(s.head == "2 of 5 units could not be explained" and s.verdict == "bad" for s in found)


def test_nothing_refined_is_said() -> None:
    plain = {**summary(0.1, 0.2, 0.3), "n_refined": 0}
    plain["gain"] = {**plain["gain"], "refinement": {"n_units": 0}}
    assert "Nothing was refined" in [s.head for s in statements(plain)]


def test_an_interval_as_text() -> None:
    assert interval_text({"mean": 0.414, "low": -0.006, "high": 0.8}) == "0.41 [\u22120.01, 0.80]"
