"""One-dimensional logistic fits of one label on each of many units, all at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

RIDGE = 1e-4
"""Weight of half the squared slope, for pre-activations of unit variance: a unit that separates the classes has a
finite slope, and a loss of about 1e-3."""
MAX_STEPS = 50
N_HALVINGS = 12
CHUNK_VALUES = 1 << 15
"""Pre-activations fitted at once (128 KB of fp32): they stay in the cache, and torch starts no threads for so few. Ten
times as fast as all units of a wide dictionary at once."""


CONSTANT = 1e-6
"""Units whose standard deviation is no larger a share of their mean do not vary: fp32 tells 6e-8 apart."""


class Fit(NamedTuple):
    """P(positive) = sigmoid(slope * pre_act + offset), for each unit."""

    slope: Tensor  # [n_units] float64: units far from 0 need a large offset, exactly
    offset: Tensor  # [n_units] float64
    loss: Tensor  # [n_units] float32: mean cross-entropy in nats on the fitted tokens


def fit_each(pre_acts: Tensor, labels: Tensor) -> Fit:
    """Fit every unit on its own by Newton's method, its steps halved where they would not lower the loss.

    pre_acts [n_tokens, n_units]; labels [n_tokens], 0 or 1, both present. Exact: the penalised loss is convex, and
    steps end when none would gain more than fp32 tells apart.
    """
    labels = labels.to(pre_acts.dtype)
    width = max(1, CHUNK_VALUES // len(pre_acts))
    fits = [_fit(part.contiguous(), labels) for part in torch.split(pre_acts, width, dim=1)]
    return Fit(*(torch.cat(parts) for parts in zip(*fits, strict=True)))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log P(label) in nats; logits [n_tokens, ...], labels [n_tokens] 0 or 1."""
    signs = (1 - 2 * labels).view(-1, *[1] * (logits.dim() - 1))
    return torch.nn.functional.softplus(signs * logits)


def _fit(pre_acts: Tensor, labels: Tensor) -> Fit:
    mean, std = pre_acts.mean(dim=0), pre_acts.std(dim=0, correction=0)
    # What varies by no more than fp32 rounds tells nothing; scaled up, it would be numbers without a fit.
    varies = std > CONSTANT * mean.abs()
    scale = torch.where(varies, std, 1.0)
    x = torch.where(varies, (pre_acts - mean) / scale, 0.0)
    slope = torch.zeros_like(mean)
    offset = torch.logit(labels.mean()).expand_as(mean)
    loss = _penalised(x, labels, slope, offset)
    for _ in range(MAX_STEPS):
        step_slope, step_offset = _newton_step(x, labels, slope, offset)
        pace = torch.ones_like(mean)
        for _ in range(N_HALVINGS):
            tried = _penalised(x, labels, slope - pace * step_slope, offset - pace * step_offset)
            if not (tried > loss).any():
                break
            pace = torch.where(tried > loss, pace / 2, pace)
        pace = torch.where(tried < loss, pace, 0.0)
        slope, offset = slope - pace * step_slope, offset - pace * step_offset
        gain = (loss - tried).amax()
        loss = torch.minimum(loss, tried)
        if gain <= 1e-7:
            break
    steep = slope.double() / scale.double()
    return Fit(steep, offset.double() - steep * mean.double(), loss - RIDGE / 2 * slope.square())


def _penalised(x: Tensor, labels: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    return cross_entropy(torch.addcmul(offset, x, slope), labels).mean(dim=0) + RIDGE / 2 * slope.square()


def _newton_step(x: Tensor, labels: Tensor, slope: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Solve each unit's two equations: second derivatives times step = gradient."""
    p = torch.sigmoid(torch.addcmul(offset, x, slope))
    error, weight = p - labels[:, None], p * (1 - p)
    gradient_slope, gradient_offset = (error * x).mean(dim=0) + RIDGE * slope, error.mean(dim=0)
    weighted = weight * x
    a, b, c = (weighted * x).mean(dim=0) + RIDGE, weighted.mean(dim=0), weight.mean(dim=0) + 1e-9
    determinant = a * c - b * b
    return (c * gradient_slope - b * gradient_offset) / determinant, (
        a * gradient_offset - b * gradient_slope
    ) / determinant
