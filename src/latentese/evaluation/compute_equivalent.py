"""Training compute at which a model is as good as the subject with a reconstruction in its stream (Gao et al. 2024).

A series of checkpoints of one family gives loss over compute. Between two of them log compute is linear in log loss;
outside the series there is no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from typing import Protocol

from latentese.errors import SettingError
from latentese.weights.source import ModelSource

Measure = Callable[[ModelSource], float]
"""Cross-entropy, nats per token, of a model on the contexts that are measured."""


class Checkpoint(Protocol):
    """A model of the series: what it cost, and how good it is."""

    @property
    def compute(self) -> float:
        """Training compute, in any unit that all checkpoints share."""

    def cross_entropy_by(self, measure: Measure) -> float:
        """Nats per token; `measure` runs a model."""


@dataclass(frozen=True)
class KnownCheckpoint:
    """A checkpoint whose loss is known: it must be that of like text under the same tokenizer."""

    compute: float
    cross_entropy: float

    def __post_init__(self) -> None:
        _check_positive("compute", self.compute)
        _check_positive("cross_entropy", self.cross_entropy)

    def cross_entropy_by(self, measure: Measure) -> float:
        """Return what is known."""
        return self.cross_entropy


@dataclass(frozen=True)
class MeasuredCheckpoint:
    """A checkpoint that is loaded and measured on the same contexts; its tokenizer must be the subject's."""

    compute: float
    source: ModelSource

    def __post_init__(self) -> None:
        _check_positive("compute", self.compute)

    def cross_entropy_by(self, measure: Measure) -> float:
        """Run the model."""
        return measure(self.source)


def compute_of(loss: float, series: Sequence[tuple[float, float]]) -> float | None:
    """Least compute at which a series of (compute, loss) reaches a loss; None outside the series."""
    for (start, worse), (end, better) in pairwise(sorted(series)):
        if better <= loss <= worse:
            share = (log(worse) - log(loss)) / (log(worse) - log(better)) if worse > better else 0.0
            return exp(log(start) + share * (log(end) - log(start)))
    return None


def check_series(series: Sequence[Checkpoint], setting: str) -> None:
    """Refuse a series between whose members nothing lies."""
    computes = [checkpoint.compute for checkpoint in series]
    if len(computes) == 1 or len(set(computes)) < len(computes):
        raise SettingError(setting, computes, "two or more checkpoints of different compute, or none")


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise SettingError(f"series.{name}", value, "above 0")
