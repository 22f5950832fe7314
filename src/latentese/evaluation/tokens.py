"""Tokens of one split in batches, each with its document, and sums per document: what intervals are made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentese.dictionaries.base import Dictionary
from latentese.evaluation.base import Evaluated
from latentese.store.shards import Activations

Rows = np.ndarray
"""Sorted numbers of rows of activations, int64, over all shards in order."""


@dataclass(frozen=True)
class Tokens:
    """Some tokens' activations."""

    acts: Tensor
    """[n_tokens, width] fp32."""
    document: Tensor
    """[n_tokens] int64: the document of each."""
    context: np.ndarray
    """[n_tokens] its context ..."""
    position: np.ndarray
    """[n_tokens] ... and its position there."""


def draw_rows(activations: Activations, split: str, n_tokens: int, seed: int) -> Rows:
    """Draw `n_tokens` rows of a split, or all if it has fewer."""
    rows = np.asarray(activations.rows_of(split))
    return np.sort(np.random.default_rng(seed).choice(rows, min(n_tokens, len(rows)), replace=False))


def token_batches(evaluated: Evaluated, rows: Rows, batch_tokens: int) -> Iterator[Tokens]:
    """Read the activations of `rows` in batches, none of which spans two shards."""
    activations, documents = evaluated.activations, evaluated.contexts.table["document"].to_numpy()
    start = 0
    for number, n_rows in enumerate(activations.shard_rows):
        low, high = np.searchsorted(rows, [start, start + n_rows])
        local, start = rows[low:high] - start, start + n_rows
        if len(local) == 0:
            continue
        shard = activations.read(number)
        for batch in np.split(local, range(batch_tokens, len(local), batch_tokens)):
            acts = activations.finite(shard.acts[torch.from_numpy(batch)].float())
            context = shard.context[batch]
            document = torch.from_numpy(documents[context].astype(np.int64))
            yield Tokens(acts, document, context, shard.position[batch])


class DocumentSums:
    """Sums over the tokens of each document, added batch by batch: memory grows with the documents alone."""

    def __init__(self, evaluated: Evaluated, n_sums: int) -> None:
        n_documents = evaluated.contexts.documents.height
        self._sums = torch.zeros(n_documents, n_sums, dtype=torch.float64)
        self._seen = torch.zeros(n_documents, dtype=torch.bool)

    def add_(self, document: Tensor, *columns: Tensor) -> None:
        """Add one value per token, [n_tokens] each, to each of the sums."""
        self._sums.index_add_(0, document, torch.stack([column.double() for column in columns], dim=1))
        self._seen[document] = True

    @property
    def rows(self) -> np.ndarray:
        """[n_documents, n_sums] of the documents that had tokens, in order."""
        return self._sums[self._seen].numpy()


def seen_mean(dictionary: Dictionary, activations: Activations, split: str, n_tokens: int, seed: int) -> Tensor:
    """Mean activation [d_model] behind the input norm, of a fixed sample: what fvu compares with."""
    acts = activations.gather(draw_rows(activations, split, n_tokens, seed))
    _, _, mean, norm = dictionary.encode(acts)
    return ((acts - mean) / norm).mean(dim=0)


def ratio_of_sums(sums: np.ndarray) -> np.ndarray:
    """First sum over second, [..., n_sums] -> [...]; NaN where the second is 0."""
    numerator, denominator = sums[..., 0], sums[..., 1]
    with np.errstate(invalid="ignore"):
        ratio: np.ndarray = np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1.0), np.nan)
    return ratio
