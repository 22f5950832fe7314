"""The Matryoshka autoencoder: every prefix of its latents is an autoencoder too."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from torch import Tensor

from latentese.dictionaries.batch_topk import BatchTopK
from latentese.dictionaries.norm import Norm
from latentese.errors import SettingError


class Matryoshka(BatchTopK):
    """BatchTopK whose first latents must do without the later ones (Bussmann et al. 2025).

        recon_m = latents[:, :m] @ W_dec[:m] + b_dec
        loss    = mean over prefixes m of |x - recon_m|^2 / |x - mean|^2  +  aux_coef * AuxK

    for m in `prefix_sizes` and m = n_latents; latents, AuxK and the threshold outside training are those of
    `BatchTopK`. Latents that stand early learn what is general, and cannot lose it to special cases that stand later.
    fvu, in logs too, is that of all latents.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (the settings of the YAML, flat)
        self,
        d_model: int,
        n_latents: int,
        k: int,
        prefix_sizes: Sequence[int],
        norm: Norm = "unit_norm",
        k_aux: int | None = None,
        aux_coef: float = 1 / 32,
        start: str = "norms",
        seed: int = 0,
    ) -> None:
        super().__init__(d_model, n_latents, k, norm, k_aux, aux_coef, start, seed)
        self.prefix_sizes = list(prefix_sizes)
        if not all(smaller < larger for smaller, larger in pairwise([0, *self.prefix_sizes, n_latents])):
            allowed = f"rising sizes in 1 to n_latents - 1 = {n_latents - 1}; the whole needs no mention"
            raise SettingError("dictionary.prefix_sizes", self.prefix_sizes, allowed)

    @property
    def args(self) -> dict[str, Any]:
        """Constructor arguments."""
        return super().args | {"prefix_sizes": self.prefix_sizes}

    def _recons(self, latents: Tensor) -> list[Tensor]:
        """Reconstructions from each prefix, shortest first."""
        bounds = pairwise([0, *self.prefix_sizes, self.n_units])
        parts = [latents[:, start:stop] @ self.W_dec[start:stop] for start, stop in bounds]
        return [part + self.b_dec for part in accumulate(parts)]
