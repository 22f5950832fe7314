"""Rows of activations with the labels of every probe task, and balanced draws of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from latentese.evaluation.base import Evaluated
from latentese.evaluation.labels import NEGATIVE, POSITIVE, Labels, Passage
from latentese.evaluation.tasks import Task
from latentese.records import Split


@dataclass(frozen=True)
class LabelledRows:
    """Tokens of one split."""

    rows: np.ndarray
    """[n_tokens] int64, rising: row of activations, over all shards in order."""
    document: np.ndarray
    """[n_tokens] int64."""
    labels: Labels
    """[n_tasks, n_tokens]."""


@dataclass(frozen=True)
class ContextDraw:
    """Which contexts are labelled: their number is what labels cost, and holds in memory."""

    split: Split
    n_contexts: int
    seed: int


def label_rows(
    evaluated: Evaluated,
    tasks: Sequence[Task],
    code_sources: Collection[str],
    draw: ContextDraw,
    advance: Callable[[int], object],
) -> LabelledRows:
    """Label the counted tokens of drawn contexts; `advance` hears how many contexts are done."""
    numbers = evaluated.contexts.of_split(draw.split)
    n_drawn = min(draw.n_contexts, len(numbers))
    drawn = np.random.default_rng(draw.seed).choice(numbers, n_drawn, replace=False)
    rows, documents, labels = [], [], []
    starts = np.concatenate([[0], np.cumsum(evaluated.activations.shard_rows)])
    for span in evaluated.activations.spans_of(draw.split):
        shard = evaluated.activations.read(span.shard)
        local = span.start + np.flatnonzero(np.isin(shard.context[span.start : span.stop], drawn))
        if len(local) == 0:
            continue
        present, first = np.unique(shard.context[local], return_index=True)
        for context, of_context in zip(evaluated.contexts.get(present), np.split(local, first[1:]), strict=True):
            passage = Passage(context, context.source in code_sources)
            positions = shard.position[of_context]
            rows.append(starts[span.shard] + of_context)
            documents.append(np.full(len(of_context), context.document))
            labels.append(np.stack([task.label(passage)[positions] for task in tasks]))
            advance(1)
    return LabelledRows(np.concatenate(rows), np.concatenate(documents), np.concatenate(labels, axis=1))


@dataclass(frozen=True)
class Balance:
    """As many positives as negatives, and how few are too few."""

    n_per_class: int
    min_per_class: int
    min_documents: int

    def draw(self, labels: Labels, document: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        """Draw places of tokens, rising; labels, document [n_tokens]. None when a class is too small."""
        classes = [np.flatnonzero(labels == wanted) for wanted in (POSITIVE, NEGATIVE)]
        n_each = min(self.n_per_class, *(len(places) for places in classes))
        n_documents = min(len(np.unique(document[places])) for places in classes)
        if n_each < self.min_per_class or n_documents < self.min_documents:
            return None
        return np.sort(np.concatenate([rng.choice(places, n_each, replace=False) for places in classes]))
