"""Random directions: what explanations and scores are worth where there is nothing to find."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentese.dictionaries.directions import Directions
from latentese.dictionaries.norm import Norm


class RandomDirections(Directions):
    """Seeded random unit directions, an untrained baseline: see `directions.Directions` for how they are read.

    Together a uniformly random rotation of the neuron basis, or the first n_latents rows of one, so each by itself is
    uniform on the sphere and all together reconstruct exactly, as neurons do. b_dec is 0.

    n_latents: null takes d_model of them. norm: see `norm.apply_norm`.
    """

    def __init__(self, d_model: int, n_latents: int | None = None, norm: Norm = "unit_norm", seed: int = 0) -> None:
        super().__init__(d_model, n_latents, norm)
        self.seed = seed
        self.register_buffer("W_dec", random_orthonormal(self.n_units, d_model, seed))
        self.register_buffer("b_dec", torch.zeros(d_model))

    @property
    def args(self) -> dict[str, Any]:
        """Constructor arguments."""
        return super().args | {"seed": self.seed}


def random_orthonormal(n_rows: int, width: int, seed: int) -> Tensor:
    """Draw n_rows <= width orthonormal rows, uniformly, in fp32 [n_rows, width]."""
    generator = torch.Generator().manual_seed(seed)
    gaussian = torch.randn(width, n_rows, generator=generator, dtype=torch.float64)
    columns, triangle = torch.linalg.qr(gaussian)
    # Without the signs the factorisation, not the draw, would decide which half-space a direction points to.
    rows: Tensor = (columns * triangle.diagonal().sign()).t().float().contiguous()
    return rows
