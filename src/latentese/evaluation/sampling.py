"""Seeded samples that evaluations measure on: the same settings draw the same tokens and contexts."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from latentese.store.shards import Activations


def sample_acts(activations: Activations, split: str, n_tokens: int, seed: int) -> Tensor:
    """Draw at most `n_tokens` activations of a split, [n_tokens, d_model] fp32, in context order."""
    rows = np.asarray(activations.rows_of(split))
    chosen = np.random.default_rng(seed).choice(rows, min(n_tokens, len(rows)), replace=False)
    return activations.gather(np.sort(chosen))
