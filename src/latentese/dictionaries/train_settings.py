"""Settings of training, and the learning rate that follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from latentese.dictionaries.token_order import OrderSettings
from latentese.errors import SettingError

LR_AT_16384 = 2e-4
"""Learning rate for 2^14 latents; it falls with the square root of their number (Gao et al. 2024, appendix A)."""

Division = Literal["tokens", "latents"]


@dataclass(frozen=True)
class TrainSettings:
    """How a dictionary is trained. Sizes are in tokens, so they keep their meaning when the batch changes."""

    n_tokens: int
    """Tokens seen in total, over all epochs; what is left after whole batches is dropped."""
    batch_tokens: int
    """Tokens per optimiser step."""
    lr: float | None = None
    """None: scaled with the number of latents."""
    warmup: float = 0.0
    """Share of the steps over which the rate rises linearly from 0."""
    decay: float = 0.0
    """Share of the steps, at the end, over which it falls linearly to 0."""
    clip_norm: float | None = None
    """Largest Euclidean norm of all gradients together, larger ones are shrunk to it; None sets no limit."""
    ema: float | None = None
    """Decay of the average of weights that is kept instead of the last ones; None keeps the last ones."""
    dead_after_tokens: int = 10_000_000
    """A latent silent for so many tokens is dead, and AuxK may revive it."""
    checkpoint_tokens: int = 1_000_000
    """Tokens between two checkpoints: what a kill loses at most."""
    sample_tokens: int = 32_768
    """Size of the fixed sample for the starting weights and the constants of fvu."""
    block_tokens: int = 256
    """See `token_order`."""
    buffer_tokens: int = 65_536
    """See `token_order`."""
    log_every: int = 1
    """Steps between two rows of the log."""
    seed: int = 0
    device: str = "cpu"
    """Where weights and batches are, as torch names it."""
    divide: Division = "tokens"
    """What several processes divide among them; see `data_parallel` and `latent_parallel`."""

    def __post_init__(self) -> None:
        for name in (
            "n_tokens",
            "batch_tokens",
            "dead_after_tokens",
            "checkpoint_tokens",
            "sample_tokens",
            "log_every",
        ):
            if getattr(self, name) < 1:
                raise SettingError(f"training.{name}", getattr(self, name), "at least 1")
        if self.n_tokens < self.batch_tokens:
            raise SettingError("training.n_tokens", self.n_tokens, f"at least one batch of {self.batch_tokens} tokens")
        if self.lr is not None and not self.lr > 0:
            raise SettingError("training.lr", self.lr, "above 0, or null to scale it with the number of latents")
        if not (self.warmup >= 0 and self.decay >= 0 and self.warmup + self.decay <= 1):
            raise SettingError(
                "training.warmup, decay", (self.warmup, self.decay), "shares of training, together at most 1"
            )
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise SettingError("training.clip_norm", self.clip_norm, "above 0, or null for no limit")
        if self.ema is not None and not 0 < self.ema < 1:
            raise SettingError("training.ema", self.ema, "between 0 and 1, or null")
        if self.divide not in get_args(Division):
            raise SettingError("training.divide", self.divide, f"one of {list(get_args(Division))}")
        _ = self.order  # refuses its own settings

    @property
    def n_steps(self) -> int:
        """Optimiser steps in total."""
        return self.n_tokens // self.batch_tokens

    @property
    def order(self) -> OrderSettings:
        """How tokens are shuffled."""
        return OrderSettings(self.block_tokens, self.buffer_tokens, self.seed)

    def logs_at(self, step: int) -> bool:
        """Whether step `step`, the first being 1, has a row in the log: the first and the last always have."""
        return step % self.log_every == 0 or step in (1, self.n_steps)

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint is written after step `step`, the first being 1; after the last always."""
        return step % max(1, self.checkpoint_tokens // self.batch_tokens) == 0 or step == self.n_steps

    def lr_at(self, step: int, n_latents: int) -> float:
        """Learning rate of step `step`, the first being 0."""
        peak: float = self.lr if self.lr is not None else LR_AT_16384 / (n_latents / 2**14) ** 0.5
        n_warmup, n_decay = self.warmup * self.n_steps, self.decay * self.n_steps
        rise = (step + 1) / n_warmup if step + 1 < n_warmup else 1.0
        left = self.n_steps - step
        fall = left / n_decay if left < n_decay else 1.0
        return peak * min(rise, fall)
