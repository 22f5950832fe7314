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


TRUE = (0.0, 1.0, 2.0, 3.0)
EXACT, HALF, REVERSED = TRUE, (0.0, 0.0, 1.0, 0.0), (3.0, 2.0, 1.0, 0.0)


def rows(explanation: str, *expected: tuple[float, ...] | None) -> pl.DataFrame:
    """One context per simulation, all with the same truth."""
    key = {"explanation": explanation, "unit": 1, "simulator": "s", "control": "none", "split": "test", "kind": "top"}
    table = [
        {**key, "context": n, "document": n, "true_acts": TRUE, "expected_acts": acts, "error": None}
        for n, acts in enumerate(expected)
    ]
    return pl.DataFrame(table, schema=schemas.SIMULATIONS)


def test_the_gain_by_hand() -> None:
    flat = (1.0, 1.0, 1.0, 1.0)
    by_hand = {"a": REVERSED, "a2": EXACT, "b": HALF, "c": EXACT, "c2": flat, "d": flat, "d2": EXACT, "e": EXACT}
    simulated = {name: rows(name, acts) for name, acts in by_hand.items()}
    # Unit 1 gains 2, unit 2 kept its first: 0. Units 3 and 4 are undefined on one side, unit 9 took no part.
    found = arm_gain("revision", "initial", FINALS, simulated)
    assert found == {"n_compared": 2, "test_gain": pytest.approx(1.0)}


def test_what_one_side_failed_on_is_no_gain_of_the_other() -> None:
    finals = FINALS.filter(unit=1)
    same = {"a": rows("a", EXACT, REVERSED), "a2": rows("a2", EXACT, None)}
    assert arm_gain("revision", "initial", finals, same) == {"n_compared": 1, "test_gain": pytest.approx(0.0)}


def test_nothing_to_compare_gives_no_gain() -> None:
    assert arm_gain("revision", "initial", FINALS, {}) == {"n_compared": 0, "test_gain": None}


def test_gain_at_cost_by_hand() -> None:
    # 0.02 are two points, for 4000 tokens.
    assert gain_at_cost(0.02, 4000) == {"gain_per_1000_prompt_tokens": 0.005, "prompt_tokens_per_point": 2000}
    assert gain_at_cost(-0.02, 4000) == {"gain_per_1000_prompt_tokens": -0.005, "prompt_tokens_per_point": None}
    assert gain_at_cost(0.02, 0) == {"gain_per_1000_prompt_tokens": None, "prompt_tokens_per_point": 0}
    assert set(gain_at_cost(None, 4000).values()) == {None}
