"""Contexts in batches, with each one's firings: what the one pass over the activations reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from latentese.store.shards import Activations, Span

SAMPLED_SPLITS = ("explain", "calibrate", "select", "test")
"""Every split but the dictionary's own."""


class Encoded(Protocol):
    """The active units of each token; entries at or below a unit's threshold count as silent."""

    @property
    def values(self) -> Tensor:
        """[n_tokens, k]."""

    @property
    def indices(self) -> Tensor:
        """[n_tokens, k] int64."""


class Encoder(Protocol):
    """What this room needs of a dictionary."""

    @property
    def n_units(self) -> int:
        """Number of units."""

    @property
    def signed(self) -> bool:
        """Whether a unit fires above a quantile of its activations instead of above 0."""

    def pre_acts(self, acts: Tensor) -> Tensor:
        """Every unit's activation before selection, [n_tokens, n_units]."""

    def encode_with_pre_acts(self, acts: Tensor) -> tuple[Encoded, Tensor]:
        """Active units, and every unit's pre-activation."""


@dataclass(frozen=True)
class ContextIndex:
    """Which document and split each context belongs to."""

    document: np.ndarray
    """[n_contexts] int; contexts of a document follow one another."""
    splits: Mapping[str, range]
    """Contexts of each split."""

    def __post_init__(self) -> None:
        n_runs = 1 + int(np.count_nonzero(np.diff(self.document))) if len(self.document) else 0
        if n_runs != len(np.unique(self.document)):
            raise ValueError("contexts of one document must follow one another")


@dataclass(frozen=True)
class Batch:
    """Whole contexts and their activations."""

    acts: Tensor
    """[n_rows, width] fp32."""
    contexts: np.ndarray
    """[n_contexts] context numbers."""
    lengths: list[int]
    """Rows of each context."""
    position: np.ndarray
    """[n_rows] position of each row in its context."""


@dataclass(frozen=True)
class BatchFirings:
    """Where units fire in a batch, and the batch's context maxima."""

    row: Tensor
    """[n_firings] row in the batch."""
    unit: Tensor
    """[n_firings]."""
    act: Tensor
    """[n_firings] fp32."""
    max_act: Tensor
    """[n_contexts, n_units]: largest activation of a unit in a context, -inf where it is silent."""
    near: Tensor
    """[n_contexts, n_units]: largest pre-activation, -inf where the unit fires."""


def batches_of(activations: Activations, span: Span, batch_contexts: int) -> Iterator[Batch]:
    """Cut a run of rows of one shard into batches of whole contexts."""
    shard = activations.read(span.shard)
    context = shard.context[span.start : span.stop]
    starts = np.flatnonzero(np.diff(context, prepend=-1))
    bounds = np.append(starts, len(context))
    for first in range(0, len(starts), batch_contexts):
        last = min(first + batch_contexts, len(starts))
        rows = slice(span.start + int(bounds[first]), span.start + int(bounds[last]))
        acts = activations.finite(shard.acts[rows].float())
        lengths = np.diff(bounds[first : last + 1]).tolist()
        yield Batch(acts, context[starts[first:last]], lengths, shard.position[rows])


@torch.no_grad()
def find_firings(encoder: Encoder, batch: Batch, threshold: Tensor) -> BatchFirings:
    """Encode a batch; threshold [n_units] is what a unit must exceed to fire."""
    encoded, pre_acts = encoder.encode_with_pre_acts(batch.acts)
    row, column = (encoded.values > threshold[encoded.indices]).nonzero(as_tuple=True)
    unit, act = encoded.indices[row, column], encoded.values[row, column]
    n_contexts, n_units = len(batch.contexts), len(threshold)
    context_of_row = torch.arange(n_contexts).repeat_interleave(torch.tensor(batch.lengths))
    max_act = torch.full((n_contexts * n_units,), -torch.inf)
    max_act.scatter_reduce_(0, context_of_row[row] * n_units + unit, act, "amax")
    max_act = max_act.view(n_contexts, n_units)
    near = torch.stack([rows.amax(dim=0) for rows in torch.split(pre_acts, batch.lengths)])
    return BatchFirings(row, unit, act, max_act, near.masked_fill_(max_act > -torch.inf, -torch.inf))
