"""Where some units fire, on drawn tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from latentese.evaluation.base import Evaluated
from latentese.evaluation.tokens import Rows, token_batches
from latentese.reading.on_texts import columns_of


@dataclass(frozen=True)
class UnitTokens:
    """Activations of some units on some tokens."""

    acts: np.ndarray
    """[n_tokens, n_units] fp32, in the order of the units asked for."""
    context: np.ndarray
    """[n_tokens]."""
    position: np.ndarray
    """[n_tokens]."""
    document: np.ndarray
    """[n_tokens]."""


def read_units(
    evaluated: Evaluated, rows: Rows, units: np.ndarray, batch_tokens: int, advance: Callable[[int], object]
) -> UnitTokens:
    """Encode `rows` and keep the activations of `units` alone."""
    parts = []
    for tokens in token_batches(evaluated, rows, batch_tokens):
        acts = columns_of(evaluated.dictionary.encode(tokens.acts), units, evaluated.dictionary.n_units)
        parts.append((acts.numpy(), tokens.context, tokens.position, tokens.document.numpy()))
        advance(len(tokens.acts))
    return UnitTokens(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def count_active(evaluated: Evaluated, rows: Rows, batch_tokens: int, advance: Callable[[int], object]) -> np.ndarray:
    """Count for every unit the tokens on which it is above 0, [n_units]."""
    n_units = evaluated.dictionary.n_units
    counts = torch.zeros(n_units, dtype=torch.int64)
    for tokens in token_batches(evaluated, rows, batch_tokens):
        code = evaluated.dictionary.encode(tokens.acts)
        counts += torch.bincount(code.indices[code.values > 0], minlength=n_units)
        advance(len(tokens.acts))
    return counts.numpy()
