"""What is measured of a simulation, each with its sums over tokens, and with the answers that bound it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from latentese.metrics import firing
from latentese.metrics.completion import Range, farthest, least_correlated, most_correlated, nearest
from latentese.metrics.correlation import Floats, Metric, pearson, token_sums
from latentese.metrics.deviation import absolute_deviation, deviation_sums, r2

Complete = Callable[[Floats, Floats, Floats, Range], Floats]
"""Truth and answers [n_judged], truth without an answer [n_missing], range of answers -> answers [n_missing]."""


@dataclass(frozen=True)
class Measure:
    """One metric of a unit's true and simulated activations."""

    name: str
    sums: Callable[[Floats, Floats], Floats]
    """True and simulated [n_tokens] -> sums that add up over documents."""
    metric: Metric
    worst: Complete
    """The missing answers that make it lowest."""
    best: Complete


def _alone(answer: Callable[[Floats, Range], Floats]) -> Complete:
    """Answer by the token's own truth, whatever the other tokens are."""
    return lambda _true, _simulated, missing, answers: answer(missing, answers)


def _opposite(threshold: float, missing: Floats, _answers: Range) -> Floats:
    return np.where(missing > 0, -np.inf, threshold)


def _same(threshold: float, missing: Floats, _answers: Range) -> Floats:
    return np.where(missing > 0, threshold, -np.inf)


CORRELATION = Measure("correlation", token_sums, pearson, least_correlated, most_correlated)
R2 = Measure("r2", token_sums, r2, _alone(farthest), _alone(nearest))
ABSOLUTE_DEVIATION = Measure(
    "absolute_deviation", deviation_sums, absolute_deviation, _alone(farthest), _alone(nearest)
)


def firing_measures(threshold: float) -> tuple[Measure, ...]:
    """Precision, recall and F1 of firing at or above a threshold; a missing answer may be right or wrong anywhere."""

    def sums(true: Floats, simulated: Floats) -> Floats:
        return firing.firing_sums(true > 0, simulated >= threshold)

    worst, best = _alone(partial(_opposite, threshold)), _alone(partial(_same, threshold))
    metrics: dict[str, Metric] = {"precision": firing.precision, "recall": firing.recall, "f1": firing.f1}
    return tuple(Measure(name, sums, metric, worst, best) for name, metric in metrics.items())
