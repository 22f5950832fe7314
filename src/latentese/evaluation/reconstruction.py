"""How well a dictionary reconstructs, and how many units it spends on it, on tokens it was not fitted to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor
from tqdm import tqdm

from latentese.dictionaries.base import Dictionary
from latentese.errors import SettingError
from latentese.evaluation.base import Evaluated, Findings
from latentese.evaluation.cosines import Cosines
from latentese.evaluation.densities import density_histogram, density_quantiles
from latentese.evaluation.sampling import sample_acts
from latentese.store.shards import Activations

DENSITIES = pl.Schema({"unit": pl.Int32, "n_active": pl.Int64, "density": pl.Float64})

SUMS = pl.Schema({"n_tokens": pl.Int64, "n_active": pl.Int64, "error": pl.Float64, "distance": pl.Float64})
CONTEXTS = pl.Schema([("context", pl.Int32()), ("document", pl.Int32()), *SUMS.items()])
"""What each context adds to the figures: fvu is the sum of `error` over that of `distance`, L0 that of `n_active` over
`n_tokens`. Intervals over documents are made from these."""


@dataclass(frozen=True)
class Reconstruction:
    """Variance unexplained, active units per token, cosines of tokens with their reconstruction, and densities.

    Figures: fvu, fvu_raw, l0, cosine {mean, quantiles}, n_tokens, signed; for units that are not signed also dead_share
    and density {quantiles}. Tables: `densities` (schema `DENSITIES`), `density_histogram` (`densities.HISTOGRAM`) and
    `contexts` (schema `CONTEXTS`).
    """

    name: str = "reconstruction"
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
                raise SettingError(f"evaluations.{self.name}.{name}", getattr(self, name), "at least 1")
        if self.mean_split == self.split:
            allowed = "another than split: the mean never comes from measured tokens"
            raise SettingError(f"evaluations.{self.name}.mean_split", self.mean_split, allowed)

    def measure(self, evaluated: Evaluated) -> Findings:
        """Stream the split's tokens through the dictionary, once."""
        n_tokens = len(evaluated.activations.rows_of(self.split))
        with tqdm(total=n_tokens, unit="tok", unit_scale=True, desc=self.name, disable=None) as bar:
            found = measure_reconstruction(evaluated.dictionary, evaluated.activations, self, bar.update)
        densities = found.densities()
        histogram = density_histogram(densities["density"].to_numpy(), found.n_tokens, self.bins_per_decade)
        documents = evaluated.contexts.table.select("context", "document")
        contexts = found.contexts.join(documents, on="context", maintain_order="left").select(CONTEXTS.names())
        tables = {"densities": densities, "density_histogram": histogram, "contexts": contexts.cast(CONTEXTS)}
        return Findings(_metrics(found, evaluated.dictionary.signed), tables)


@dataclass(frozen=True)
class Reconstructed:
    """Figures of one dictionary on one split."""

    fvu: float
    """Fraction of variance unexplained, in the space after the input norm, where training measures it too."""
    fvu_raw: float
    """The same in the subject's own space, where the few tokens with huge activations weigh most."""
    l0: float
    """Mean number of non-zero unit activations per token: what the reconstruction spends."""
    cosine: dict[str, float | None]
    """Mean and quantiles over tokens of the cosine of an activation and its reconstruction, in the subject's space."""
    n_tokens: int
    n_active: Tensor
    """[n_units] int64: tokens on which each unit is not zero."""
    contexts: pl.DataFrame
    """One row per context: `context` and `SUMS`."""

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
    dictionary: Dictionary, activations: Activations, settings: Reconstruction, advance: Callable[[int], object]
) -> Reconstructed:
    """Stream one split through the dictionary; `advance` hears of every batch how many tokens it had."""
    raw_mean, seen_mean = _sample_means(dictionary, activations, settings)
    errors = torch.zeros(4, dtype=torch.float64)
    n_active = torch.zeros(dictionary.n_units, dtype=torch.int64)
    cosines, sums = Cosines(), list[pl.DataFrame]()
    for acts, context in _batches(activations, settings):
        unit_acts = dictionary.encode(acts)
        recon = dictionary.decode(unit_acts)
        seen = (acts - unit_acts.mean) / unit_acts.norm
        missed = (acts - recon) / unit_acts.norm
        parts = (missed, seen - seen_mean, acts - recon, acts - raw_mean)
        squares = torch.stack([part.double().square().sum(dim=1) for part in parts])
        errors += squares.sum(dim=1)
        cosines.add_(torch.cosine_similarity(acts, recon, dim=1))
        active = unit_acts.values != 0
        n_active += torch.bincount(unit_acts.indices[active], minlength=dictionary.n_units)
        sums.append(_context_sums(context, active, squares))
        advance(len(acts))
    contexts = pl.concat(sums).group_by("context", maintain_order=True).sum()  # a batch may end within a context
    n_tokens = int(contexts["n_tokens"].sum())
    fvu, fvu_raw = (errors[0] / errors[1]).item(), (errors[2] / errors[3]).item()
    l0 = int(n_active.sum()) / n_tokens
    return Reconstructed(fvu, fvu_raw, l0, cosines.summary(), n_tokens, n_active, contexts)


def _context_sums(context: np.ndarray, active: Tensor, squares: Tensor) -> pl.DataFrame:
    """Add up the tokens of each context: context [n_tokens]; active [n_tokens, k]; squares [>= 2, n_tokens]."""
    columns = {"context": context, "n_active": active.sum(dim=1).numpy()}
    columns |= {"error": squares[0].numpy(), "distance": squares[1].numpy()}
    totals = pl.DataFrame(columns).group_by("context", maintain_order=True)
    return totals.agg(pl.len().alias("n_tokens"), pl.col("n_active", "error", "distance").sum()).cast(SUMS)


def _metrics(found: Reconstructed, signed: bool) -> dict[str, Any]:
    """Collect the figures. Signed units fire above a threshold, so for them counts of non-zeros are left out."""
    figures: dict[str, Any] = {
        "signed": signed,
        "fvu": found.fvu,
        "fvu_raw": found.fvu_raw,
        "l0": found.l0,
        "cosine": found.cosine,
        "n_tokens": found.n_tokens,
    }
    if signed:
        return figures
    density = density_quantiles(found.densities()["density"].to_numpy())
    return {**figures, "dead_share": found.dead_share, "density": density}


def _sample_means(dictionary: Dictionary, activations: Activations, settings: Reconstruction) -> tuple[Tensor, Tensor]:
    """Mean activation [d_model] of a fixed sample, before and after the input norm."""
    acts = sample_acts(activations, settings.mean_split, settings.mean_tokens, settings.seed)
    _, _, mean, norm = dictionary.encode(acts)
    return acts.mean(dim=0), ((acts - mean) / norm).mean(dim=0)


def _batches(activations: Activations, settings: Reconstruction) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Activations [n_tokens, d_model] in fp32, and the context of each."""
    for span in activations.spans_of(settings.split):
        shard, size = activations.read(span.shard), settings.batch_tokens
        for start in range(span.start, span.stop, size):
            stop = min(start + size, span.stop)
            yield activations.finite(shard.acts[start:stop].float()), shard.context[start:stop]
