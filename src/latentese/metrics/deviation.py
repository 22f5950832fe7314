"""How far a simulation is from the truth, on the unit's own scale: 1 is exact, 0 is as far as always saying 0."""

from __future__ import annotations

import numpy as np

from latentese.metrics.correlation import Floats


def r2(sums: Floats) -> Floats:
    """1 - mean((y - s)^2) / mean(y^2), uncentred, from the six token sums [..., 6]; NaN where the truth is all 0."""
    _, _, _, yy, ss, ys = np.moveaxis(sums, -1, 0)
    return _one_minus(yy - 2 * ys + ss, yy)


def deviation_sums(true_acts: Floats, expected_acts: Floats) -> Floats:
    """Add up |y - s| and |y| over tokens, with y the truth and s the simulation: [2]."""
    return np.array([np.abs(true_acts - expected_acts).sum(), np.abs(true_acts).sum()])


def absolute_deviation(sums: Floats) -> Floats:
    """1 - mean|y - s| / mean|y|, from deviation sums [..., 2]; NaN where the truth is all 0."""
    return _one_minus(sums[..., 0], sums[..., 1])


def _one_minus(part: Floats, whole: Floats) -> Floats:
    return np.where(whole > 0, 1 - part / np.where(whole > 0, whole, 1.0), np.nan)
