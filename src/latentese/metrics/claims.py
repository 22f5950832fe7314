"""Claims about kinds of dictionaries, and what trained ones say of them: held, did not hold, or undecided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from latentese.errors import LatenteseError, SettingError
from latentese.metrics.contrasts import Arm, Contrast, Figure, Scale, Side, Verdict, contrast, verdict
from latentese.metrics.intervals import Bootstrap, Interval

Figures = Sequence[Figure | None]
"""One figure per seed; None where it is not defined."""


@dataclass(frozen=True)
class Claim:
    """That a comparison of figures comes out on one side of a value."""

    says: str
    """The claim, in one sentence."""
    source: str
    """Where it is made."""
    measure: str
    """What is compared."""
    weights: Mapping[str, float]
    """Weight of each arm: {relu: 1, topk: -1} is relu's figure minus topk's, or their ratio."""
    expect: Side
    than: float | None = None
    """Which side of which value is claimed; None is no difference: 0, or as a ratio 1."""
    scale: Scale = "difference"
    matched: bool = False
    """Whether the arms must spend about as many latents per token."""

    def __post_init__(self) -> None:
        for name, allowed in (("expect", get_args(Side)), ("scale", get_args(Scale))):
            if getattr(self, name) not in allowed:
                raise SettingError(f"claims.claims.{name}", getattr(self, name), f"one of {', '.join(allowed)}")
        if not self.weights:
            raise SettingError("claims.claims.weights", {}, "a weight for at least one arm")

    @property
    def border(self) -> float:
        """The value that the comparison is claimed to be above or below."""
        return self.than if self.than is not None else float(self.scale == "ratio")


@dataclass(frozen=True)
class Judged:
    """A claim with what was measured."""

    claim: Claim
    means: Mapping[str, float | None]
    """Figure of each arm, averaged over seeds."""
    found: Contrast | None
    """None where it could not be compared."""
    verdict: Verdict
    why: str
    """What stands in the way of a verdict; empty where nothing does."""


@dataclass(frozen=True)
class Matching:
    """When arms count as spending the same."""

    within: float
    """Largest difference between their means, as a share of the smaller one."""
    means: Mapping[str, float | None]
    """Latents per token of each arm."""

    def complaint(self, arms: Sequence[str]) -> str:
        """Say how far apart arms are that should be alike; nothing if they are."""
        values = {arm: self.means[arm] for arm in arms}
        known = [value for value in values.values() if value is not None]
        if len(known) < len(values) or max(known) - min(known) > self.within * min(known):
            listed = ", ".join(f"{arm} {'-' if value is None else f'{value:.3g}'}" for arm, value in values.items())
            return f"their L0 differ: {listed}"
        return ""


def judge(claim: Claim, figures: Mapping[str, Figures], matching: Matching, bootstrap: Bootstrap) -> Judged:
    """Compare the arms of a claim, `figures` being those of its measure by arm."""
    means = {arm: mean_of(figures[arm]) for arm in claim.weights}
    why = matching.complaint(list(claim.weights)) if claim.matched else ""
    arms = {arm: [figure for figure in figures[arm] if figure is not None] for arm in claim.weights}
    undefined = [arm for arm in claim.weights if len(arms[arm]) < len(figures[arm])]
    if undefined:
        return Judged(claim, means, None, "undecided", f"not defined for {', '.join(undefined)}")
    try:
        found = contrast([Arm(weight, arms[arm]) for arm, weight in claim.weights.items()], claim.scale, bootstrap)
    except LatenteseError as error:
        return Judged(claim, means, None, "undecided", str(error))
    return Judged(claim, means, found, "undecided" if why else verdict(found.interval, claim.expect, claim.border), why)


def mean_of(figures: Figures) -> float | None:
    """Mean over the seeds for which the figure is defined."""
    values = [figure.value for figure in figures if figure is not None]
    return float(np.mean(values)) if values else None


def spread_of(figures: Figures) -> Interval:
    """Mean over seeds with the smallest and the largest."""
    values = [figure.value for figure in figures if figure is not None]
    return Interval(float(np.mean(values)), min(values), max(values)) if values else Interval(None, None, None)
