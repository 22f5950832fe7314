"""What arms of refinement gained and cost, by hand, whatever they are called."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from toy_report import Toy

from latentese import schemas
from latentese.report.arms import arm_costs, arm_ends, arm_names, is_control, random_controls, tokens_per_point
from latentese.report.index_page import _arms
from latentese.report.inputs import ReportSettings, Target, open_target
from latentese.report.pairs import PAIRS
from latentese.report.statements import statements
from latentese.report.summary import summarise
from latentese.report.tables import study_units


def finals(*rows: tuple[int, str, str]) -> pl.DataFrame:
    return pl.DataFrame([(*row, True) for row in rows], schema=schemas.FINALS, orient="row")


def test_the_revision_leads_and_any_other_arm_follows_by_name() -> None:
    table = finals((1, "initial", "a"), (1, "re_explanation", "b"), (1, "generated", "c"), (1, "revision", "d"))
    assert arm_names(table) == ["revision", "generated", "re_explanation"]


def test_an_arm_ends_with_the_first_explanation_where_it_has_no_other() -> None:
    study = pl.DataFrame({"unit": [1, 2, 3], "initial": ["1.ex.0", "2.ex.0", "3.ex.0"], "refined": [True, True, False]})
    study = study.with_columns(pl.col("unit").cast(pl.Int32))
    ends = arm_ends(finals((1, "generated", "1.generated.2"), (3, "generated", "3.generated.1")), study, "generated")
    assert ends.select("unit", "arm_end").rows() == [(1, "1.generated.2"), (2, "2.ex.0")]


def test_tokens_per_point_are_over_what_all_units_gained() -> None:
    # 4 units that gain .05 each gain 20 points: 1,000 tokens are 50 per point.
    assert tokens_per_point(1000, {"mean": 0.05, "n_units": 4}) == pytest.approx(50)
    assert tokens_per_point(0, {"mean": 0.05, "n_units": 4}) == 0
    assert tokens_per_point(None, {"mean": 0.05, "n_units": 4}) is None, "nobody counted"
    for gain in ({"mean": 0.0, "n_units": 4}, {"mean": -0.1, "n_units": 4}, {"n_units": 0}):
        assert tokens_per_point(1000, gain) is None


def test_every_arm_of_the_toy_study_is_told_with_its_cost(published: Path, toy: Toy) -> None:
    summary = json.loads((published / "metrics.json").read_text())["latents"]
    decisions = pl.read_parquet(toy.targets["latents"].refined / "decisions.parquet")
    assert list(summary["arms"]) == ["re_explanation", "revision"]
    for arm, figures in summary["arms"].items():
        own = decisions.filter(arm=arm)
        assert (figures["n_proposed"], figures["n_accepted"]) == (own.height, own["accepted"].sum())
        assert figures["share_accepted"] == own["accepted"].mean()
        assert (figures["prompt_tokens"], figures["completion_tokens"]) == (own.height * 900, own.height * 14)
        assert figures["score"]["n_units"] == figures["gain"]["n_units"]
    assert summary["arms"]["revision"]["gain"] == summary["gain"]["refinement"]
    assert summary["arms"]["re_explanation"]["gain"] == summary["gain"]["re_explanation"]
    assert summary["arms"]["revision"]["over_re_explanation"] == summary["gain"]["over_re_explanation"]
    assert not {"over_re_explanation", "over_random"} & set(summary["arms"]["re_explanation"]), "it is a control"
    assert "over_random" not in summary["gain"], "no arm showed random texts"
    assert "tokens_per_point" not in summary["arms"]["re_explanation"], "it gained nothing"
    assert "Arms of refinement" in (published / "index.html").read_text()


def test_the_share_accepted_is_of_proposals_as_in_the_manifest_of_refinement(toy: Toy) -> None:
    # Unit 1 is revised twice and the second child is not accepted; unit 2 stops at once, the budget ends unit 3:
    # 1 of 2 proposals, though there are 4 decisions.
    shown: tuple[list[int], ...] = ([], [], [], [], [])
    rows = [
        (1, "revision", 1, "1.ex.0", "1.revision.1", 0.3, 0.5, True, "gain", *shown),
        (1, "revision", 2, "1.revision.1", "1.revision.2", 0.5, 0.4, False, "no gain", *shown),
        (2, "revision", 1, "2.ex.0", None, 0.2, None, False, "no counterexample left in the pool", *shown),
        (3, "revision", 1, "3.ex.0", None, 0.1, None, False, "budget", *shown),
        (3, "control", 1, "3.ex.0", None, 0.1, None, False, "budget", *shown),
    ]
    opened, _ = open_target("latents", toy.targets["latents"])
    target = replace(opened, decisions=pl.DataFrame(rows, schema=schemas.DECISIONS, orient="row"))
    costs = arm_costs(target, "revision")
    assert (costs["n_proposed"], costs["n_accepted"], costs["share_accepted"]) == (2, 1, 0.5)
    nothing = arm_costs(target, "control")
    assert (nothing["n_proposed"], nothing["n_accepted"], nothing["share_accepted"]) == (0, 0, None)


def test_nothing_is_listed_where_no_unit_took_part() -> None:
    assert _arms({"n_refined": 0, "arms": {"revision": {}}}) == []
    (row,) = _arms({"n_refined": 1, "arms": {"made_up": {"n_proposed": 2, "n_accepted": 0, "gain": {"n_units": 0}}}})
    assert (row["arm"], row["n_proposed"], row["share_accepted"], row["tokens_per_point"]) == ("made up", 2, None, None)


def renamed(target: Target, **names: str) -> Target:
    """The same target, its arms under other names."""
    return replace(target, finals=target.finals.with_columns(pl.col("arm").replace(names)))


def figures_of(target: Target, settings: ReportSettings) -> dict[str, object]:
    return summarise(target, study_units(target, settings), pl.DataFrame(schema=PAIRS), settings)


def controlled(target: Target, **controls: str) -> Target:
    """The same target, some of its arms being controls of others, as the manifest of refinement tells."""
    counted = target.refine_counts["arms"]
    arms = counted | {name: counted.get(name, {}) | {"control_of": arm} for name, arm in controls.items()}
    return replace(target, refine_counts={**target.refine_counts, "arms": arms})


def test_controls_are_told_from_what_they_are_controls_of(toy: Toy) -> None:
    target, _ = open_target("latents", toy.targets["latents"])
    assert random_controls(target) == {}
    other = controlled(target, random_sentences="generated", drawn="revision")
    names = ["revision", "generated", "re_explanation", "random_sentences", "drawn"]
    assert [is_control(other, name) for name in names] == [False, False, True, True, True]
    assert random_controls(other) == {"generated": "random_sentences", "revision": "drawn"}


def test_a_control_with_random_texts_is_compared_in_the_place_of_explaining_again(
    published: Path, toy: Toy, settings: ReportSettings
) -> None:
    target, _ = open_target("latents", toy.targets["latents"])
    before = json.loads((published / "metrics.json").read_text())["latents"]
    random = renamed(target, re_explanation="random_examples")
    after = figures_of(controlled(random, random_examples="revision"), settings)
    # The same explanations under another name: what was the gain over one control is that over the other.
    gain, arms = after["gain"], after["arms"]
    assert isinstance(gain, dict) and isinstance(arms, dict)
    assert gain["over_random"] == before["gain"]["over_re_explanation"]
    assert arms["revision"]["over_random"] == before["arms"]["revision"]["over_re_explanation"]
    assert not {"over_re_explanation", "re_explanation"} & set(gain), "nothing was explained again"
    heads = [statement.head for statement in statements(after)]
    assert not [head for head in heads if "explaining again" in head.lower()]
    assert len([head for head in heads if "random texts" in head.lower()]) == 1


@pytest.mark.parametrize("ends_like", ["initial", "revision"])
def test_every_arm_is_compared_with_both_controls(toy: Toy, settings: ReportSettings, ends_like: str) -> None:
    target, _ = open_target("latents", toy.targets["latents"])
    random = target.finals.filter(arm=ends_like).with_columns(arm=pl.lit("random_sentences"))
    both = controlled(replace(target, finals=pl.concat([target.finals, random])), random_sentences="revision")
    figures = figures_of(both, settings)
    arms, gain_of_all = figures["arms"], figures["gain"]
    assert isinstance(arms, dict) and isinstance(gain_of_all, dict)
    assert gain_of_all["over_random"] == arms["revision"]["over_random"]
    # Over a control that ends with the first explanations, the gain is that over these; over one that ends with the
    # revisions themselves it is nothing.
    gain = arms["revision"]["gain"]["mean"]
    assert gain > 0
    assert arms["revision"]["over_random"]["mean"] == (gain if ends_like == "initial" else 0)
    assert arms["revision"]["over_re_explanation"]["mean"] == gain, "nothing was accepted by explaining again"
    assert not {"over_re_explanation", "over_random"} & set(arms["random_sentences"])


def test_a_control_is_compared_with_no_arm_but_its_own(toy: Toy, settings: ReportSettings) -> None:
    target, _ = open_target("latents", toy.targets["latents"])
    random = target.finals.filter(arm="revision").with_columns(arm=pl.lit("random_sentences"))
    with_random = controlled(replace(target, finals=pl.concat([target.finals, random])), random_sentences="generated")
    figures = figures_of(with_random, settings)
    arms, gain = figures["arms"], figures["gain"]
    assert isinstance(arms, dict) and isinstance(gain, dict)
    assert "over_random" not in arms["revision"] and "over_random" not in gain
