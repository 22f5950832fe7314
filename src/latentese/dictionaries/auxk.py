"""AuxK: dead latents are revived by predicting what the living ones leave over (Gao et al. 2024, appendix A)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

import torch
from torch import Tensor

from latentese.dictionaries.kernels import keep_topk
from latentese.dictionaries.losses import normalised_error
from latentese.errors import SettingError


@dataclass(frozen=True)
class AuxKLoss:
    """How many dead latents take part, and how much their loss counts."""

    k: int
    """Dead latents that take part per token."""
    coef: float
    """Weight of their loss; 0 switches it off."""

    def __call__(self, error: Tensor, pre_acts: Tensor, W_dec: Tensor, dead: Tensor) -> Tensor:
        """How badly the dead latents predict the error, with gradients to their encoder and decoder weights.

        error [n_tokens, d_model], a constant; pre_acts [n_tokens, n_latents]; W_dec [n_latents, d_model]; dead
        [n_latents] bool. 0 where no latent is dead.
        """
        (idx,) = dead.nonzero(as_tuple=True)
        if len(idx) == 0 or self.coef == 0:
            return error.new_zeros(())
        candidates = pre_acts[:, idx]
        values, chosen = keep_topk(candidates, min(self.k, len(idx)))
        acts = torch.zeros_like(candidates).scatter(1, chosen, values)
        return normalised_error(error.detach(), acts @ W_dec[idx])


def auxk_loss(d_model: int, n_latents: int, k_aux: int | None, coef: float) -> AuxKLoss:
    """Make AuxK from a dictionary's settings; k_aux None is the power of two nearest to d_model / 2."""
    if k_aux is not None and not 1 <= k_aux <= n_latents:
        raise SettingError("dictionary.k_aux", k_aux, f"1 to n_latents={n_latents}, or null for about d_model / 2")
    if not coef >= 0:
        raise SettingError("dictionary.aux_coef", coef, "at least 0; 0 switches AuxK off")
    return AuxKLoss(min(k_aux or 2 ** round(log2(d_model / 2)), n_latents), coef)
