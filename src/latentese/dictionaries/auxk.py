"""AuxK: dead latents are revived by predicting what the living ones leave over (Gao et al. 2024, appendix A)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log2

import torch
from torch import Tensor

from latentese.dictionaries.kernels import keep_topk
from latentese.dictionaries.losses import normalised_error
from latentese.errors import SettingError


@dataclass(frozen=True)
class AuxK:
    """How many dead latents take part, and how much their loss counts."""

    k: int
    """Dead latents that take part per token."""
    coef: float
    """Weight of their loss; 0 switches it off."""

    def __call__(self, excess: Tensor, pre_acts_of: Callable[[Tensor], Tensor], W_dec: Tensor, dead: Tensor) -> Tensor:
        """How badly the dead latents predict what is missing, with gradients to their encoder and decoder weights.

        excess [n_tokens, d_model], reconstructions minus activations, counts as a constant; pre_acts_of gives the
        pre-activations [n_tokens, n] of n latents by number; W_dec [n_latents, d_model]; dead [n_latents] bool.
        0 where no latent is dead.
        """
        (idx,) = dead.nonzero(as_tuple=True)
        if len(idx) == 0 or self.coef == 0:
            return excess.new_zeros(())
        pre_acts = pre_acts_of(idx)
        values, chosen = keep_topk(pre_acts, min(self.k, len(idx)))
        return normalised_error(-excess.detach(), spread(values, chosen, pre_acts) @ W_dec[idx])


def build_auxk(d_model: int, n_latents: int, k_aux: int | None, coef: float) -> AuxK:
    """Make AuxK from settings; k_aux None is the power of two nearest to d_model / 2 on a logarithmic scale."""
    if k_aux is not None and not 1 <= k_aux <= n_latents:
        raise SettingError("dictionary.k_aux", k_aux, f"1 to n_latents={n_latents}, or null for about d_model / 2")
    if not coef >= 0:
        raise SettingError("dictionary.aux_coef", coef, "at least 0; 0 switches AuxK off")
    return AuxK(min(k_aux or 2 ** max(0, round(log2(d_model / 2))), n_latents), coef)


def encode_some(centred: Tensor, W_enc: Tensor, b_enc: Tensor, idx: Tensor) -> Tensor:
    """Pre-activations [n_tokens, n] of n latents by number alone; centred [n_tokens, d_model] is x - b_dec."""
    return torch.addmm(b_enc[idx], centred, W_enc.t()[idx].t())


def spread(values: Tensor, chosen: Tensor, pre_acts: Tensor) -> Tensor:
    """Make chosen activations dense, 0 beside them, as wide as pre_acts.

    Dead latents are decoded so, because k_aux is a large share of them, and sparse sums would be slower.
    """
    return torch.zeros_like(pre_acts).scatter(1, chosen, values)
