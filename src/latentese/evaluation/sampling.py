"""Seeded samples that evaluations measure on: the same settings draw the same tokens and contexts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latentese.corpus.contexts import Contexts
from latentese.errors import SettingError
from latentese.evaluation.predictions import counted_predictions
from latentese.evaluation.tokens import draw_rows
from latentese.records import SPLITS, Split
from latentese.store.shards import Activations


def sample_acts(activations: Activations, split: str, n_tokens: int, seed: int) -> Tensor:
    """Draw at most `n_tokens` activations of a split, [n_tokens, d_model] fp32, in context order."""
    return activations.gather(draw_rows(activations, split, n_tokens, seed))


def predicting_contexts(contexts: Contexts, split: str) -> np.ndarray:
    """Numbers of a split's contexts in which some prediction counts."""
    numbers = contexts.of_split(known_split(split))
    predicts = counted_predictions(contexts.keep[torch.from_numpy(numbers)]).any(dim=1).numpy()
    return np.asarray(numbers[predicts])


def draw(numbers: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draw at most `n` of some contexts, in order."""
    return np.sort(np.random.default_rng(seed).choice(numbers, min(n, len(numbers)), replace=False))


def known_split(split: str) -> Split:
    """Return the split of this name; raises SettingError for another word."""
    for known in SPLITS:
        if split == known:
            return known
    raise SettingError("split", split, f"one of {', '.join(SPLITS)}")
