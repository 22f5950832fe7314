"""How a unit's explanation came to be: first explanation, revisions and controls, each with its decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from latentese.records import Explanation
from latentese.report.arms import is_control
from latentese.report.inputs import Target
from latentese.report.visible import visible

TITLES = {"revision": "Revision", "re_explanation": "Control: explained again"}
"""What the pages call an arm of refinement; any other by its name."""


@dataclass(frozen=True)
class Step:
    """One explanation of a unit and what became of it."""

    explanation: str
    """Its id."""
    title: str
    text: str | None
    error: str | None
    model: str
    n_examples: int
    score: float | None
    """On `test`, leading simulator."""
    low: float | None
    high: float | None
    decision: str
    """`first`, `accepted`, `rejected`, or `control`."""
    why: str
    select_before: float | None
    select_after: float | None
    false_positives: tuple[int, ...]
    """Contexts shown as counterexamples: the simulation was high, the unit silent."""
    false_negatives: tuple[int, ...]
    extra_examples: tuple[int, ...]
    """Ordinary contexts: more examples, or random ones in the place of counterexamples."""
    final: bool


def lineage(target: Target, row: dict[str, Any], scores: pl.DataFrame) -> list[Step]:
    """List every step of one unit, in order: the first explanation, then each round of each arm.

    `row` is the unit's row of the study table, `scores` the leading scores with control `none`.
    """
    values = {score["explanation"]: score for score in scores.filter(pl.col("unit") == row["unit"]).to_dicts()}
    first = target.explanations[row["first"]]
    steps = [_step(target, first, "First explanation", values, {"final": row["final"]})]
    decisions = target.decisions.filter(pl.col("unit") == row["unit"]).sort("arm", "round", descending=[True, False])
    for decision in decisions.to_dicts():
        child = target.explanations.get(decision["child"])
        if child is None:
            continue
        name = TITLES.get(decision["arm"], f"Arm: {visible(decision['arm'].replace('_', ' '))}")
        title = f"{name}, round {decision['round']}"
        steps.append(_step(target, child, title, values, {**decision, "final": row["final"]}))
    return steps


def _step(
    target: Target, explanation: Explanation, title: str, values: dict[str, Any], decision: dict[str, Any]
) -> Step:
    score = values.get(explanation.explanation, {})
    return Step(
        explanation=explanation.explanation,
        title=title,
        text=None if explanation.text is None else visible(explanation.text),
        error=None if explanation.error is None else visible(explanation.error),
        model=visible(explanation.model),
        n_examples=len(explanation.examples),
        score=score.get("value"),
        low=score.get("low"),
        high=score.get("high"),
        decision=_outcome(target, decision),
        why=visible(decision.get("why") or ""),
        select_before=decision.get("select_parent"),
        select_after=decision.get("select_child"),
        false_positives=tuple(decision.get("false_positives") or ()),
        false_negatives=tuple(decision.get("false_negatives") or ()),
        extra_examples=(*(decision.get("extra_examples") or ()), *(decision.get("random_examples") or ())),
        final=explanation.explanation == decision["final"],
    )


def _outcome(target: Target, decision: dict[str, Any]) -> str:
    if "arm" not in decision:
        return "first"
    if is_control(target, decision["arm"]):
        return "control"
    return "accepted" if decision["accepted"] else "rejected"
