"""One dense product, and from there on only the k active entries of each token.

The encoder's product has n_tokens * n_latents results, of which k per token survive. Everything after it, forward and
backward, touches those alone: sums of k decoder rows per token, k dot products per token, and, grouped by latent, sums
of token rows per latent. All three are `embedding_bag`, whose sums run in a fixed order: the same bytes every time.

Weights are handled by latent, one contiguous row each: `W_enc` [d_model, n_latents] is stored column by column.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_VALUES = 1 << 22
"""Pre-activations held at once (16 MB of fp32): a whole batch of wide latents would be gigabytes."""


def select_topk(centred: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Compute relu(centred @ W_enc + b_enc) and keep the k largest per token: values and indices [n_tokens, k]."""
    chunk = max(1, CHUNK_VALUES // W_enc.shape[1])
    parts = [keep_topk(torch.addmm(b_enc, rows, W_enc), k) for rows in torch.split(centred, chunk)]
    return torch.cat([values for values, _ in parts]), torch.cat([indices for _, indices in parts])


def keep_topk(pre_acts: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Keep the k largest of each row, negative ones as 0."""
    values, indices = pre_acts.topk(k, dim=1, sorted=False)
    return values.relu(), indices


def encode_topk(acts: Tensor, W_enc: Tensor, b_enc: Tensor, b_dec: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """values, indices = topk(relu((acts - b_dec) @ W_enc + b_enc)), with gradients to the three weights.

    acts is data: it gets no gradient.
    """
    values, indices = _EncodeTopK.apply(acts, W_enc, b_enc, b_dec, k)  # type: ignore[no-untyped-call]
    return values, indices


def decode_topk(values: Tensor, indices: Tensor, W_dec: Tensor) -> Tensor:
    """Sum values[:, j] * W_dec[indices[:, j]] over j, [n_tokens, d_model], with gradients to values and W_dec."""
    recon: Tensor = _DecodeTopK.apply(values, indices, W_dec)  # type: ignore[no-untyped-call]
    return recon


class _EncodeTopK(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, acts: Tensor, W_enc: Tensor, b_enc: Tensor, b_dec: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """See `encode_topk`."""
        centred = acts - b_dec
        values, indices = select_topk(centred, W_enc, b_enc, k)
        ctx.save_for_backward(centred, W_enc, values, indices)
        ctx.mark_non_differentiable(indices)
        return values, indices

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_values: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Pass gradient where the value is above 0, as the relu does; the rest is linear in the chosen entries."""
        centred, W_enc, values, indices = ctx.saved_tensors
        n_latents = W_enc.shape[1]
        grad_pre = grad_values * (values > 0)
        grad_W_enc = sum_by_latent(indices, grad_pre, centred, n_latents).t()
        grad_b_enc = torch.bincount(indices.flatten(), grad_pre.flatten(), n_latents).to(W_enc.dtype)
        return None, grad_W_enc, grad_b_enc, -(W_enc @ grad_b_enc), None


class _DecodeTopK(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, indices: Tensor, W_dec: Tensor) -> Tensor:
        """See `decode_topk`."""
        ctx.save_for_backward(values, indices, W_dec)
        return sum_rows(values, indices, W_dec)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Give each value its decoder row's dot product with the token's gradient, each row a sum of tokens."""
        values, indices, W_dec = ctx.saved_tensors
        grad = grad.contiguous()
        return dot_rows(grad, W_dec, indices), None, sum_by_latent(indices, values, grad, len(W_dec))


def sum_rows(values: Tensor, indices: Tensor, rows: Tensor) -> Tensor:
    """Weighted sum of each token's chosen rows, [n_tokens, d_model]."""
    return F.embedding_bag(indices, rows, per_sample_weights=values, mode="sum")


def dot_rows(tokens: Tensor, rows: Tensor, indices: Tensor) -> Tensor:
    """Dot product of each token with each of its chosen rows, [n_tokens, k]."""
    with torch.enable_grad():
        # The gradient of the weighted sum to its weights is exactly this; torch has no public kernel of its own for it.
        weights = torch.zeros(indices.shape, dtype=tokens.dtype, requires_grad=True)
        (dots,) = torch.autograd.grad(sum_rows(weights, indices, rows.detach()), weights, tokens)
    return dots


def sum_by_latent(indices: Tensor, weights: Tensor, tokens: Tensor, n_latents: int) -> Tensor:
    """For each latent, the weighted sum of the tokens that chose it, [n_latents, d_model]; 0 where none did."""
    flat = indices.flatten()
    order = torch.argsort(flat, stable=True)
    ends = torch.bincount(flat, minlength=n_latents).cumsum(0)
    return F.embedding_bag(
        order // indices.shape[1],
        tokens,
        offsets=torch.cat([ends.new_zeros(1), ends]),
        per_sample_weights=weights.flatten()[order],
        mode="sum",
        include_last_offset=True,
    )
