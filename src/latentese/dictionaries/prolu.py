"""The ProLU autoencoder: a threshold per latent that decides without shifting what passes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from latentese.dictionaries.autoencoder import Encoded
from latentese.dictionaries.penalised import Coded, Penalised


class ProLU(Penalised):
    """Sparse autoencoder with proportional linear units (Taggart 2024).

        x       = acts after the input norm
        m       = (x - b_dec) @ W_enc
        latents = m where m > 0 and m + b_enc > 0, else 0
        recon   = latents @ W_dec + b_dec
        loss    = |x - recon|^2 / |x - mean|^2  +  coef * |latents|_1 / |x - mean|

    with |x - mean| over the fixed sample. b_enc decides but has no gradient of its own. Of the two substitutes proposed
    this is the ReLU-like one: where a latent is active, its derivative to both m and b_enc is 1, as if b_enc were
    added. (The other, straight through the step, multiplies by m: its strength depends on the size of activations.)
    Pre-activations are m. Rows of W_dec have unit norm. Shapes: W_enc [d_model, n_latents], W_dec [n_latents, d_model].

    coef: see `penalised.Penalised`. norm: see `norm.apply_norm`.
    """

    def _encode(self, x: Tensor) -> Encoded:
        m = (x - self.b_dec) @ self.W_enc
        return Encoded(m, prolu(m, self.b_enc))

    def _code(self, x: Tensor) -> Coded:
        latents = self._encode(x).latents
        return Coded(latents, self._l1(latents), x.new_zeros(()))


def prolu(m: Tensor, b: Tensor) -> Tensor:
    """Keep m [n_tokens, n_latents] where it and m + b [n_latents] are above 0; see `ProLU` for the gradient to b."""
    latents: Tensor = _ProLU.apply(m, b)  # type: ignore[no-untyped-call]
    return latents


class _ProLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, m: Tensor, b: Tensor) -> Tensor:
        """See `prolu`."""
        active = (m > 0) & (m + b > 0)
        ctx.save_for_backward(active)
        return m * active

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Pass the gradient of active latents to both, that of b summed over tokens."""
        (active,) = ctx.saved_tensors
        passed = grad * active
        return passed, passed.sum(dim=0)
