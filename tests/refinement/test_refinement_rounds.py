"""A budget of prompt tokens by hand: looked at between eights of units, never inside one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import polars as pl
from toy_units import make_explanation

from latentese import schemas
from latentese.records import Unit, Usage
from latentese.refinement.loop import Course, LoopSettings, Step
from latentese.refinement.rounds import run_rounds


class TenTokens:
    """A loop of which every step has a model read ten tokens."""

    settings = LoopSettings(n_rounds=2)

    async def run_round(self, courses: Sequence[Course], round_idx: int) -> list[Step]:
        child = replace(make_explanation("x"), usage=Usage(10, 1))
        return [Step(course, child, {"why": "asked", "round": round_idx}, pl.DataFrame()) for course in courses]


def whys(n_units: int, budget: int | None) -> list[tuple[int, object, object]]:
    first = make_explanation("y")
    courses = [
        Course(Unit(unit, 0.1, 1.0, 1.0, 0.0), arm, first, first, schemas.SIMULATIONS.to_frame(), frozenset())
        for unit in range(n_units)
        for arm in ("a", "b")
    ]
    ends, steps = asyncio.run(run_rounds(TenTokens(), courses, budget))  # type: ignore[arg-type]
    assert [(end.unit.unit, end.arm) for end in ends] == [(course.unit.unit, course.arm) for course in courses]
    return [(step.course.unit.unit, step.decision["round"], step.decision["why"]) for step in steps]


def test_units_beyond_the_eight_that_spend_the_budget_are_not_asked() -> None:
    # Eight units in two arms cost 160: the first token of them was within the budget, the ninth unit's is not.
    found = whys(9, 100)
    assert found[:16] == [(unit, 1, "asked") for unit in range(8) for _ in "ab"]
    assert found[16:18] == [(8, 1, "budget")] * 2
    # In round 2 the eight units end as well, and the ninth is over already.
    assert found[18:] == [(unit, 2, "budget") for unit in range(8) for _ in "ab"]


def test_a_budget_that_is_not_reached_changes_nothing() -> None:
    assert sorted(map(str, whys(9, 1000))) == sorted(map(str, whys(9, None)))
    assert {why for _, _, why in whys(9, 360)} == {"asked"}  # 9 units, 2 arms, 2 rounds, 10 tokens
    # 340 are spent when the ninth unit comes to its second round: 16 + 2 questions of round 1, 16 of round 2.
    assert {why for _, _, why in whys(9, 341)} == {"asked"}
    assert whys(9, 340)[-3:] == [(7, 2, "asked"), (8, 2, "budget"), (8, 2, "budget")]
