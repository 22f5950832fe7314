"""Put a simulator's scale onto a unit's: least squares, or matched percentiles. Fitted on `calibrate` documents only.

A simulation says where a unit fires, on a scale of its own; how far off it is can be told on the unit's scale only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from latentese.metrics.correlation import CONSTANT, Floats


class Calibration(Protocol):
    """Maps simulated activations to activations of the unit."""

    def __call__(self, simulated: Floats) -> Floats:
        """Map simulated activations, one by one."""
        ...


@dataclass(frozen=True)
class Linear:
    """intercept + slope * simulated."""

    slope: float
    intercept: float

    def __call__(self, simulated: Floats) -> Floats:
        """Map simulated activations, one by one."""
        return self.intercept + self.slope * simulated


@dataclass(frozen=True)
class Percentile:
    """The true activation of the same rank: between knots linear, beyond the last ones constant."""

    simulated: Floats
    """[n_knots], rising: every value that was simulated, once."""
    true: Floats
    """[n_knots]"""

    def __call__(self, simulated: Floats) -> Floats:
        """Map simulated activations, one by one."""
        return np.asarray(np.interp(simulated, self.simulated, self.true), dtype=np.float64)


def fit_linear(true: Floats, simulated: Floats) -> Linear | None:
    """Least squares of true [n_tokens] on simulated [n_tokens]; the mean where the simulation is constant.

    None without tokens.  Bills et al. 2023, released code.
    """
    if not true.size:
        return None
    y, s = true.mean(), simulated.mean()
    variance = simulated.var()
    if variance <= CONSTANT * np.mean(simulated**2):
        return Linear(0.0, float(y))
    slope = np.mean((true - y) * (simulated - s)) / variance
    return Linear(float(slope), float(y - slope * s))


def fit_percentile(true: Floats, simulated: Floats) -> Percentile | None:
    """Match the sorted true with the sorted simulated activations, [n_tokens] each; None without tokens.

    A value that was simulated several times has no rank of its own: it takes the mean over the ranks that it fills.
    Bills et al. 2023, released code, where such a value takes one of them.
    """
    if not true.size:
        return None
    knots, counts = np.unique(simulated, return_counts=True)
    starts = np.cumsum(counts) - counts
    return Percentile(knots.astype(np.float64), np.add.reduceat(np.sort(true).astype(np.float64), starts) / counts)
