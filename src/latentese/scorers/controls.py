"""The wrong-explanation control: without it, a simulator that ignores the explanation looks decent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latentese.records import Explanation


def draw_wrong_explanations(explanations: Sequence[Explanation], seed: int) -> dict[str, Explanation]:
    """Give each explanation another unit's: a seeded random cycle, so that none keeps its own.

    explanations: of one explainer, one per unit. Empty when there are fewer than two.
    """
    if len({explanation.unit for explanation in explanations}) != len(explanations):
        raise ValueError("one explanation per unit")
    if len(explanations) < 2:
        return {}
    ordered = sorted(explanations, key=lambda explanation: explanation.unit)
    cycle = [ordered[i] for i in np.random.default_rng(seed).permutation(len(ordered))]
    return {own.explanation: wrong for own, wrong in zip(cycle, [*cycle[1:], cycle[0]], strict=True)}
