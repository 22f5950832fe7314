"""Errors of a reconstruction, on tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

Gather = Callable[[Tensor], Tensor]
"""From rows [n, ...] of this process to those of all that hold tokens of one batch."""

_gather: ContextVar[Gather] = ContextVar("gather", default=lambda rows: rows)


@contextmanager
def divided_batch(gather: Gather) -> Iterator[None]:
    """Let losses within know that each process holds an equal share of the batch's tokens."""
    token = _gather.set(gather)
    try:
        yield
    finally:
        _gather.reset(token)


def batch_mean(mean: Tensor) -> Tensor:
    """Turn a mean over this process's tokens into that over the whole batch; a constant, without gradient.

    The same bits where one process holds the whole batch.
    """
    whole: Tensor = _gather.get()(mean.detach().unsqueeze(0)).mean(dim=0)
    return whole


def squared_error(acts: Tensor, recon: Tensor) -> Tensor:
    """Mean over tokens of the squared distance; acts, recon [n_tokens, d_model]."""
    return (recon - acts).square().sum(dim=1).mean()


def fvu(acts: Tensor, recon: Tensor, mean: Tensor) -> Tensor:
    """Fraction of variance unexplained: 0 is perfect, 1 is predicting the mean.

    acts, recon [n_tokens, d_model], in the space after the input norm, where the paper measures it too; mean [d_model]
    is one constant, over a fixed sample, so batches are comparable. Gao et al. 2024, section 2.1 ("normalized MSE").
    """
    unexplained: Tensor = squared_error(acts, recon) / squared_error(acts, mean)
    return unexplained


def normalised_error(acts: Tensor, recon: Tensor) -> Tensor:
    """Squared error relative to the variance of `acts` within the batch; 0, with no gradient, where that variance is 0.

    acts are constants: there is no gradient to the variance.
    """
    variance = batch_mean(squared_error(acts, batch_mean(acts.mean(dim=0))))
    varies = variance > 0
    # Divided by 1 there and not by 0: replacing the result alone would leave a gradient of 0 / 0, which is NaN.
    relative = squared_error(acts, recon) / torch.where(varies, variance, 1.0)
    return torch.where(varies, relative, 0.0)


@torch.no_grad()
def geometric_median(points: Tensor, n_steps: int = 50, tolerance: float = 1e-6) -> Tensor:
    """Point [d_model] with the least summed distance to points [n_tokens, d_model], by Weiszfeld's iteration.

    Unlike the mean, it hardly moves for a few outliers.
    """
    median = points.mean(dim=0)
    for _ in range(n_steps):
        weights = 1.0 / torch.linalg.vector_norm(points - median, dim=1).clamp_min(1e-8)
        moved: Tensor = (weights @ points) / weights.sum()
        if torch.linalg.vector_norm(moved - median) <= tolerance * torch.linalg.vector_norm(median):
            return moved
        median = moved
    return median
