"""The order in which training reads tokens: shuffled, repeatable from any position, and sequential in long runs.

Rows are cut into blocks of consecutive tokens. Each epoch takes the blocks in a new seeded order, fills a buffer with
many of them, from all over the text, and shuffles the rows within the buffer. So a batch mixes hundreds of places of
the text, a disk sees reads of whole blocks (a full permutation would read row by row), one buffer is in memory at a
time, and the order is a pure function of the seed: a resumed run finds its place without replaying anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from latentese.errors import ArtifactError, SettingError
from latentese.store.shards import Activations, shard_name


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
        if self.seed < 0:
            raise SettingError("training.seed", self.seed, "at least 0")


class BlockedTokens(ABC):
    """Tokens in blocks, in shuffled order, epoch after epoch."""

    def __init__(self, sizes: np.ndarray, blocks_per_buffer: int, seed: int) -> None:
        """Take the number of tokens of each block, how many blocks are shuffled together, and the order's seed."""
        self._sizes = sizes
        self._blocks_per_buffer = blocks_per_buffer
        self._seed = seed
        self.n_tokens = int(sizes.sum())

    @abstractmethod
    def _read(self, blocks: np.ndarray) -> Iterator[Tensor]:
        """Rows of the numbered blocks, one block after another, in pieces [n_rows, width] of any size."""

    def batches(self, batch_tokens: int, start: int) -> Iterator[Tensor]:
        """Endless fp32 batches [batch_tokens, width], from token `start` of the order on."""
        # Kept in the source's dtype until a batch is cut: a buffer of bf16 is half of one of fp32.
        rest: list[Tensor] = []
        for buffer in self._buffers(start):
            stop = batch_tokens - sum(map(len, rest))
            while stop <= len(buffer):
                yield torch.cat([*rest, buffer[max(0, stop - batch_tokens) : stop]]).float()
                rest, stop = [], stop + batch_tokens
            rest.append(buffer[max(0, stop - batch_tokens) :].clone())
            del buffer  # before the next one is filled

    def _buffers(self, start: int) -> Iterator[Tensor]:
        """Shuffled buffers, endlessly, beginning with what follows token `start`."""
        epoch, skip = divmod(start, self.n_tokens)
        while True:
            order = np.random.default_rng([self._seed, epoch]).permutation(len(self._sizes))
            for number, first in enumerate(range(0, len(order), self._blocks_per_buffer)):
                blocks = order[first : first + self._blocks_per_buffer]
                n_rows = int(self._sizes[blocks].sum())
                if skip < n_rows:
                    yield self._shuffled(blocks, np.random.default_rng([self._seed, epoch, number]))[skip:]
                skip = max(0, skip - n_rows)
            epoch += 1

    def _shuffled(self, blocks: np.ndarray, generator: np.random.Generator) -> Tensor:
        """Read the rows of some blocks, each to its place in a seeded order: they are in memory once."""
        places = torch.from_numpy(np.argsort(generator.permutation(self._sizes[blocks].sum())))
        buffer, end = torch.empty(0), 0
        for piece in self._read(blocks):
            if end == 0:
                buffer = piece.new_empty(len(places), piece.shape[1])
            start, end = end, end + len(piece)
            buffer[places[start:end]] = piece
        return buffer


class ShuffledTokens(BlockedTokens):
    """The tokens of one split of an activations artifact."""

    def __init__(self, activations: Activations, split: str, order: OrderSettings) -> None:
        self._activations = activations
        self._rows = activations.rows_of(split)
        spans = activations.spans_of(split)
        starts = [np.arange(span.start, span.stop, order.block_tokens) for span in spans]
        stops = [np.minimum(first + order.block_tokens, span.stop) for first, span in zip(starts, spans, strict=True)]
        self._starts, self._stops = np.concatenate(starts), np.concatenate(stops)
        self._shards = np.repeat([span.shard for span in spans], [len(first) for first in starts])
        # Mapped, not read: pages come in as blocks are copied and the system may drop them again.
        self._acts = {span.shard: _mapped(activations, span.shard) for span in spans}
        super().__init__(self._stops - self._starts, order.buffer_tokens // order.block_tokens, order.seed)

    def sample(self, n_tokens: int, seed: int) -> Tensor:
        """Draw a seeded random sample of the split's rows, in their own order."""
        generator = np.random.default_rng(seed)
        chosen = generator.choice(self.n_tokens, min(n_tokens, self.n_tokens), replace=False)
        acts = self._activations.gather(np.sort(chosen) + self._rows.start)
        if bool((acts == acts[0]).all()):
            problem = "all sampled activations are equal, so there is nothing to learn; is this the right hookpoint?"
            raise ArtifactError(self._activations.artifact.path, problem)
        return acts

    def _read(self, blocks: np.ndarray) -> Iterator[Tensor]:
        for block in blocks:
            rows = self._acts[int(self._shards[block])][self._starts[block] : self._stops[block]]
            yield self._activations.finite(rows)


def _mapped(activations: Activations, shard: int) -> Tensor:
    """Map a shard's activations; raises ArtifactError where they are not what the manifest says."""
    acts, dtype = activations.read(shard).acts, activations.artifact.manifest.counts["dtype"]
    found = f"{str(acts.dtype).removeprefix('torch.')} of width {acts.shape[1]}"
    if found != f"{dtype} of width {activations.width}":
        problem = f"holds {found}, the manifest says {dtype} of width {activations.width}; collect again"
        raise ArtifactError(activations.artifact.path / shard_name(shard), problem)
    return acts
