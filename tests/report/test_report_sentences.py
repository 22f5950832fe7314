"""Written sentences and other metrics on a unit's page: what is shown and where, and nothing in it is markup."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
from test_report_findings import EXACT, target, with_scores
from toy_report import Toy

from latentese import schemas
from latentese.corpus.contexts import Contexts
from latentese.report.inputs import ReportSettings, Target, open_target
from latentese.report.page import render
from latentese.report.sentences import sentences_of
from latentese.report.tables import scores_of_unit, study_units
from latentese.report.unit_measures import measures_of
from latentese.report.unit_page import UnitPages

HOSTILE = '<img src=x onerror="alert(1)">'


def with_sentences(one: Target, unit: int, child: str, parent: str, arm: str = "generated") -> Target:
    """Two sentences written from `parent` in round 1: one fires on its second token, the other is silent and shown."""
    decision = (unit, arm, 1, parent, child, 0.1, 0.2, True, "better", [], [], [], [-7], [])
    written = [
        (unit, arm, 1, parent, -5, ["The", " cat", HOSTILE], [False, True, True], [9.0, 2.0, 0.0], "p"),
        (unit, arm, 1, parent, -7, ["A", " dog"], [False, True], [0.0, 0.0], "p"),
        (unit, arm, 2, parent, -9, ["Later", " on"], [False, True], [0.0, 1.0], "p"),
    ]
    decisions = pl.DataFrame([decision], schema=schemas.DECISIONS, orient="row")
    return replace(
        one,
        decisions=pl.concat([one.decisions, decisions]),
        sentences=pl.DataFrame(written, schema=schemas.SENTENCES, orient="row"),
    )


def test_sentences_belong_to_the_proposal_of_their_round() -> None:
    one = with_sentences(target("a", {1: EXACT}), 1, "1.generated.1", "1.ex.0")
    found = sentences_of(one, 1)
    assert list(found) == ["1.generated.1"], "round 2 made no proposal"
    fires, silent = found["1.generated.1"]
    assert (fires.fires, fires.shown, silent.fires, silent.shown) == (True, False, False, True)
    # The first token does not count, so its 9 is no peak: full colour is the 2 of the second one.
    assert [cell.true for cell in fires.view.cells] == [None, 2.0, 0.0]
    assert [cell.true_level for cell in fires.view.cells] == [0, 10, 0]
    assert fires.view.max_true == 2.0
    assert sentences_of(one, 2) == {}


def test_a_page_shows_sentences_as_text_and_other_metrics(toy: Toy, settings: ReportSettings) -> None:
    opened, _ = open_target("latents", toy.targets["latents"])
    row = study_units(opened, settings).filter("refined").to_dicts()[0]
    child = opened.decisions.filter(unit=row["unit"], arm="revision")["child"].item()
    opened = replace(opened, decisions=opened.decisions.filter(pl.col("child") != child))
    more = opened.scores.filter(unit=row["unit"]).with_columns(
        metric=pl.lit("<b>measure</b>"), n_failed=pl.lit(3, pl.Int32)
    )
    one = with_sentences(opened, row["unit"], child, row["first"], "revision")
    one = replace(one, scores=pl.concat([one.scores, more]))
    page = UnitPages(one, Contexts(toy.contexts), settings).build(row)
    values = {"title": "t", "page": page, "contexts": settings.contexts, "before": None, "after": None}
    html = render("unit.html.j2", "unit.js", values)
    assert "Sentences written from the explanation (1 of 2 make it fire)" in html
    assert html.count("shown as a counterexample") == 1
    assert HOSTILE not in html
    assert "<b>measure" not in html
    assert "&lt;b&gt;measure&lt;/b&gt;" in html
    assert "3 failed" in html
    assert html.count("Other metrics") == 1


def test_measures_are_whatever_there_is_beside_the_correlation() -> None:
    one = with_scores(
        target("a", {1: EXACT, 2: EXACT}),
        [
            ("1.ex.0", 1, "none", "ablation", 0.8, 0.7, 0.9),
            ("1.ex.0", 1, "none", "auroc", None, None, None),
            ("1.ex.0", 1, "none", "auroc.worst", 0.1, 0.1, 0.1),
            ("1.ex.0", 1, "wrong_explanation", "ablation", 0.2, 0.1, 0.3),
            ("2.ex.0", 2, "none", "ablation", 0.5, 0.4, 0.6),
        ],
    )
    (found,) = measures_of(scores_of_unit(one, 1), "top_and_random")
    assert (found.explainer, found.revision, found.judge, found.n_failed) == ("ex", 0, "detection", 2)
    assert [(one.metric, one.value, one.wrong) for one in found.values] == [
        ("ablation", 0.8, 0.2), ("auroc", None, None),
    ]  # fmt: skip
    assert measures_of(scores_of_unit(one, 1), "random_only") == []
