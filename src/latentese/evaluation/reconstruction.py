"""How well a dictionary reconstructs, and how many units it spends on it, on tokens it was not fitted to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from latentese.dictionaries.base import Dictionary
from latentese.errors import SettingError
from latentese.store.shards import Activations

DENSITIES = pl.Schema({"unit": pl.Int32, "n_active": pl.Int64, "density": pl.Float64})


@dataclass(frozen=True)
class EvaluateSettings:
    """What is measured on, and how finely."""

    split: str = "test"
    """The tokens that are measured."""
    mean_split: str = "explain"
    """Where the constants of fvu come from: never the measured tokens, and a split that every target has."""
    mean_tokens: int = 32_768
    """Size of that fixed sample, at most."""
    batch_tokens: int = 4096
    bins_per_decade: int = 4
    """Of the histogram of log10 density."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("mean_tokens", "batch_tokens", "bins_per_decade"):
            if getattr(self, name) < 1:
                raise SettingError(f"evaluation.{name}", getattr(self, name), "at least 1")


@dataclass(frozen=True)
class Reconstruction:
    """Figures of one dictionary on one split."""

    fvu: float
    """Fraction of variance unexplained, in the space after the input norm, where training measures it too."""
    fvu_raw: float
    """The same in the subject's own space, where the few tokens with huge activations weigh most."""
    l0: float
    """Mean number of non-zero unit activations per token: what the reconstruction spends."""
    n_tokens: int
    n_active: Tensor
    """[n_units] int64: tokens on which each unit is not zero."""

    @property
    def dead_share(self) -> float:
        """Share of units that are zero on every token."""
        return float((self.n_active == 0).double().mean())

    def densities(self) -> pl.DataFrame:
        """One row per unit; schema `DENSITIES`."""
        n_active = self.n_active.numpy()
        columns = {"unit": np.arange(len(n_active)), "n_active": n_active, "density": n_active / self.n_tokens}
        return pl.DataFrame(columns).cast(DENSITIES)


@torch.no_grad()
def measure_reconstruction(
    dictionary: Dictionary, activations: Activations, settings: EvaluateSettings, advance: Callable[[int], object]
) -> Reconstruction:
    """Stream one split through the dictionary; `advance` hears of every batch how many tokens it had."""
    raw_mean, seen_mean = _sample_means(dictionary, activations, settings)
    errors = torch.zeros(4, dtype=torch.float64)
    n_active = torch.zeros(dictionary.n_units, dtype=torch.int64)
    n_tokens = 0
    for acts in _batches(activations, settings):
        unit_acts = dictionary.encode(acts)
        recon = dictionary.decode(unit_acts)
        seen = (acts - unit_acts.mean) / unit_acts.norm
        missed = (acts - recon) / unit_acts.norm
        parts = (missed, seen - seen_mean, acts - recon, acts - raw_mean)
        errors += torch.stack([part.double().square().sum() for part in parts])
        active = unit_acts.indices[unit_acts.values != 0]
        n_active += torch.bincount(active, minlength=dictionary.n_units)
        n_tokens += len(acts)
        advance(len(acts))
    fvu, fvu_raw = (errors[0] / errors[1]).item(), (errors[2] / errors[3]).item()
    return Reconstruction(fvu, fvu_raw, int(n_active.sum()) / n_tokens, n_tokens, n_active)


def _sample_means(
    dictionary: Dictionary, activations: Activations, settings: EvaluateSettings
) -> tuple[Tensor, Tensor]:
    """Mean activation [d_model] of a fixed sample, before and after the input norm."""
    rows = np.asarray(activations.rows_of(settings.mean_split))
    chosen = np.random.default_rng(settings.seed).choice(rows, min(settings.mean_tokens, len(rows)), replace=False)
    acts = activations.gather(np.sort(chosen))
    _, _, mean, norm = dictionary.encode(acts)
    return acts.mean(dim=0), ((acts - mean) / norm).mean(dim=0)


def _batches(activations: Activations, settings: EvaluateSettings) -> Iterator[Tensor]:
    for span in activations.spans_of(settings.split):
        acts = activations.read(span.shard).acts[span.start : span.stop]
        for batch in torch.split(acts, settings.batch_tokens):
            yield activations.finite(batch.float())
