"""What each arm gained on `test` over the first explanations, and how many prompt tokens that took."""

from __future__ import annotations

import polars as pl

POINT = 0.01
"""A point of score."""


def arm_gain(arm: str, initial: str, finals: pl.DataFrame, values: pl.DataFrame) -> dict[str, int | float | None]:
    """Take the mean paired gain of an arm: test_gain, and n_compared, over how many units.

    finals: rows of FINALS; values: explanation and its `test` score in `value`. Units that took part count, with a gain
    of 0 where the arm kept the first explanation; a unit counts only where both scores are defined.
    """
    refined = finals.filter("refined")
    first, last = (
        refined.filter(arm=name)
        .join(values.drop_nulls(), on="explanation", how="inner", maintain_order="left")
        .select("unit", pl.col("value").alias(name))
        for name in (initial, arm)
    )
    both = first.join(last, on="unit", how="inner", maintain_order="left")
    gains = both[arm] - both[initial]
    return {"n_compared": len(gains), "test_gain": float(gains.sum()) / len(gains) if len(gains) else None}


def gain_at_cost(test_gain: float | None, prompt_tokens: int) -> dict[str, float | None]:
    """Set a mean gain against all prompt tokens: gain_per_1000_prompt_tokens, and prompt_tokens_per_point.

    The first is None where nothing was spent, the second where nothing was gained.
    """
    per_1000 = None if test_gain is None or not prompt_tokens else test_gain / prompt_tokens * 1000
    per_point = None if test_gain is None or test_gain <= 0 else prompt_tokens / (test_gain / POINT)
    return {"gain_per_1000_prompt_tokens": per_1000, "prompt_tokens_per_point": per_point}


def values_on_test(scores: pl.DataFrame, simulator: str, contexts: str) -> pl.DataFrame:
    """Select one simulator's correlations on `test`: explanation and value. `scores`: rows of SCORES."""
    judged = scores.filter(simulator=simulator, control="none", split="test", contexts=contexts, metric="correlation")
    return judged.select("explanation", "value")
