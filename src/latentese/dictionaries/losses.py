"""Errors of a reconstruction, on tensors."""

from __future__ import annotations

import torch
from torch import Tensor


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
    """Squared error relative to the variance of `acts` within the batch; 0 where that variance is 0 (no NaN)."""
    ratio = squared_error(acts, recon) / squared_error(acts, acts.mean(dim=0))
    finite: Tensor = torch.nan_to_num(ratio, nan=0.0, posinf=0.0)
    return finite


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
