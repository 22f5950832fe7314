"""The order in which training reads tokens: shuffled, repeatable from any position, and mostly sequential on disk.

Rows are cut into blocks of consecutive tokens. Each epoch takes the blocks in a new seeded order, fills a buffer with
many of them, from all over the cache, and shuffles the rows within the buffer. So a batch mixes hundreds of places of
the cache, the disk sees reads of whole blocks (a full permutation would read row by row), one buffer is in memory at a
time, and the order is a pure function of the seed: a resumed run finds its place without replaying anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from latentese.errors import SettingError
from latentese.store.shards import Activations, Span


class TokenSource(Protocol):
    """Where training takes activations from."""

    def batches(self, batch_tokens: int, start: int) -> Iterator[Tensor]:
        """Endless fp32 batches [batch_tokens, width], from token `start` of the order on."""

    def sample(self, n_tokens: int, seed: int) -> Tensor:
        """Draw a fixed sample [at most n_tokens, width], fp32."""


@dataclass(frozen=True)
class OrderSettings:
    """How tokens are shuffled."""

    block_tokens: int = 256
    """Consecutive tokens read together."""
    buffer_tokens: int = 65_536
    """Tokens in memory, among which rows are shuffled."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.block_tokens <= self.buffer_tokens:
            raise SettingError("training.block_tokens", self.block_tokens, f"1 to buffer_tokens={self.buffer_tokens}")


class ShuffledTokens:
    """The tokens of one split of an activations artifact, in shuffled order, epoch after epoch."""

    def __init__(self, activations: Activations, split: str, order: OrderSettings) -> None:
        self._activations = activations
        self._rows = activations.rows_of(split)
        self._order = order
        spans = activations.spans_of(split)
        self._blocks = [block for span in spans for block in _cut(span, order.block_tokens)]
        # Mapped, not read: pages come in as blocks are copied and the system may drop them again.
        self._acts = {span.shard: activations.read(span.shard).acts for span in spans}
        self.n_tokens = len(self._rows)

    def batches(self, batch_tokens: int, start: int) -> Iterator[Tensor]:
        """Endless fp32 batches [batch_tokens, width], from token `start` of the order on."""
        # Kept in the cache's dtype until a batch is cut: a buffer of bf16 is half of one of fp32.
        rest: list[Tensor] = []
        for buffer in self._buffers(start):
            rows = torch.cat([*rest, buffer])
            n_whole = len(rows) // batch_tokens * batch_tokens
            for first in range(0, n_whole, batch_tokens):
                yield rows[first : first + batch_tokens].float()
            rest = [rows[n_whole:].clone()]

    def sample(self, n_tokens: int, seed: int) -> Tensor:
        """Draw a seeded random sample of the split's rows, in their own order."""
        generator = np.random.default_rng(seed)
        chosen = generator.choice(self.n_tokens, min(n_tokens, self.n_tokens), replace=False)
        return self._activations.gather(np.sort(chosen) + self._rows.start)

    def _buffers(self, start: int) -> Iterator[Tensor]:
        """Shuffled buffers, endlessly, beginning with what follows token `start`."""
        epoch, skip = divmod(start, self.n_tokens)
        while True:
            for number, blocks in enumerate(self._buffers_of(epoch)):
                n_rows = sum(block.stop - block.start for block in blocks)
                if skip < n_rows:
                    yield self._read(blocks, np.random.default_rng([self._order.seed, epoch, number]))[skip:]
                skip = max(0, skip - n_rows)
            epoch += 1

    def _buffers_of(self, epoch: int) -> list[list[Span]]:
        """List the blocks of each buffer of an epoch."""
        order = np.random.default_rng([self._order.seed, epoch]).permutation(len(self._blocks))
        per_buffer = self._order.buffer_tokens // self._order.block_tokens
        return [
            [self._blocks[block] for block in order[first : first + per_buffer]]
            for first in range(0, len(order), per_buffer)
        ]

    def _read(self, blocks: list[Span], generator: np.random.Generator) -> Tensor:
        rows = torch.cat([self._acts[block.shard][block.start : block.stop] for block in blocks])
        return self._activations.finite(rows)[torch.from_numpy(generator.permutation(len(rows)))]


def _cut(span: Span, block_tokens: int) -> Iterator[Span]:
    for start in range(span.start, span.stop, block_tokens):
        yield Span(span.shard, start, min(start + block_tokens, span.stop))
