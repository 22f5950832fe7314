from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from toy_report import Toy
from toy_study import UNITS

from latentese import schemas
from latentese.errors import SettingError
from latentese.records import Explanation
from latentese.report.inputs import ReportSettings, Target, open_target, require_primary
from latentese.report.tables import baseline_explainer, scores_of_unit, study_units

SETTINGS = ReportSettings(primary_simulator="sim", primary_explainer="ex")


def explanation(unit: int, explainer: str, revision: int, text: str | None = "words") -> Explanation:
    parent = f"{unit}.ex.0" if revision else None
    return Explanation(f"{unit}.{explainer}.{revision}", unit, explainer, revision, text, "m", "0", (), parent=parent)


def score(of: Explanation, value: float | None, control: str = "none", simulator: str = "sim") -> tuple[object, ...]:
    interval = (None, None) if value is None else (value - 0.1, value + 0.1)
    head = (of.explanation, of.unit, of.explainer, of.revision, simulator, control, "test")
    return (*head, "top_and_random", "correlation", value, *interval, 4, 5, 1)


def small_target() -> Target:
    """Unit 1: revised and accepted. 2: revised, rejected. 3: good at first. 4: failed. 5: score not defined."""
    first = {unit: explanation(unit, "ex", 0, None if unit == 4 else f"words {unit}") for unit in range(1, 6)}
    revisions = {unit: explanation(unit, "revision", 1) for unit in (1, 2)}
    other = explanation(3, "table", 0)
    scores = [
        score(first[1], 0.2),
        score(revisions[1], 0.6),
        score(first[1], 0.05, "wrong_explanation"),
        score(first[2], 0.1),
        score(revisions[2], 0.9),
        score(first[3], 0.8),
        score(first[3], 0.3, simulator="other"),
        score(other, 0.4),
        score(first[5], None),
    ]
    ends = {1: "1.revision.1", 2: "2.ex.0", 3: "3.ex.0", 5: "5.ex.0"}
    finals = [(unit, "initial", f"{unit}.ex.0", unit < 3) for unit in ends]
    finals += [(unit, "revision", end, unit < 3) for unit, end in ends.items()]
    units = [(unit, 10, unit / 100, 2.0, 1.0, 0.0, 3, unit - 1, [1]) for unit in range(1, 6)]
    empty = {
        name: pl.DataFrame(schema=getattr(schemas, name)) for name in ("EXAMPLES", "POOL", "SIMULATIONS", "DECISIONS")
    }
    return Target(
        name="latents",
        units=pl.DataFrame(units, schema=schemas.UNITS, orient="row"),
        examples=empty["EXAMPLES"],
        pool=empty["POOL"],
        explanations={e.explanation: e for e in [*first.values(), other, *revisions.values()]},
        scores=pl.DataFrame(scores, schema=schemas.SCORES, orient="row"),
        simulations=empty["SIMULATIONS"],
        decisions=empty["DECISIONS"],
        finals=pl.DataFrame(finals, schema=schemas.FINALS, orient="row"),
        train_log=pl.DataFrame(schema=schemas.TRAIN_LOG),
        evaluation={},
        example_counts={},
        level=0.95,
    )


def test_each_unit_of_the_study_is_one_row_with_its_status() -> None:
    table = study_units(small_target(), SETTINGS)
    assert table["unit"].to_list() == [1, 2, 3, 4, 5]
    assert table["status"].to_list() == ["refined", "rejected", "first", "failed", "unscored"]


def test_scores_are_those_of_the_explanation_each_arm_ends_with() -> None:
    table = study_units(small_target(), SETTINGS)
    assert table["initial_score"].to_list() == [0.2, 0.1, 0.8, None, None]
    # A rejected revision's own score (.9 on test) must not leak in: selection looks at `select` only.
    assert table["final_score"].to_list() == [0.6, 0.1, 0.8, None, None]
    assert table["wrong_score"].to_list() == [0.05, None, None, None, None]


def test_what_was_refined_is_not_said_of_another_explainers_explanations() -> None:
    # `1.revision.1` revises what `ex` wrote; `table` has explanations of its own, which nobody revised.
    target = small_target()
    own = [explanation(unit, "table", 0) for unit in (1, 2)]
    both = replace(target, explanations={**target.explanations, **{e.explanation: e for e in own}})
    table = study_units(both, replace(SETTINGS, primary_explainer="table"))
    assert table["final"].to_list() == ["1.table.0", "2.table.0", "3.table.0"] == table["first"].to_list()
    assert not table["refined"].any()
    assert "first" not in table["status"].to_list(), "nobody looked at their scores on select"
    assert study_units(both, SETTINGS)["status"].to_list()[2] == "first"


def test_an_arm_without_a_final_ends_with_the_first_explanation() -> None:
    table = study_units(small_target(), SETTINGS)
    assert table["control"].to_list() == [f"{unit}.ex.0" for unit in range(1, 6)]


def test_a_control_may_carry_the_other_units_explanation_id() -> None:
    target = small_target()
    foreign = pl.col("control") == "wrong_explanation"
    renamed = pl.when(foreign).then(pl.lit("3.ex.0")).otherwise("explanation").alias("explanation")
    table = study_units(replace(target, scores=target.scores.with_columns(renamed)), SETTINGS)
    assert table["wrong_score"].to_list() == [0.05, None, None, None, None]


def test_scores_of_a_unit_have_the_control_beside_them() -> None:
    rows = scores_of_unit(small_target(), 1).to_dicts()
    assert [(row["explainer"], row["value"], row["wrong"]) for row in rows] == [
        ("ex", 0.2, 0.05),
        ("revision", 0.6, None),
    ]


def test_the_baseline_is_read_by_the_simulator_of_its_name() -> None:
    target = small_target()
    assert baseline_explainer(target, SETTINGS) is None
    own = score(explanation(3, "table", 0), 0.7, simulator="table")
    more = pl.DataFrame([own], schema=schemas.SCORES, orient="row")
    target = replace(target, scores=pl.concat([target.scores, more]))
    assert baseline_explainer(target, SETTINGS) == "table"
    assert baseline_explainer(target, replace(SETTINGS, primary_explainer="table")) is None


def test_a_table_is_the_baseline_before_other_forms() -> None:
    target = small_target()
    own = [score(explanation(3, name, 0), 0.7, simulator=name) for name in ("n2g", "table")]
    scores = pl.concat([target.scores, pl.DataFrame(own, schema=schemas.SCORES, orient="row")])
    table = replace(explanation(3, "table", 0), table=((" red", 1.0),))
    patterns = replace(explanation(3, "n2g", 0), patterns=(((" red",), 1.0),))
    written = {e.explanation: e for e in (table, patterns)}
    target = replace(target, scores=scores, explanations={**target.explanations, **written})
    assert baseline_explainer(target, SETTINGS) == "table"


def test_an_unknown_explainer_or_simulator_stops_with_what_is_there() -> None:
    with pytest.raises(SettingError, match=r"primary_explainer='nobody'.*\['ex', 'revision', 'table'\]"):
        require_primary(small_target(), replace(SETTINGS, primary_explainer="nobody"))
    with pytest.raises(SettingError, match=r"primary_simulator='nobody'.*\['other', 'sim'\]"):
        require_primary(small_target(), replace(SETTINGS, primary_simulator="nobody"))


def test_only_test_rows_are_read(toy: Toy) -> None:
    target, artifacts = open_target("latents", toy.targets["latents"])
    assert set(target.scores["split"]) == {"test"}
    assert set(target.simulations["split"]) == {"test"}
    assert set(artifacts) == {"examples", "explanations", "scores", "refined", "evaluation", "dictionary"}


def test_the_toy_study_has_a_unit_of_every_status(toy: Toy, settings: ReportSettings) -> None:
    table = study_units(open_target("latents", toy.targets["latents"])[0], settings)
    assert table["unit"].to_list() == sorted(UNITS["latents"])
    assert set(table["status"]) == {"refined", "rejected", "first", "failed", "unscored"}
