"""Activations as single digits, and what a model says of how likely each is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latentese.errors import AnswerError

DIGITS = tuple("0123456789")
"""Many tokenizers have no single token for '10'."""


def digit_table(logprobs: Sequence[Sequence[float]], n_places: int) -> np.ndarray:
    """Log-probabilities [n_places, 10] of the digits; raises AnswerError for another shape."""
    widths = sorted({len(row) for row in logprobs})
    if len(logprobs) != n_places or widths != [len(DIGITS)]:
        raise AnswerError(f"log-probabilities of {len(logprobs)} x {widths}, expected {n_places} x {len(DIGITS)}")
    return np.asarray(logprobs, dtype=np.float64)
