"""The BatchTopK autoencoder: a batch's tokens share one budget of active latents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentese.dictionaries.autoencoder import Autoencoder, Encoded, loss_of, smallest_kept
from latentese.dictionaries.auxk import build_auxk
from latentese.dictionaries.base import Loss
from latentese.dictionaries.norm import Norm, apply_norm
from latentese.dictionaries.starting import check_k

DECAY = 0.99
"""Of the threshold's average over training steps."""


class BatchTopK(Autoencoder):
    """Sparse autoencoder that keeps the n_tokens * k largest latents of a batch (Bussmann et al. 2024).

        x        = acts after the input norm
        pre_acts = (x - b_dec) @ W_enc + b_enc
        latents  = the n_tokens * k largest of the whole batch of relu(pre_acts), else 0     in training
                 = relu(pre_acts) where pre_acts > threshold, else 0                         in encode
        recon    = latents @ W_dec + b_dec
        loss     = |x - recon|^2 / |x - mean|^2  +  aux_coef * |e - e_hat|^2 / |e - mean(e)|^2

    with e = x - recon, constant, and e_hat the same reconstruction (without b_dec) from each token's k_aux largest
    *dead* latents. `threshold` averages, over training steps, the smallest latent that a batch kept; so encode does
    not depend on which tokens come together, and has k active latents per token on average only. It is a running
    average of decay .99 with its start corrected as Adam's are: after step t, the weight of the newest is
    (1 - .99) / (1 - .99^t). (With `training.ema` it still belongs to the last weights, not to their average.) Rows of
    W_dec have unit norm. Shapes: W_enc [d_model, n_latents], W_dec [n_latents, d_model].

    k_aux: null takes the power of two nearest to d_model / 2. norm: see `norm.apply_norm`.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (the settings of the YAML, flat)
        self,
        d_model: int,
        n_latents: int,
        k: int,
        norm: Norm = "unit_norm",
        k_aux: int | None = None,
        aux_coef: float = 1 / 32,
        start: str = "norms",
        seed: int = 0,
    ) -> None:
        super().__init__(d_model, n_latents, norm, start, seed)
        check_k(k, n_latents)
        self.k, self.aux = k, build_auxk(d_model, n_latents, k_aux, aux_coef)
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("n_averaged", torch.zeros((), dtype=torch.int64))
        self.threshold: Tensor
        """What a pre-activation must exceed, outside training, to be active."""
        self.n_averaged: Tensor
        """Steps that `threshold` averages over."""
        self._kept: Tensor | None = None

    @property
    def args(self) -> dict[str, Any]:
        """Constructor arguments."""
        return super().args | {"k": self.k, "k_aux": self.aux.k, "aux_coef": self.aux.coef}

    def _encode(self, x: Tensor) -> Encoded:
        pre_acts = self._affine(x)
        return Encoded(pre_acts, pre_acts * (pre_acts > self.threshold))

    def loss(self, acts: Tensor, dead: Tensor) -> Loss:
        """Loss of a batch [n_tokens, d_model]; dead [n_latents] bool."""
        x = apply_norm(acts, self.norm).acts
        pre_acts = self._affine(x)
        self._kept = smallest_kept(pre_acts.detach(), self.k)
        latents = (pre_acts * (pre_acts >= self._kept)).relu()
        recons = self._recons(latents)
        fvus = torch.stack([self._fvu(x, recon) for recon in recons])
        aux = self.aux(recons[-1] - x, lambda idx: pre_acts[:, idx], self.W_dec, dead)
        return loss_of(fvus.mean() + self.aux.coef * aux, fvus[-1], aux, latents)

    def _recons(self, latents: Tensor) -> list[Tensor]:
        """Reconstructions whose fvu is averaged, that from all latents last."""
        return [self._decode(latents)]

    @torch.no_grad()
    def before_step_(self) -> None:
        """Clean gradients, and average the batch's smallest kept latent into the threshold."""
        super().before_step_()
        if self._kept is not None:
            self.n_averaged += 1
            weight = (1 - DECAY) / (1 - DECAY ** self.n_averaged.item())
            self.threshold.lerp_(self._kept, weight)
            self._kept = None

    def _start_selection_(self, x: Tensor) -> None:
        self.threshold.copy_(smallest_kept(self._affine(x), self.k))

    def _scale_encoder_(self, factor: Tensor) -> None:
        super()._scale_encoder_(factor)
        self.threshold.mul_(factor)
