"""Running statistics of every unit on `explain` tokens: their size does not depend on how many tokens there are."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from torch import Tensor

from latentese.examples.stream import Batch, BatchFirings
from latentese.schemas import UNITS

HISTOGRAM_EDGES = tuple(2.0 ** (half / 2) for half in range(-20, 21))
"""Half octaves from 2^-10 to 2^10, the same for every unit and every run; what lies outside falls in the end bins."""


class UnitStatistics:
    """Counts, sums and histograms, added batch by batch."""

    def __init__(self, n_units: int) -> None:
        self.n_units = n_units
        self.n_tokens = 0
        self.n_fires = torch.zeros(n_units, dtype=torch.int64)
        self.sum_act = torch.zeros(n_units, dtype=torch.float64)
        self.max_act = torch.zeros(n_units)
        self.n_documents = torch.zeros(n_units, dtype=torch.int64)
        self.histogram = torch.zeros(n_units, len(HISTOGRAM_EDGES) - 1, dtype=torch.int64)
        self._inner_edges = torch.tensor(HISTOGRAM_EDGES[1:-1])
        self._last_document = torch.full((n_units,), -1, dtype=torch.int64)

    def add_(self, batch: Batch, firings: BatchFirings, document: np.ndarray) -> None:
        """Add a batch; document [n_contexts of the batch] numbers each context's document."""
        self.n_tokens += len(batch.acts)
        self.n_fires += torch.bincount(firings.unit, minlength=self.n_units)
        self.sum_act += torch.bincount(firings.unit, firings.act.double(), self.n_units)
        self.max_act = torch.maximum(self.max_act, firings.max_act.amax(dim=0))
        n_bins = self.histogram.shape[1]
        cell = firings.unit * n_bins + torch.bucketize(firings.act, self._inner_edges, right=True)
        self.histogram += torch.bincount(cell, minlength=self.histogram.numel()).view_as(self.histogram)
        self._count_documents_(firings.max_act > -torch.inf, document)

    def _count_documents_(self, fires: Tensor, document: np.ndarray) -> None:
        """Count each document once per unit, also one that goes on in the next batch."""
        numbers, lengths = np.unique(document, return_counts=True)
        for number, rows in zip(numbers.tolist(), torch.split(fires, lengths.tolist()), strict=True):
            new = rows.any(dim=0) & (self._last_document != number)
            self.n_documents += new
            self._last_document[new] = number

    def live_units(self, min_documents: int) -> np.ndarray:
        """Units that fire in at least so many documents."""
        return np.flatnonzero(self.n_documents.numpy() >= min_documents)

    def table(self, threshold: Tensor, draw: np.ndarray) -> pl.DataFrame:
        """One row per unit; `draw` [n_units] is its place in the draw, -1 for none."""
        n_fires = self.n_fires.numpy()
        columns = {
            "unit": np.arange(self.n_units),
            "n_fires": n_fires,
            "density": n_fires / max(1, self.n_tokens),
            "max_act": self.max_act.numpy(),
            "mean_act": self.sum_act.numpy() / np.maximum(1, n_fires),
            "threshold": threshold.numpy(),
            "n_documents": self.n_documents.numpy(),
            "draw": draw,
            "histogram": self.histogram.tolist(),
        }
        table = pl.DataFrame(columns).with_columns(draw=pl.when(pl.col("draw") >= 0).then("draw"))
        return table.cast(UNITS).select(UNITS.names())


def draw_units(live: np.ndarray, n_units: int, seed: int) -> np.ndarray:
    """Place of each unit in a seeded draw among the live ones, [n_units], -1 for the others.

    A study takes the first n, so a larger study holds the smaller one.
    """
    draw = np.full(n_units, -1)
    draw[np.random.default_rng([seed, 1]).permutation(live)] = np.arange(len(live))
    return draw
