"""From dense codes to sparse ones whose rows hold different numbers of active latents."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_VALUES = 1 << 22
"""Latent activations held densely at once (16 MB of fp32), whatever the number of tokens."""


def pack_active(rows: Tensor, code: Callable[[Tensor], Tensor], n_latents: int) -> tuple[Tensor, Tensor]:
    """Apply `code` to rows [n_tokens, ...] in chunks and keep what is not zero: values and indices [n_tokens, k].

    `code` maps rows to dense latent activations [n_rows, n_latents]. k is the largest number of active latents of any
    token, at least 1. Active latents come first, in ascending order; what is left of a row is padding of value 0.
    """
    packed = [_pack(code(chunk)) for chunk in torch.split(rows, max(1, CHUNK_VALUES // n_latents))]
    k = max(values.shape[1] for values, _ in packed)
    widened = [[F.pad(part, (0, k - part.shape[1])) for part in parts] for parts in zip(*packed, strict=True)]
    values, indices = (torch.cat(parts) for parts in widened)
    return values, indices


def _pack(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Pack one chunk [n_rows, n_latents]."""
    row, latent = latents.nonzero(as_tuple=True)
    n_active = torch.bincount(row, minlength=len(latents))
    first = n_active.cumsum(0) - n_active
    column = torch.arange(len(row)) - first[row]
    shape = (len(latents), max(1, int(n_active.max())) if len(latents) else 1)
    values, indices = latents.new_zeros(shape), torch.zeros(shape, dtype=torch.int64)
    values[row, column] = latents[row, latent]
    indices[row, column] = latent
    return values, indices
