"""What an arm gained and what it cost, by hand."""

from __future__ import annotations

import polars as pl
import pytest

from latentese import schemas
from latentese.refinement.gains import arm_gain, gain_at_cost

FINALS = pl.DataFrame(
    [
        (unit, arm, explanation, unit != 9)
        for arm, ends in {"initial": ["a", "b", "c", "d", "e"], "revision": ["a2", "b", "c2", "d2", "e2"]}.items()
        for unit, explanation in zip((1, 2, 3, 4, 9), ends, strict=True)
    ],
    schema=schemas.FINALS,
    orient="row",
)


def test_the_gain_by_hand() -> None:
    scores = {"a": 0.1, "a2": 0.4, "b": 0.5, "c": 0.3, "c2": None, "d": None, "d2": 0.9, "e": 0.0, "e2": 0.9}
    values = pl.DataFrame({"explanation": list(scores), "value": list(scores.values())})
    # Unit 1 gains 0.3, unit 2 kept its first: 0. Units 3 and 4 lack one side, unit 9 took no part.
    found = arm_gain("revision", "initial", FINALS, values)
    assert found == {"n_compared": 2, "test_gain": pytest.approx(0.15)}


def test_nothing_to_compare_gives_no_gain() -> None:
    values = pl.DataFrame({"explanation": [], "value": []}, schema={"explanation": pl.String, "value": pl.Float64})
    assert arm_gain("revision", "initial", FINALS, values) == {"n_compared": 0, "test_gain": None}


def test_gain_at_cost_by_hand() -> None:
    # 0.02 are two points, for 4000 tokens.
    assert gain_at_cost(0.02, 4000) == {"gain_per_1000_prompt_tokens": 0.005, "prompt_tokens_per_point": 2000}
    assert gain_at_cost(-0.02, 4000) == {"gain_per_1000_prompt_tokens": -0.005, "prompt_tokens_per_point": None}
    assert gain_at_cost(0.02, 0) == {"gain_per_1000_prompt_tokens": None, "prompt_tokens_per_point": 0}
    assert set(gain_at_cost(None, 4000).values()) == {None}
