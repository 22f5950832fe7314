"""What each arm gained on `test` over the first explanations, and how many prompt tokens that took."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from latentese.metrics.scores import paired_correlations

POINT = 0.01
"""A point of score."""


def arm_gain(
    arm: str, initial: str, finals: pl.DataFrame, simulated: Mapping[str, pl.DataFrame]
) -> dict[str, int | float | None]:
    """Take the mean paired gain of an arm: test_gain, and n_compared, over how many units.

    finals: rows of FINALS; simulated: rows of SIMULATIONS on `test`, by explanation. Units that took part count, with a
    gain of 0 where the arm kept the first explanation. A gain is over the contexts that both explanations answered; a
    unit counts only where both correlations are defined there.
    """
    refined = finals.filter("refined")
    first, last = (dict(refined.filter(arm=name).select("unit", "explanation").iter_rows()) for name in (initial, arm))
    pairs = [
        paired_correlations(simulated[begin], simulated[last[unit]])
        for unit, begin in first.items()
        if begin in simulated and last.get(unit) in simulated
    ]
    gains = [after - before for before, after in pairs if before is not None and after is not None]
    return {"n_compared": len(gains), "test_gain": sum(gains) / len(gains) if gains else None}


def gain_at_cost(test_gain: float | None, prompt_tokens: int) -> dict[str, float | None]:
    """Set a mean gain against all prompt tokens: gain_per_1000_prompt_tokens, and prompt_tokens_per_point.

    The first is None where nothing was spent, the second where nothing was gained.
    """
    per_1000 = None if test_gain is None or not prompt_tokens else test_gain / prompt_tokens * 1000
    per_point = None if test_gain is None or test_gain <= 0 else prompt_tokens / (test_gain / POINT)
    return {"gain_per_1000_prompt_tokens": per_1000, "prompt_tokens_per_point": per_point}
