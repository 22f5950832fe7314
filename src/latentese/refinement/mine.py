"""Counterexamples from `explain` documents: where the simulation of an explanation and the unit disagree most.

The two scales differ: activations are the subject's, expectations the simulator's.

- *False positives* are ranked among contexts where the unit is silent. The truth is the same in all of them, so the
  largest expectation ranks them on the simulator's own scale.
- *False negatives* are ranked by how far the strongest activation stands above its expectation, after the least-squares
  line from expectations to activations over the mined contexts. An explanation that predicts nothing has a flat line,
  and then the strongest contexts come first, as they should.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from latentese.errors import SettingError
from latentese.records import Example, Simulation
from latentese.refinement.base import Counterexample, CounterexampleKind

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MineSettings:
    """How many counterexamples of each kind, and what counts as one."""

    n_false_positives: int = 4
    n_false_negatives: int = 4
    n_candidates: int = 400
    """So many contexts of the pool are simulated: the strongest half firing, the rest a draw of silent ones."""
    expected_high: float = 0.9
    """A context is expected to fire when its largest expectation is in the upper part, from this quantile on."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_false_positives", "n_false_negatives"):
            if getattr(self, name) < 0:
                raise SettingError(name, getattr(self, name), "0 or more")
        if self.n_candidates < 2:
            raise SettingError("n_candidates", self.n_candidates, "at least 2")
        if not 0 <= self.expected_high < 1:
            raise SettingError("expected_high", self.expected_high, "at least 0 and below 1")


class _Peak(NamedTuple):
    """A context and how strongly it speaks against the explanation."""

    strength: float
    counterexample: Counterexample


def draw_candidates(pool: Sequence[Example], shown: Set[int], settings: MineSettings) -> list[Example]:
    """Choose which contexts of a unit's pool are simulated, in context order; none that was shown before."""
    fresh = [example for example in pool if example.context.context not in shown]
    firing = sorted((e for e in fresh if e.max_act > 0), key=lambda e: (-e.max_act, e.context.context))
    silent = [example for example in fresh if example.max_act <= 0]
    chosen = firing[: settings.n_candidates // 2]
    n_silent = min(len(silent), settings.n_candidates - len(chosen))
    rng = np.random.default_rng([settings.seed, pool[0].unit if pool else 0])
    chosen += [silent[i] for i in rng.permutation(len(silent))[:n_silent]]
    return sorted(chosen, key=lambda example: example.context.context)


def mine(
    examples: Sequence[Example], simulations: Sequence[Simulation], settings: MineSettings
) -> tuple[Counterexample, ...]:
    """Find the worst false positives, then the worst false negatives; at most one context of a document.

    `simulations` are of the same contexts, in the same order; those that failed are left out.
    """
    judged = [(e, s.expected) for e, s in zip(examples, simulations, strict=True) if s.expected is not None]
    if not judged:
        return ()
    found: list[Counterexample] = []
    documents: set[int] = set()
    for peaks, n_wanted in (
        (_false_positives(judged, settings.expected_high), settings.n_false_positives),
        (_false_negatives(judged), settings.n_false_negatives),
    ):
        for peak in sorted(peaks, key=lambda p: (-p.strength, p.counterexample.example.context.context)):
            document = peak.counterexample.example.context.document
            if document not in documents and _count(found, peak.counterexample.kind) < n_wanted:
                documents.add(document)
                found.append(peak.counterexample)
    return tuple(found)


def fit_line(expected: Floats, true_acts: Floats) -> tuple[float, float]:
    """Least-squares slope and intercept of truth on simulation; the slope is never negative."""
    centred = expected - expected.mean()
    variance = float(centred @ centred)
    slope = max(0.0, float(centred @ true_acts) / variance) if variance > 0 else 0.0
    return slope, float(true_acts.mean()) - slope * float(expected.mean())


def _false_positives(judged: Sequence[tuple[Example, tuple[float, ...]]], expected_high: float) -> list[_Peak]:
    peaks = [float(_counted(example, expected).max(initial=0.0)) for example, expected in judged]
    high = float(np.quantile(peaks, expected_high))
    return [
        _Peak(peak, Counterexample(example, expected, "false_positive"))
        for (example, expected), peak in zip(judged, peaks, strict=True)
        if example.max_act <= 0 and peak > 0 and peak >= high
    ]


def _false_negatives(judged: Sequence[tuple[Example, tuple[float, ...]]]) -> list[_Peak]:
    slope, intercept = fit_line(
        np.concatenate([_counted(example, expected) for example, expected in judged]),
        np.concatenate([_counted(example, example.acts) for example, _ in judged]),
    )
    peaks = []
    for example, expected in judged:
        act, at_peak = max(zip(example.acts, expected, strict=True), key=lambda pair: pair[0])
        calibrated = slope * at_peak + intercept
        if act > 0 and calibrated < act / 2:
            peaks.append(_Peak(act - calibrated, Counterexample(example, expected, "false_negative")))
    return peaks


def _counted(example: Example, values: Sequence[float]) -> Floats:
    counted: Floats = np.asarray(values, dtype=np.float64)[np.asarray(example.context.keep, dtype=bool)]
    return counted


def _count(found: Sequence[Counterexample], kind: CounterexampleKind) -> int:
    return sum(item.kind == kind for item in found)
