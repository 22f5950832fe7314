"""What dictionaries check and draw before they have seen an activation, and the constant of their error."""

from __future__ import annotations

import torch
from torch import Tensor

from latentese.dictionaries.losses import squared_error
from latentese.dictionaries.norm import Norm, check_norm
from latentese.errors import SettingError


def check_sizes(d_model: int, n_latents: int, norm: str) -> None:
    """Refuse sizes and an input norm that no dictionary can have."""
    if d_model < 1:
        raise SettingError("dictionary.d_model", d_model, "at least 1")
    if n_latents < 1:
        raise SettingError("dictionary.n_latents", n_latents, "at least 1")
    check_norm(norm)


def check_k(k: int, n_latents: int) -> None:
    """Refuse more active latents per token than there are, or none, or a part of one."""
    if not isinstance(k, int):
        raise SettingError("dictionary.k", k, "a whole number")
    if not 1 <= k <= n_latents:
        raise SettingError("dictionary.k", k, f"1 to n_latents={n_latents}")


def draw_directions(n_latents: int, d_model: int, generator: torch.Generator) -> Tensor:
    """Draw directions [n_latents, d_model] of unit norm, uniformly and independently, in fp32."""
    directions = torch.randn(n_latents, d_model, generator=generator)
    directions /= torch.linalg.vector_norm(directions, dim=1, keepdim=True)
    return directions


def variance_of(x: Tensor, norm: Norm) -> Tensor:
    """Mean squared distance of a sample [n_tokens, d_model] from its mean: the constant below the line of fvu.

    Raises SettingError when it is 0: x, after the input norm `norm`, has then nothing to reconstruct.
    """
    variance = squared_error(x, x.mean(dim=0))
    if variance == 0:
        raise SettingError("dictionary.norm", norm, "another: after it all sampled activations are equal")
    return variance
