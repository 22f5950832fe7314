"""The input norm: what is taken off each token's activation before a dictionary reads it, and put back by `decode`.

With a norm, every token weighs the same in the error, whatever the size of its activation; the few tokens with huge
activations that language models have would otherwise dominate it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from latentese.errors import SettingError

Norm = Literal["none", "unit_norm", "layernorm_std", "rms"]

EPS = 1e-8
"""Smallest norm: a constant activation becomes zeros, not NaN."""
STD_EPS = 1e-5
"""What layernorm_std adds to the standard deviation before it divides."""


class Normed(NamedTuple):
    """Activations as a dictionary sees them, and what undoes the norm."""

    acts: Tensor  # [n_tokens, d_model]
    mean: Tensor  # [n_tokens, 1]
    norm: Tensor  # [n_tokens, 1]


def check_norm(norm: str) -> None:
    """Refuse an unknown norm."""
    if norm not in get_args(Norm):
        raise SettingError("dictionary.norm", norm, f"one of {list(get_args(Norm))}")


def apply_norm(acts: Tensor, norm: Norm) -> Normed:
    """Normalise each token of acts [n_tokens, d_model]; fp32 out.

    none: as it is. unit_norm: minus the mean over d_model, divided by the Euclidean norm of the rest (Gao et al. 2024).
    layernorm_std: divided by the unbiased standard deviation plus STD_EPS instead, and undone without STD_EPS, as that
    paper's released checkpoints expect. rms: nothing subtracted, divided by the root mean square.
    """
    acts = acts.float()
    if norm == "none":
        return Normed(acts, acts.new_zeros(len(acts), 1), acts.new_ones(len(acts), 1))
    mean = acts.new_zeros(len(acts), 1) if norm == "rms" else acts.mean(dim=1, keepdim=True)
    centred = acts - mean
    size = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    if norm == "layernorm_std":
        std = size / (acts.shape[1] - 1) ** 0.5
        return Normed(centred / (std + STD_EPS), mean, std.clamp_min(EPS))
    if norm == "rms":
        size = size / acts.shape[1] ** 0.5
    size = size.clamp_min(EPS)
    return Normed(centred / size, mean, size)


def undo_norm(acts: Tensor, mean: Tensor, norm: Tensor) -> Tensor:
    """Bring activations from the dictionary's space back to the subject's."""
    return acts * norm + mean
