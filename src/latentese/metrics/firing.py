"""Where an explanation says that a unit fires, against where it does: precision, recall and F1 over tokens."""

from __future__ import annotations

import numpy as np

from latentese.metrics.correlation import Floats


def firing_sums(fires: np.ndarray, predicted: np.ndarray) -> Floats:
    """Count tokens where both hold, where it is predicted, where it fires, and all: [4], of booleans [n_tokens]."""
    return np.array([np.sum(fires & predicted), predicted.sum(), fires.sum(), fires.size], dtype=np.float64)


def precision(sums: Floats) -> Floats:
    """Share of the predicted firings [...] that are there, from [..., 4]; NaN where none is predicted."""
    return _ratio(sums[..., 0], sums[..., 1])


def recall(sums: Floats) -> Floats:
    """Share of the firings [...] that are predicted, from [..., 4]; NaN where the unit is silent."""
    return _ratio(sums[..., 0], sums[..., 2])


def f1(sums: Floats) -> Floats:
    """Harmonic mean [...] of precision and recall, from [..., 4]; NaN where nothing fires nor is predicted."""
    return _ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


def base_rate(sums: Floats) -> Floats:
    """Share of tokens [...] where the unit fires, from [..., 4]: the precision of predicting it everywhere."""
    return _ratio(sums[..., 2], sums[..., 3])


def best_threshold(fires: np.ndarray, simulated: Floats) -> float | None:
    """Choose the threshold (it fires at or above) with the largest F1, the highest of equally good ones.

    fires [n_tokens] booleans; None where the unit is silent.
    """
    if not fires.any():
        return None
    order = np.argsort(-simulated, kind="stable")
    last_of_value = np.append(np.diff(simulated[order]) != 0, True)
    both = np.cumsum(fires[order])[last_of_value]
    predicted = np.flatnonzero(last_of_value) + 1
    return float(simulated[order][last_of_value][np.argmax(2 * both / (predicted + fires.sum()))])


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan)
