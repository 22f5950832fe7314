"""How well a simulation follows the truth, from sums that add up over documents.

A metric is a function of six sums over tokens, so it is computed for a thousand resamples of the documents as quickly
as for one: the sums of a resample are a weighted sum of the documents' sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Metric = Callable[[Floats], Floats]
"""Sums [..., 6] in, one number each [...] out; NaN where it is not defined."""

N_SUMS = 6
CONSTANT = 1e-12
"""A side is constant when its variance is below this share of its mean square: float32 noise is about 1e-14."""


def token_sums(true_acts: Sequence[float] | Floats, expected_acts: Sequence[float] | Floats) -> Floats:
    """Add up 1, y, s, y^2, s^2 and y*s over tokens, with y the truth and s the simulation: [6]."""
    y = np.asarray(true_acts, dtype=np.float64)
    s = np.asarray(expected_acts, dtype=np.float64)
    if y.shape != s.shape:
        raise ValueError(f"one simulated value per true value: {s.size} for {y.size}")
    return np.array([y.size, y.sum(), s.sum(), y @ y, s @ s, y @ s])


def document_sums(documents: Iterable[int], sums: Iterable[Floats]) -> Floats:
    """Add the sums of each document's contexts, documents in ascending order: [n_documents, n_sums]."""
    total: dict[int, Floats] = {}
    for document, context_sums in zip(documents, sums, strict=True):
        total[document] = total[document] + context_sums if document in total else context_sums
    return np.array([total[document] for document in sorted(total)]) if total else np.empty((0, N_SUMS))


def pearson(sums: Floats) -> Floats:
    """Pearson correlation over all tokens concatenated; NaN where a side is constant.

    r = (n Sys - Sy Ss) / sqrt((n Syy - Sy^2) (n Sss - Ss^2))
    """
    n, y, s, yy, ss, ys = np.moveaxis(sums, -1, 0)
    var_y = n * yy - y**2
    var_s = n * ss - s**2
    defined = (var_y > CONSTANT * n * yy) & (var_s > CONSTANT * n * ss)
    scale = np.sqrt(np.where(defined, var_y * var_s, 1.0))
    return np.where(defined, np.clip((n * ys - y * s) / scale, -1.0, 1.0), np.nan)


def context_sums(pairs: Iterable[tuple[Sequence[float], Sequence[float]]]) -> Floats:
    """Token sums of each context, of its true and simulated activations: [n_contexts, 6]."""
    return np.array([token_sums(true, expected) for true, expected in pairs]).reshape(-1, N_SUMS)


def pearson_over(sums: Floats) -> float:
    """Pearson correlation over all tokens of contexts [n_contexts, 6]; NaN without any and where a side is constant."""
    return float(pearson(sums.sum(axis=0))) if len(sums) else float("nan")
