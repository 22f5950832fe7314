"""Which units fire for one source of text and not for the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from latentese.corpus.contexts import Contexts
from latentese.dictionaries.base import Dictionary
from latentese.errors import SettingError
from latentese.evaluation.sampling import known_split
from latentese.examples.settings import SampleSettings
from latentese.examples.thresholds import fire_thresholds
from latentese.store.shards import Activations

BATCH_TOKENS = 2048


@dataclass(frozen=True)
class FiringSample:
    """The tokens on which firing is counted."""

    split: str = "explain"
    """Never the contexts that are measured: a unit chosen there would be chosen for its luck."""
    n_tokens: int = 16_384
    seed: int = 0

    def __post_init__(self) -> None:
        known_split(self.split)
        if self.n_tokens < 1:
            raise SettingError("selection.n_tokens", self.n_tokens, "at least 1")


@dataclass(frozen=True)
class Firing:
    """How often each unit fires in each source, on a sample."""

    sources: tuple[str, ...]
    density: np.ndarray
    """[n_sources, n_units]: share of the source's tokens on which the unit fires."""
    max_act: np.ndarray
    """[n_units]: largest activation on the sample, 0 for a unit that never fires."""


class Chosen(NamedTuple):
    """A unit, and the source in which it fires most."""

    unit: int
    source: str


@torch.no_grad()
def firing_by_source(
    dictionary: Dictionary, activations: Activations, contexts: Contexts, sample: FiringSample
) -> Firing:
    """Count firings on a seeded draw of tokens, source by source."""
    threshold = fire_thresholds(dictionary, activations, _thresholds(sample))
    rows, source_of_row = _draw(activations, contexts, sample)
    sources, place = np.unique(source_of_row, return_inverse=True)
    counts = torch.zeros(len(sources), dictionary.n_units, dtype=torch.int64)
    max_act = torch.zeros(dictionary.n_units)
    for start in range(0, len(rows), BATCH_TOKENS):
        batch = slice(start, start + BATCH_TOKENS)
        unit, act, row = _firings(dictionary, activations.gather(rows[batch]), threshold)
        cell = torch.from_numpy(place[batch])[row] * dictionary.n_units + unit
        counts += torch.bincount(cell, minlength=counts.numel()).view_as(counts)
        max_act.scatter_reduce_(0, unit, act, "amax")
    n_tokens = np.bincount(place, minlength=len(sources))
    return Firing(tuple(sources.tolist()), counts.numpy() / n_tokens[:, None], max_act.numpy())


def selective_units(firing: Firing, per_source: int) -> list[Chosen]:
    """Choose for each source the units whose density there exceeds that in every other source by most.

    A unit that some other source makes fire as often is selective for none.
    """
    chosen: list[Chosen] = []
    for place, source in enumerate(firing.sources):
        others = np.delete(firing.density, place, axis=0).max(axis=0, initial=0.0)
        margin = firing.density[place] - others
        best = np.argsort(-margin, kind="stable")[:per_source]
        chosen += [Chosen(int(unit), source) for unit in best if margin[unit] > 0]
    return chosen


def _firings(dictionary: Dictionary, acts: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the unit, activation and row of every firing on acts [n_tokens, d_model]."""
    unit_acts = dictionary.encode(acts)
    row, column = (unit_acts.values > threshold[unit_acts.indices]).nonzero(as_tuple=True)
    return unit_acts.indices[row, column], unit_acts.values[row, column], row


def _draw(activations: Activations, contexts: Contexts, sample: FiringSample) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows of the activations, in order, and name each one's source."""
    rows = np.asarray(activations.rows_of(sample.split))
    n_drawn = min(sample.n_tokens, len(rows))
    drawn = np.sort(np.random.default_rng(sample.seed).choice(len(rows), n_drawn, replace=False))
    numbers = contexts.of_split(known_split(sample.split))
    # Rows are the counted positions of a split's contexts, in order.
    n_counted = contexts.keep[torch.from_numpy(numbers)].sum(dim=1).numpy()
    source = contexts.table["source"].to_numpy()[numbers]
    return rows[drawn], np.repeat(source, n_counted)[drawn]


def _thresholds(sample: FiringSample) -> SampleSettings:
    """Say what firing means, in the settings of the examples; no example is chosen here."""
    return SampleSettings(n_top=0, n_quantile=0, n_random=0, n_near_miss=0, n_pool_contexts=0, seed=sample.seed)
