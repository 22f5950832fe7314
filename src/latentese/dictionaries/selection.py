"""Exact top-k of the encoder's product without an exact product: bound everything, compute what may belong to it.

On a CPU, a fast product gives an upper bound on every pre-activation; only the latents whose bound reaches the k-th
largest value, a few more than k, are computed in fp32 (`row_selection.select_rows`). What comes out is the top k of the
fp32 values, with certainty: the bound decides how much is computed, never what is chosen. So the result is the same,
bit for bit, whatever the product's precision, the size of the batch and the number of threads.

The product is bf16 where `has_fast_bf16`, else fp32. On other devices (CUDA), torch's product and topk are the fastest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from latentese.dictionaries.shares import in_shares

if TYPE_CHECKING:
    from latentese.dictionaries.row_selection import Scores

CHUNK_BYTES = 1 << 24
"""Scores held at once: they should not leave the cache between product and selection, nor ever be gigabytes."""
CHUNK_VALUES = 1 << 27
"""The same where torch does both: half a gigabyte of fp32, enough to keep a large device busy."""
HUGE = 2.0**100
"""Pre-activations that may be larger can overflow on the way: a bound on them would mean nothing."""
TINY = 2.0**-110
"""More than all products of a pre-activation lose together by being smaller than the smallest normal number."""
UP = 1 + 2.0**-7
"""A number multiplied by this is, after rounding to bf16, at least what it was."""


class Rounded(NamedTuple):
    """Rows in bf16, and how far they are from the fp32 ones."""

    rows: Tensor
    """[n_rows, d_model + 4] bf16; the last four columns are for the bounds."""
    size: Tensor
    """[n_rows] fp64, Euclidean norm of the fp32 row."""
    lost: Tensor
    """[n_rows] fp64, Euclidean norm of what rounding took from it."""


class Operands(NamedTuple):
    """The encoder's product, before it is taken."""

    tokens: Tensor  # [n_tokens, d_model] fp32
    rows: Tensor  # [n_latents, d_model] fp32: W_enc by latent
    bias: Tensor  # [n_latents] fp32

    @property
    def rounding(self) -> float:
        """Relative error of a sum of d_model products and a few terms, with room for any order and way to round."""
        return float((self.tokens.shape[1] + 8) * 2.0**-23)


@cache
def has_fast_bf16() -> bool:
    """Whether this processor multiplies bf16 and sums in fp32 by itself, and torch has the library that lets it."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    has_library: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return has_library and any(features.get(name) for name in ("avx512bf16", "amx-bf16"))


@torch.no_grad()
def select_topk(centred: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Compute relu(centred @ W_enc + b_enc) and keep the k largest per token: values and indices [n_tokens, k].

    On a CPU, of equal values those of lower index are kept, in the order of their indices. Where fewer than k are above
    0, the places left hold value 0.
    """
    if not _is_bounded_first(centred):
        chunks = torch.split(centred, max(1, CHUNK_VALUES // W_enc.shape[1]))
        kept = [keep_topk(torch.addmm(b_enc, chunk, W_enc), k) for chunk in chunks]
        return torch.cat([values for values, _ in kept]), torch.cat([indices for _, indices in kept])
    operands = Operands(centred.contiguous(), W_enc.t().contiguous(), b_enc.contiguous())
    return _select(operands, k, _Bf16Bounds if has_fast_bf16() else _Fp32Bounds)


@torch.no_grad()
def select_with_pre_acts(centred: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """`select_topk`, the same bytes, and the pre-activations [n_tokens, n_latents], from one fp32 product."""
    pre_acts = torch.addmm(b_enc, centred, W_enc)
    if not _is_bounded_first(centred):
        return keep_topk(pre_acts, k), pre_acts
    operands = Operands(centred.contiguous(), W_enc.t().contiguous(), b_enc.contiguous())
    return _select(operands, k, partial(_Fp32Bounds, product=pre_acts)), pre_acts


def keep_topk(pre_acts: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Keep the k largest of each row, negative ones as 0."""
    values, indices = pre_acts.topk(k, dim=1, sorted=False)
    return values.relu(), indices


def _is_bounded_first(tokens: Tensor) -> bool:
    return tokens.device.type == "cpu" and tokens.dtype == torch.float32


def _select(
    operands: Operands, k: int, bound: Callable[[Operands, Rounded, Rounded], _Bounds]
) -> tuple[Tensor, Tensor]:
    from latentese.dictionaries.row_kernels import Chosen
    from latentese.dictionaries.row_selection import Encoder, select_rows

    tokens, latents = _round(operands.tokens), _round(operands.rows)
    bounds = bound(operands, tokens, latents)
    values = torch.empty(len(operands.tokens), k)
    indices = torch.empty(len(operands.tokens), k, dtype=torch.int64)
    for first in range(0, len(values), bounds.chunk):
        part = slice(first, first + bounds.chunk)
        scores, chosen = bounds.scores(part), Chosen(values[part].numpy(), indices[part].numpy())
        encoder = Encoder(operands.tokens[part].numpy(), operands.rows.numpy(), operands.bias.numpy())
        in_shares(partial(select_rows, scores, encoder, chosen), len(chosen.values))
    unbounded = ~(tokens.size * latents.size.max() + operands.bias.abs().max() < HUGE)  # NaN too
    if unbounded.any():
        pre_acts = torch.addmm(operands.bias, operands.tokens[unbounded], operands.rows.t())
        values[unbounded], indices[unbounded] = keep_topk(pre_acts, k)
    return values, indices


def _round(rows: Tensor) -> Rounded:
    from latentese.dictionaries.row_selection import round_rows

    rounded = torch.empty(len(rows), rows.shape[1] + 4, dtype=torch.bfloat16)
    norms = torch.empty(len(rows), 2, dtype=torch.float64)
    in_shares(partial(round_rows, rows.numpy(), rounded.view(torch.int16).numpy(), norms.numpy()), len(rows))
    return Rounded(rounded, norms[:, 0], norms[:, 1])


class _Bounds(ABC):
    """Upper bounds on pre-activations, computed chunk by chunk into one buffer."""

    chunk: int
    """Tokens per chunk."""
    buffer: Tensor  # [chunk, n_latents]

    def allocate_(self, operands: Operands, dtype: torch.dtype) -> None:
        """Make the buffer."""
        n_latents = len(operands.rows)
        fitting = max(1, CHUNK_BYTES // (n_latents * dtype.itemsize))
        self.chunk = min(fitting, max(1, len(operands.tokens)))
        self.buffer = torch.empty(self.chunk, n_latents, dtype=dtype)

    @abstractmethod
    def scores(self, part: slice) -> Scores:
        """Bounds of the tokens of one chunk; the next call overwrites them."""


class _Bf16Bounds(_Bounds):
    """A bf16 product whose four additional columns make each result an upper bound.

    For a token x and a latent w, rounded to x~ and w~ (Cauchy-Schwarz):

        x.w + b  <=  x~.w~ + |x - x~| |w| + |x~| |w - w~| + b

    The first column has room for the errors of the sums, in bf16 and in fp32; b is split into two bf16 numbers.
    """

    def __init__(self, operands: Operands, tokens: Rounded, latents: Rounded) -> None:
        error = 4 * operands.rounding
        high = operands.bias.bfloat16()
        low = operands.bias - high.float()
        low = low + (UP - 1) * low.abs() + UP * (error * operands.bias.abs() + TINY)
        one = torch.ones(len(operands.tokens))
        columns = UP * (tokens.lost + error * tokens.size), UP * (tokens.size + tokens.lost), one, one
        tokens.rows[:, -4:] = torch.stack(columns, dim=1)
        latents.rows[:, -4:] = torch.stack((UP * latents.size, UP * latents.lost, high, low), dim=1)
        self.tokens, self.latents = tokens.rows, latents.rows
        self.slack = torch.zeros(len(operands.tokens))
        self.allocate_(operands, torch.bfloat16)

    def scores(self, part: slice) -> Scores:
        """Bounds of the tokens of one chunk."""
        from latentese.dictionaries.row_selection import Scores

        tokens = self.tokens[part]
        product = torch.mm(tokens, self.latents.t(), out=self.buffer[: len(tokens)])
        return Scores(product.view(torch.int16).numpy(), 16, self.slack[part].numpy())


class _Fp32Bounds(_Bounds):
    """The fp32 product, or one that is there already: its results are off by rounding alone, at most by `slack`."""

    def __init__(self, operands: Operands, tokens: Rounded, latents: Rounded, product: Tensor | None = None) -> None:
        self.operands = operands
        largest = tokens.size * latents.size.max() + operands.bias.abs().max()
        self.slack = (4 * operands.rounding * largest + TINY).float()
        self.product = product
        if product is None:
            self.allocate_(operands, torch.float32)
        else:
            self.chunk = max(1, len(product))

    def scores(self, part: slice) -> Scores:
        """Bounds of the tokens of one chunk."""
        from latentese.dictionaries.row_selection import Scores

        product = self._multiply(self.operands.tokens[part]) if self.product is None else self.product[part]
        return Scores(product.view(torch.int32).numpy(), 0, self.slack[part].numpy())

    def _multiply(self, tokens: Tensor) -> Tensor:
        return torch.addmm(self.operands.bias, tokens, self.operands.rows.t(), out=self.buffer[: len(tokens)])
