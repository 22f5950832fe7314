"""How strongly a sparsity penalty counts: a constant, one that is warmed up, or one that is steered to a wished L0."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from latentese.errors import SettingError

SETTLING_STEPS = 30
"""Steps in which the error in the logarithm of L0 is asked to shrink by a factor of e."""
FARTHEST_L0 = 32.0
"""L0 farther from the target than this factor counts as this far."""
FARTHEST_COEF = 1000.0
"""The coefficient stays within this factor of its start."""


class SparsityCoefficient(nn.Module):
    """The coefficient of a sparsity penalty, and what it needs to know from step to step.

    Without `target_l0` it is `start`, after a linear rise over the first `warmup_tokens` tokens. With it, after step t,

        log coef += log L0_t - log L0_{t-1} + (log L0_t - log target) / SETTLING_STEPS

    from `start` on: a proportional-integral controller. The coefficient rests only while L0 approaches the target by
    1 / SETTLING_STEPS of the way per step, so it neither runs away while the optimiser follows slowly nor stops short.
    It takes some hundred steps; a run of fewer ends on the way. A penalty can only silence latents: where fewer are
    active without one, the target is not reached.

    All its state is in buffers, so training resumes exactly.
    """

    def __init__(self, start: float, target_l0: float | None = None, warmup_tokens: int = 0) -> None:
        super().__init__()
        if not start >= 0:
            raise SettingError("dictionary.sparsity_coef", start, "at least 0")
        if warmup_tokens < 0:
            raise SettingError("dictionary.sparsity_warmup_tokens", warmup_tokens, "at least 0")
        if target_l0 is not None and start == 0:
            raise SettingError("dictionary.sparsity_coef", start, "above 0: target_l0 is approached from it")
        if target_l0 is not None and warmup_tokens:
            raise SettingError(
                "dictionary.sparsity_warmup_tokens", warmup_tokens, "0 with a target_l0, which steers it"
            )
        self.start, self.target_l0, self.warmup_tokens = start, target_l0, warmup_tokens
        self.register_buffer("coef", torch.tensor(start, dtype=torch.float64))
        self.register_buffer("last_l0", torch.zeros((), dtype=torch.float64))
        self.register_buffer("n_tokens", torch.zeros((), dtype=torch.int64))
        self.coef: Tensor
        """Before the factor of the warm-up."""
        self.last_l0: Tensor
        """L0 of the last step's batch; 0 before the first."""
        self.n_tokens: Tensor
        """Tokens seen in training."""

    @property
    def args(self) -> dict[str, Any]:
        """The settings, under the names that dictionaries give them."""
        return {
            "sparsity_coef": self.start,
            "target_l0": self.target_l0,
            "sparsity_warmup_tokens": self.warmup_tokens,
        }

    def value(self) -> float:
        """Give what the next batch's penalty is multiplied by."""
        risen = min(1.0, self.n_tokens.item() / self.warmup_tokens) if self.warmup_tokens else 1.0
        return self.coef.item() * risen

    @torch.no_grad()
    def follow_(self, l0: Tensor, n_tokens: int) -> None:
        """Take in one step's batch: its mean number of active latents per token, and its tokens."""
        self.n_tokens += n_tokens
        if self.target_l0 is None:
            return
        l0 = l0.double().clamp(self.target_l0 / FARTHEST_L0, self.target_l0 * FARTHEST_L0)
        change = (l0 / self.last_l0).log() if self.last_l0 > 0 else torch.zeros_like(l0)
        self.coef *= (change + (l0 / self.target_l0).log() / SETTLING_STEPS).exp()
        self.coef.clamp_(self.start / FARTHEST_COEF, self.start * FARTHEST_COEF)
        self.last_l0.copy_(l0)


def check_target_l0(target_l0: float | None, n_latents: int) -> None:
    """Refuse a number of active latents per token that no code can have."""
    if target_l0 is not None and not 0 < target_l0 <= n_latents:
        allowed = f"above 0, at most n_latents={n_latents}, or null to set sparsity_coef instead"
        raise SettingError("dictionary.target_l0", target_l0, allowed)
