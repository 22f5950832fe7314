"""Data with known directions: sparse sums of more directions than dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PlantedTokens:
    """A source of tokens in memory, each the sum of a few planted directions."""

    acts: Tensor
    directions: Tensor

    @property
    def n_tokens(self) -> int:
        return len(self.acts)

    def batches(self, batch_tokens: int, start: int) -> Iterator[Tensor]:
        """Endless batches; the order of epoch e depends on e alone."""
        while True:
            epoch, first = divmod(start, self.n_tokens)
            order = torch.randperm(self.n_tokens, generator=torch.Generator().manual_seed(epoch))
            yield self.acts[order[first : first + batch_tokens]]
            start += batch_tokens

    def sample(self, n_tokens: int, seed: int) -> Tensor:
        return self.acts[:n_tokens]

    def mean_best_cosine(self, W_dec: Tensor) -> float:
        """Mean over planted directions of the cosine with the decoder row that fits best."""
        rows = W_dec / W_dec.norm(dim=1, keepdim=True)
        return float((self.directions @ rows.t()).amax(dim=1).mean())


def plant(n_tokens: int = 20_480, d_model: int = 32, n_planted: int = 64, n_active: int = 3) -> PlantedTokens:
    """Each token has `n_active` directions with strengths in .5 to 1.5, and a little noise."""
    generator = torch.Generator().manual_seed(1234)
    directions = torch.randn(n_planted, d_model, generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    chosen = torch.rand(n_tokens, n_planted, generator=generator).argsort(dim=1)[:, :n_active]
    strength = 0.5 + torch.rand(n_tokens, n_active, 1, generator=generator)
    noise = 0.01 * torch.randn(n_tokens, d_model, generator=generator)
    return PlantedTokens((strength * directions[chosen]).sum(dim=1) + noise, directions)
