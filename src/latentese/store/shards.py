"""Activations in safetensors shards: written as they come, read through a memory map.

A shard holds `acts [n_tokens, width]` (bf16 or fp32) of whole contexts, in context order, counted positions only;
`context [n_tokens]` int32 and `position [n_tokens]` int16 say where each row comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from latentese.errors import ArtifactError, SettingError
from latentese.store.artifact import Artifact, open_artifact
from latentese.store.files import whole_file


def shard_name(shard: int) -> str:
    """File name of the shard with this number."""
    return f"shard-{shard:05d}.safetensors"


def write_shard(tensors: dict[str, torch.Tensor], path: Path, notes: dict[str, str] | None = None) -> None:
    """Write one safetensors file, whole or not at all; `notes` are kept in its header."""
    with whole_file(path) as part:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, notes)


@dataclass(frozen=True)
class Shard:
    """The activations of one run of contexts."""

    acts: torch.Tensor
    """[n_tokens, width], memory-mapped."""
    context: np.ndarray
    """[n_tokens] int32: the context of each row."""
    position: np.ndarray
    """[n_tokens] int16: its position in that context."""


@dataclass(frozen=True)
class Span:
    """A run of rows of one shard."""

    shard: int
    start: int
    stop: int


class Activations:
    """Reader of a published activations artifact.

    Counts in its manifest: n_tokens, width, dtype, n_shards, shard_rows (rows of each shard) and rows (for each
    split its range [start, stop] over all shards in order).
    """

    def __init__(self, path: Path) -> None:
        self.artifact: Artifact = open_artifact(path, "activations")
        counts = self.artifact.manifest.counts
        self.n_tokens: int = counts["n_tokens"]
        self.width: int = counts["width"]
        self.n_shards: int = counts["n_shards"]
        self.shard_rows: tuple[int, ...] = tuple(counts["shard_rows"])

    def shards(self) -> Iterator[Shard]:
        """Read the shards in context order, one in memory at a time."""
        for shard in range(self.n_shards):
            yield self.read(shard)

    def read(self, shard: int) -> Shard:
        """Map one shard."""
        with safe_open(self.artifact.file(shard_name(shard)), framework="pt") as file:
            return Shard(
                file.get_tensor("acts"), file.get_tensor("context").numpy(), file.get_tensor("position").numpy()
            )

    def rows_of(self, split: str) -> range:
        """Row numbers of a split, over all shards in order."""
        rows = self.artifact.manifest.counts["rows"]
        start, stop = rows.get(split, (0, 0))
        if start == stop:
            present = [name for name, (first, last) in rows.items() if last > first]
            raise SettingError("split", split, f"{self.artifact.path} holds tokens of {present} only")
        return range(start, stop)

    def spans_of(self, split: str) -> list[Span]:
        """List the rows of a split as runs, at most one per shard."""
        rows = self.rows_of(split)
        starts = np.concatenate([[0], np.cumsum(self.shard_rows)])
        spans = [
            Span(shard, max(rows.start - start, 0), min(rows.stop - start, n_rows))
            for shard, (start, n_rows) in enumerate(zip(starts[:-1].tolist(), self.shard_rows, strict=True))
        ]
        return [span for span in spans if span.start < span.stop]

    def gather(self, rows: np.ndarray) -> torch.Tensor:
        """Read rows by number (sorted, over all shards) as fp32 [n_rows, width]."""
        starts = np.concatenate([[0], np.cumsum(self.shard_rows)])
        cuts = np.searchsorted(rows, starts)
        acts = torch.empty(len(rows), self.width)
        for shard in range(self.n_shards):
            low, high = int(cuts[shard]), int(cuts[shard + 1])
            if low < high:
                chosen = torch.from_numpy(np.asarray(rows[low:high] - starts[shard], dtype=np.int64))
                acts[low:high] = self.read(shard).acts[chosen].float()
        return self.finite(acts)

    def finite(self, acts: torch.Tensor) -> torch.Tensor:
        """Return `acts` if all are finite; else stop: one bad value would spoil every weight that follows."""
        # One NaN or infinity makes the sum one too, and a sum is many times faster than a look at each value.
        if not bool(torch.isfinite(acts.sum(dtype=torch.float64))):
            problem = "holds NaN or infinite activations; collect again, with dtype fp32 if bf16 overflowed"
            raise ArtifactError(self.artifact.path, problem)
        return acts
