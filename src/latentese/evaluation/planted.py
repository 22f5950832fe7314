"""Activations whose directions are known: the ground truth that a dictionary should recover.

Real activations have no known answer. These have: every one is a sparse sum of unit directions, more of them than there
are dimensions, some often active and some rarely, some together. It is in this room, not beside the dictionaries,
because it judges them; it is a `TokenSource`, so any of them is trained on it by the one trainer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from latentese.errors import SettingError

BLOCK_TOKENS = 4096
"""Tokens drawn at once: all that is ever in memory, beside the batch."""
TRAIN, SAMPLE, TEST = range(3)
"""Streams of tokens that share directions and nothing else."""


@dataclass(frozen=True)
class PlantedSettings:
    """What is planted, and how it is mixed."""

    d_model: int = 64
    n_directions: int = 256
    """More than d_model: in superposition."""
    l0: float = 6.0
    """Mean number of active directions per token."""
    exponent: float = 1.2
    """The direction of rank r is active on a share of tokens proportional to r^-exponent."""
    max_frequency: float = 0.2
    """What that share is cut off at, so that none is nearly always active."""
    group_size: int = 4
    """Directions of neighbouring rank form groups, and every second group fires together more than chance would."""
    correlation: float = 0.5
    """How often a correlated group decides as one; also the correlation of two members equally often active."""
    noise: float = 0.02
    """Standard deviation, per coordinate, of what no direction explains."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("d_model", "n_directions", "group_size"):
            if getattr(self, name) < 1:
                raise SettingError(f"planted.{name}", getattr(self, name), "at least 1")
        if self.n_directions % self.group_size:
            raise SettingError("planted.group_size", self.group_size, f"a divisor of n_directions={self.n_directions}")
        if not 0 < self.max_frequency <= 1:
            raise SettingError("planted.max_frequency", self.max_frequency, "above 0, at most 1")
        if not 0 < self.l0 <= self.max_frequency * self.n_directions:
            allowed = f"above 0, at most max_frequency * n_directions = {self.max_frequency * self.n_directions:g}"
            raise SettingError("planted.l0", self.l0, allowed)
        if not 0 <= self.correlation <= 1:
            raise SettingError("planted.correlation", self.correlation, "0 to 1")
        if not self.noise >= 0:
            raise SettingError("planted.noise", self.noise, "at least 0")
        if self.seed < 0:
            raise SettingError("planted.seed", self.seed, "at least 0")


class PlantedTokens(NamedTuple):
    """Some tokens, and the truth about them."""

    acts: Tensor  # [n_tokens, d_model]
    coefs: Tensor
    """[n_tokens, n_directions]: how strongly each direction is in each activation; 0 where it is not active."""


class Planted:
    """Endless tokens, each the sum of a few planted directions.

        acts = coefs @ directions + noise

    directions [n_directions, d_model]: uniform on the sphere, independent. A direction is active with the probability
    `frequencies` says, whatever its group: in a correlated group, one uniform number decides for all members on a share
    `correlation` of tokens, and one for each member on the rest. Where active, its coefficient is drawn from a gamma
    distribution of mean 1 and standard deviation 1/2 (shape 4): positive, skewed, rarely near 0.

    Every block of `BLOCK_TOKENS` tokens is a pure function of seed, stream and number: the same wherever one begins.
    """

    def __init__(self, settings: PlantedSettings) -> None:
        self.settings = settings
        rows = np.random.default_rng([settings.seed]).standard_normal((settings.n_directions, settings.d_model))
        self.directions = torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)).float()
        self.frequencies = power_law(settings)
        """[n_directions], falling."""

    def batches(self, batch_tokens: int, start: int) -> Iterator[Tensor]:
        """Endless fp32 batches [batch_tokens, d_model], from token `start` of the training stream on."""
        first, skip = divmod(start, BLOCK_TOKENS)
        rest = torch.empty(0, self.settings.d_model)
        for block in count(first):
            rows = torch.cat([rest, self.draw(TRAIN, block).acts[skip:]])
            skip, n_whole = 0, len(rows) // batch_tokens * batch_tokens
            yield from torch.split(rows[:n_whole], batch_tokens) if n_whole else ()
            rest = rows[n_whole:].clone()

    def sample(self, n_tokens: int, seed: int) -> Tensor:
        """Draw a fixed sample [n_tokens, d_model] from a stream of its own."""
        n_blocks = -(-n_tokens // BLOCK_TOKENS)
        blocks = [self.draw(SAMPLE, seed * 1_000_003 + block).acts for block in range(n_blocks)]
        return torch.cat(blocks)[:n_tokens]

    def test(self, n_tokens: int) -> Iterator[PlantedTokens]:
        """Draw at least `n_tokens` tokens that are in no training stream, block by block, with their truth."""
        return (self.draw(TEST, block) for block in range(-(-n_tokens // BLOCK_TOKENS)))

    def draw(self, stream: int, block: int) -> PlantedTokens:
        """Draw one block."""
        rng = np.random.default_rng([self.settings.seed, 1 + stream, block])
        active = self._uniforms(rng) < self.frequencies.astype(np.float32)
        coefs = np.zeros(active.shape, dtype=np.float32)
        coefs[active] = rng.gamma(4.0, 0.25, size=np.count_nonzero(active))
        noise = rng.standard_normal((BLOCK_TOKENS, self.settings.d_model), dtype=np.float32)
        truth = torch.from_numpy(coefs)
        return PlantedTokens(truth @ self.directions + self.settings.noise * torch.from_numpy(noise), truth)

    def _uniforms(self, rng: np.random.Generator) -> np.ndarray:
        """Uniform numbers [block, n_directions] that decide what is active: shared in groups that decide as one."""
        n_groups, size = self.settings.n_directions // self.settings.group_size, self.settings.group_size
        own = rng.random((BLOCK_TOKENS, n_groups, size), dtype=np.float32)
        as_one = rng.random((BLOCK_TOKENS, n_groups, 1), dtype=np.float32) < self.settings.correlation
        as_one[:, 1::2] = False
        shared = rng.random((BLOCK_TOKENS, n_groups, 1), dtype=np.float32)
        return np.where(as_one, shared, own).reshape(BLOCK_TOKENS, n_groups * size)


def power_law(settings: PlantedSettings) -> np.ndarray:
    """Share of tokens on which each direction is active [n_directions]: min(max, c * rank^-exponent), summing to l0."""
    law = np.arange(1, settings.n_directions + 1) ** -settings.exponent
    low, high = 0.0, settings.max_frequency / law[-1]  # at the upper end every direction is cut off
    for _ in range(100):
        middle = (low + high) / 2
        total = np.minimum(settings.max_frequency, middle * law).sum()
        low, high = (middle, high) if total < settings.l0 else (low, middle)
    return np.asarray(np.minimum(settings.max_frequency, high * law))
