"""What the reconstruction costs the subject: its next-token predictions with the reconstruction in its stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor
from tqdm import tqdm

from latentese.errors import SettingError
from latentese.evaluation.base import Evaluated, Findings
from latentese.evaluation.compute_equivalent import Checkpoint, check_series, compute_of
from latentese.evaluation.edits import reconstruct, reconstructs_exactly
from latentese.evaluation.predictions import (
    counted_predictions,
    cross_entropies,
    divergences,
    read_logits,
    sum_counted,
)
from latentese.evaluation.sampling import draw, known_split, predicting_contexts, sample_acts
from latentese.metrics.correlation import Floats, Metric
from latentese.metrics.intervals import Bootstrap, document_interval
from latentese.subject.intervene import Edit, Intervention, intervene_at
from latentese.subject.model import Subject, load_subject
from latentese.weights.source import ModelSource

PATCHES = ("reconstruction", "zero", "mean")
"""What takes the place of the activations."""

SUMS = ("n_tokens", "ce_original", *(f"{kind}_{patch}" for kind in ("ce", "kl") for patch in PATCHES))
"""What is added up over predictions, in nats: cross-entropies, and KL(original || patched)."""

CONTEXTS = pl.Schema(
    {
        "context": pl.Int32,
        "document": pl.Int32,
        "source": pl.String,
        "n_tokens": pl.Int64,
        **dict.fromkeys(SUMS[1:], pl.Float64),
    }
)
"""One row per context: counted predictions, and nats per prediction."""

SERIES = pl.Schema({"compute": pl.Float64, "cross_entropy": pl.Float64})


@dataclass(frozen=True)
class Downstream:
    """Cross-entropy and KL of the subject with the reconstruction in its stream, against zero and mean ablation.

    Figures: cross_entropy {original, and of each patch: reconstruction, zero, mean}, cross_entropy_change and kl {of
    each patch}, recovered {zero, mean}: (ablated - reconstructed) / (ablated - original), 1 when nothing is lost and 0
    when the ablation is as good; null where ablation does no harm. Intervals resample documents. With a `series`:
    compute {original, reconstruction, fraction}. Tables: `contexts` (schema `CONTEXTS`), and `series`.
    """

    name: str = "downstream"
    split: str = "test"
    n_contexts: int = 64
    """A seeded draw: each is read once up to the hookpoint and four times behind it."""
    batch_contexts: int = 8
    """Logits of so many contexts are in memory at once, twice."""
    mean_split: str = "explain"
    """Where the mean activation comes from: never the measured tokens."""
    mean_tokens: int = 8192
    series: Sequence[Checkpoint] = ()
    """Checkpoints of known training compute, for the compute-equivalent."""
    n_boot: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        known_split(self.split)
        for name in ("n_contexts", "batch_contexts", "mean_tokens"):
            if getattr(self, name) < 1:
                raise SettingError(f"evaluations.{self.name}.{name}", getattr(self, name), "at least 1")
        if self.mean_split == self.split:
            allowed = "another than split: the mean never comes from measured tokens"
            raise SettingError(f"evaluations.{self.name}.mean_split", self.mean_split, allowed)
        check_series(self.series, f"evaluations.{self.name}.series")
        self.bootstrap  # noqa: B018  (checks its fields before anything is measured)

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are computed."""
        return Bootstrap(self.n_boot, self.level, self.seed)

    def measure(self, evaluated: Evaluated) -> Findings:
        """Run the subject on a draw of contexts, as it is and with each patch."""
        numbers = draw(predicting_contexts(evaluated.contexts, self.split), self.n_contexts, self.seed)
        if not len(numbers):
            return Findings.none(f"no context of {self.split} has two tokens that count")
        sample = sample_acts(evaluated.activations, self.mean_split, self.mean_tokens, self.seed)
        if reconstructs_exactly(evaluated.dictionary, sample):
            return Findings.none("the reconstruction is exact, so it changes nothing")
        mean = sample.mean(dim=0)
        edits: Mapping[str, Edit] = {
            "reconstruction": reconstruct(evaluated.dictionary),
            "zero": torch.zeros_like,
            "mean": lambda acts: mean.expand(len(acts), -1),
        }
        subject = evaluated.load_subject()
        series = self._series(evaluated, subject, numbers)
        sums = self._run(evaluated, intervene_at(subject, evaluated.hookpoint), numbers, edits)
        table = _table(evaluated, numbers, sums)
        figures = figures_of(table, self.bootstrap)
        if not series:
            return Findings(figures, {"contexts": table})
        rows = pl.DataFrame(series, schema=SERIES, orient="row")
        return Findings({**figures, "compute": _compute(figures, series)}, {"contexts": table, "series": rows})

    def _run(
        self, evaluated: Evaluated, intervention: Intervention, numbers: np.ndarray, edits: Mapping[str, Edit]
    ) -> Tensor:
        """Add up each context's counted predictions: [n_contexts, len(SUMS)]."""
        sums = []
        with tqdm(total=len(numbers), unit="context", desc=self.name, disable=None) as bar:
            for rows in torch.split(torch.from_numpy(numbers), self.batch_contexts):
                token_ids, keep = evaluated.contexts.token_ids[rows], evaluated.contexts.keep[rows]
                sums.append(patched_sums(intervention, token_ids, keep, edits))
                bar.update(len(rows))
        return torch.cat(sums)

    def _series(self, evaluated: Evaluated, subject: Subject, numbers: np.ndarray) -> list[tuple[float, float]]:
        """(compute, cross-entropy) of each checkpoint on the same contexts."""

        def measure(source: ModelSource) -> float:
            dtype = str(subject.dtype).removeprefix("torch.")
            checkpoint = load_subject(source, dtype, str(subject.device))
            if checkpoint.model.config.vocab_size != subject.model.config.vocab_size:
                raise SettingError("series.source", source.name, f"a model with the tokenizer of {subject.name}")
            return _cross_entropy(checkpoint, evaluated, numbers, self.batch_contexts)

        return [(checkpoint.compute, checkpoint.cross_entropy_by(measure)) for checkpoint in self.series]


def patched_sums(intervention: Intervention, token_ids: Tensor, keep: Tensor, edits: Mapping[str, Edit]) -> Tensor:
    """Columns `SUMS` of a batch of contexts: [n_contexts, len(SUMS)] fp64."""
    counted = counted_predictions(keep)
    reading = intervention.read(token_ids, keep)
    original = intervention.logits(reading)
    sums = {"n_tokens": counted.sum(dim=1).double()}
    sums["ce_original"] = sum_counted(cross_entropies(original, token_ids), counted)
    for patch, edit in edits.items():
        patched = intervention.logits(reading, edit)
        sums[f"ce_{patch}"] = sum_counted(cross_entropies(patched, token_ids), counted)
        sums[f"kl_{patch}"] = sum_counted(divergences(original, patched), counted)
    return torch.stack([sums[name] for name in SUMS], dim=1)


def _cross_entropy(subject: Subject, evaluated: Evaluated, numbers: np.ndarray, batch_contexts: int) -> float:
    """Nats per counted prediction."""
    total = n_tokens = 0.0
    for rows in torch.split(torch.from_numpy(numbers), batch_contexts):
        token_ids, counted = evaluated.contexts.token_ids[rows], counted_predictions(evaluated.contexts.keep[rows])
        total += float(sum_counted(cross_entropies(read_logits(subject, token_ids), token_ids), counted).sum())
        n_tokens += float(counted.sum())
    return total / n_tokens


def _table(evaluated: Evaluated, numbers: np.ndarray, sums: Tensor) -> pl.DataFrame:
    """One row per context; schema `CONTEXTS`."""
    columns = dict(zip(SUMS, sums.T.numpy(), strict=True))
    per_token = {name: column / columns["n_tokens"] for name, column in columns.items() if name != "n_tokens"}
    table: pl.DataFrame = evaluated.contexts.table[numbers.tolist()].select("context", "document", "source")
    return table.with_columns(n_tokens=columns["n_tokens"], **per_token).cast(CONTEXTS)


def figures_of(table: pl.DataFrame, bootstrap: Bootstrap) -> dict[str, Any]:
    """Figures of a table of schema `CONTEXTS`, tokens weighing the same, with intervals over documents."""
    weighted = [pl.col("n_tokens").sum(), *((pl.col(name) * pl.col("n_tokens")).sum() for name in SUMS[1:])]
    by_document = table.group_by("document", maintain_order=True).agg(weighted).select(SUMS).to_numpy()

    def interval(metric: Metric) -> dict[str, float | None]:
        return document_interval(by_document, metric, bootstrap)._asdict()

    total = dict(zip(SUMS, by_document.sum(axis=0).tolist(), strict=True))
    return {
        "n_contexts": table.height,
        "n_documents": len(by_document),
        "n_tokens": int(total["n_tokens"]),
        "cross_entropy": {name: total[f"ce_{name}"] / total["n_tokens"] for name in ("original", *PATCHES)},
        "cross_entropy_change": {patch: interval(_difference(f"ce_{patch}", "ce_original")) for patch in PATCHES},
        "kl": {patch: interval(_per_token(f"kl_{patch}")) for patch in PATCHES},
        "recovered": {patch: interval(_recovered(patch)) for patch in PATCHES if patch != "reconstruction"},
    }


def _per_token(name: str) -> Metric:
    return lambda sums: sums[..., SUMS.index(name)] / sums[..., 0]


def _difference(name: str, of: str) -> Metric:
    return lambda sums: (sums[..., SUMS.index(name)] - sums[..., SUMS.index(of)]) / sums[..., 0]


def _recovered(ablation: str) -> Metric:
    """Share of an ablation's harm that the reconstruction does not do; not defined where ablation does none."""
    ablated, recon, original = (SUMS.index(name) for name in (f"ce_{ablation}", "ce_reconstruction", "ce_original"))

    def recovered(sums: Floats) -> Floats:
        harm = sums[..., ablated] - sums[..., original]
        harm = np.where(harm > 0, harm, np.nan)
        return np.asarray((sums[..., ablated] - sums[..., recon]) / harm)

    return recovered


def _compute(figures: Mapping[str, Any], series: Sequence[tuple[float, float]]) -> dict[str, float | None]:
    """Training compute of models as good as the subject as it is and with the reconstruction; their ratio."""
    names = ("original", "reconstruction")
    original, recon = (compute_of(figures["cross_entropy"][name], series) for name in names)
    fraction = recon / original if original is not None and recon is not None else None
    return {"original": original, "reconstruction": recon, "fraction": fraction}
