"""One dense product, and from there on only the k active entries of each token.

The encoder's product has n_tokens * n_latents results, of which k per token survive (`selection`). Everything after it,
forward and backward, touches those alone: sums of k decoder rows per token, k dot products per token, and, grouped by
latent, sums of token rows per latent. Each has two forms: compiled loops over rows on a CPU (`row_kernels`), and
`embedding_bag` on other devices. Sums run in a fixed order: the same bytes every time.

Weights are handled by latent, one contiguous row each: `W_enc` [d_model, n_latents] is stored column by column.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from latentese.dictionaries.memory import empty_again
from latentese.dictionaries.selection import keep_topk, select_topk, select_with_pre_acts
from latentese.dictionaries.shares import in_shares

__all__ = [
    "decode_error",
    "decode_topk",
    "dot_rows",
    "encode_centred",
    "encode_topk",
    "keep_topk",
    "mean_square",
    "select_topk",
    "select_with_pre_acts",
    "sum_by_latent",
    "sum_rows",
    "take_out_along_",
]


def encode_topk(acts: Tensor, W_enc: Tensor, b_enc: Tensor, b_dec: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """values, indices = topk(relu((acts - b_dec) @ W_enc + b_enc)), with gradients to the three weights.

    acts is data: it gets no gradient.
    """
    return encode_centred((acts - b_dec).detach(), W_enc, b_enc, b_dec, k)


def encode_centred(centred: Tensor, W_enc: Tensor, b_enc: Tensor, b_dec: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`encode_topk` of centred = acts - b_dec, where that is needed elsewhere too; b_dec only gets its gradient."""
    values, indices = _EncodeTopK.apply(centred, W_enc, b_enc, b_dec, k)  # type: ignore[no-untyped-call]
    return values, indices


def decode_topk(values: Tensor, indices: Tensor, W_dec: Tensor) -> Tensor:
    """Sum values[:, j] * W_dec[indices[:, j]] over j, [n_tokens, d_model], with gradients to values and W_dec."""
    recon: Tensor = _DecodeTopK.apply(values, indices, W_dec, None, None)  # type: ignore[no-untyped-call]
    return recon


def decode_error(latents: tuple[Tensor, Tensor], W_dec: Tensor, b_dec: Tensor, centred: Tensor) -> Tensor:
    """Reconstruction of latents (values, indices) minus the acts of which centred = acts - b_dec.

    Gradients to values, W_dec and b_dec.
    """
    error: Tensor = _DecodeTopK.apply(*latents, W_dec, b_dec, centred)  # type: ignore[no-untyped-call]
    return error


def mean_square(error: Tensor) -> Tensor:
    """Mean over tokens of the squared norm of error [n_tokens, d_model]."""
    mean: Tensor = _MeanSquare.apply(error)  # type: ignore[no-untyped-call]
    return mean


class _EncodeTopK(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, centred: Tensor, W_enc: Tensor, b_enc: Tensor, b_dec: Tensor, k: int
    ) -> tuple[Tensor, Tensor]:
        """See `encode_centred`."""
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
    def forward(
        ctx: Any, values: Tensor, indices: Tensor, W_dec: Tensor, b_dec: Tensor | None, centred: Tensor | None
    ) -> Tensor:
        """See `decode_topk` and `decode_error`; b_dec is in `centred` already."""
        ctx.save_for_backward(values, indices, W_dec)
        ctx.with_b_dec = b_dec is not None
        return sum_rows(values, indices, W_dec, None if centred is None else -centred)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Give each value its decoder row's dot product with the token's gradient, each row a sum of tokens."""
        values, indices, W_dec = ctx.saved_tensors
        grad = grad.contiguous()
        grad_b_dec = grad.sum(dim=0) if ctx.with_b_dec else None
        grad_W_dec = sum_by_latent(indices, values, grad, len(W_dec))
        return dot_rows(grad, W_dec, indices), None, grad_W_dec, grad_b_dec, None


class _MeanSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, error: Tensor) -> Tensor:
        """See `mean_square`: one pass, no tensor of squares."""
        ctx.save_for_backward(error)
        mean: Tensor = torch.linalg.vector_norm(error, dim=1).square().mean()
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Scale the error."""
        (error,) = ctx.saved_tensors
        scaled: Tensor = error * (2 / len(error) * grad)
        return scaled


def sum_rows(values: Tensor, indices: Tensor, rows: Tensor, start: Tensor | None = None) -> Tensor:
    """Weighted sum of each token's chosen rows, [n_tokens, d_model], added to `start` (in place) where one is given."""
    if not _loops_are_compiled_for(rows):
        sums = F.embedding_bag(indices, rows, per_sample_weights=values, mode="sum")
        return sums if start is None else start.add_(sums)
    from latentese.dictionaries.row_kernels import Chosen, add_rows

    out = torch.zeros(len(indices), rows.shape[1]) if start is None else start
    chosen = Chosen(_array(values), _array(indices))
    in_shares(partial(add_rows, chosen, _array(rows), _array(out)), len(out))
    return out


def dot_rows(tokens: Tensor, rows: Tensor, indices: Tensor) -> Tensor:
    """Dot product of each token with each of its chosen rows, [n_tokens, k]."""
    if not _loops_are_compiled_for(rows):
        return _dot_rows_by_autograd(tokens, rows, indices)
    from latentese.dictionaries.row_kernels import Chosen, dot_chosen

    dots = torch.empty(indices.shape)
    chosen = Chosen(_array(dots), _array(indices))
    in_shares(partial(dot_chosen, _array(tokens), _array(rows), chosen), len(dots))
    return dots


def sum_by_latent(indices: Tensor, weights: Tensor, tokens: Tensor, n_latents: int) -> Tensor:
    """For each latent, the weighted sum of the tokens that chose it, [n_latents, d_model]; 0 where none did."""
    if not _loops_are_compiled_for(tokens):
        return _sum_by_latent_in_bags(indices, weights, tokens, n_latents)
    from latentese.dictionaries.row_kernels import Chosen, Groups, group_by_latent, sum_groups

    starts = torch.zeros(n_latents + 1, dtype=torch.int64)
    members, shares = torch.empty(indices.numel(), dtype=torch.int32), torch.empty(indices.numel())
    groups = Groups(starts.numpy(), members.numpy(), shares.numpy())
    group_by_latent(Chosen(_array(weights), _array(indices)), groups)
    sums = empty_again(n_latents, tokens.shape[1])
    in_shares(partial(sum_groups, groups, _array(tokens), sums.numpy()), n_latents)
    return sums


def take_out_along_(grads: Tensor, rows: Tensor) -> None:
    """Take out of each gradient row its part along its row of unit norm: it would only change the row's norm."""
    if not _loops_are_compiled_for(rows):
        grads -= (grads * rows).sum(dim=1, keepdim=True) * rows
        return
    from latentese.dictionaries.row_kernels import take_out_along

    in_shares(partial(take_out_along, grads.numpy(), _array(rows)), len(rows))


def _loops_are_compiled_for(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()


def _dot_rows_by_autograd(tokens: Tensor, rows: Tensor, indices: Tensor) -> Tensor:
    with torch.enable_grad():
        # The gradient of the weighted sum to its weights is exactly this; torch has no public kernel of its own for it.
        weights = tokens.new_zeros(indices.shape, requires_grad=True)
        sums = F.embedding_bag(indices, rows.detach(), per_sample_weights=weights, mode="sum")
        (dots,) = torch.autograd.grad(sums, weights, tokens)
    return dots


def _sum_by_latent_in_bags(indices: Tensor, weights: Tensor, tokens: Tensor, n_latents: int) -> Tensor:
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
