"""How few outputs a unit touches: the sparsity of what changes when one active unit is ablated at one token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor
from tqdm import tqdm

from latentese.dictionaries.base import Dictionary
from latentese.dictionaries.neurons import Neurons
from latentese.errors import SettingError
from latentese.evaluation.base import Evaluated, Findings
from latentese.evaluation.edits import add, pick_active
from latentese.evaluation.sampling import known_split
from latentese.evaluation.tokens import ratio_of_sums
from latentese.metrics.intervals import Bootstrap, document_interval
from latentese.subject.intervene import Intervention, intervene_at
from latentese.weights.load import DTYPES

GAUSSIAN = 2 / pi
"""Sparsity of noise: (E|x|)^2 / E x^2 of a Gaussian x."""

ABLATIONS = pl.Schema(
    {
        "context": pl.Int32,
        "document": pl.Int32,
        "source": pl.String,
        "position": pl.Int16,
        "basis": pl.String,
        "unit": pl.Int32,
        "value": pl.Float32,
        "sparsity": pl.Float64,
    }
)
"""One row per token and basis (`units` of the dictionary, `channels` of the activation); unit, value and sparsity are
null where no unit is active, sparsity also where the ablation changes no logit."""


@dataclass(frozen=True)
class AblationSparsity:
    """Sparsity (|v|_1 / |v|_2)^2 / (V T) of the change v that the ablation of one active unit makes in the logits.

    v: logit differences at the token and at the next T - 1 positions, each less its median over the vocabulary of V
    tokens (the softmax does not see a constant), concatenated. 1 / (V T) when a single logit changes, 1 when all change
    alike, 2/pi for Gaussian noise. Gao et al. 2024, section 4.5. The unit's part alone is taken out: what the
    dictionary does not explain stays.

    Figures: units and channels {value, low, high, n_ablations, n_undefined}, gaussian, n_positions. Table: `ablations`.
    """

    name: str = "ablation_sparsity"
    split: str = "test"
    n_ablations: int = 64
    """A seeded draw of tokens, and of one active unit at each."""
    n_positions: int = 16
    """T: the token and those after it; tokens too near the end of a context take no part."""
    batch_contexts: int = 8
    dtype: str = "float32"
    """Of the subject's arithmetic here: a difference of bfloat16 logits is largely rounding noise, which is dense."""
    n_boot: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        known_split(self.split)
        for name in ("n_ablations", "n_positions", "batch_contexts"):
            if getattr(self, name) < 1:
                raise SettingError(f"evaluations.{self.name}.{name}", getattr(self, name), "at least 1")
        if self.dtype not in DTYPES:
            raise SettingError(f"evaluations.{self.name}.dtype", self.dtype, f"one of {', '.join(DTYPES)}")
        self.bootstrap  # noqa: B018  (checks its fields before anything is measured)

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are computed."""
        return Bootstrap(self.n_boot, self.level, self.seed)

    def measure(self, evaluated: Evaluated) -> Findings:
        """Ablate a draw of active units, and as many channels at the same tokens."""
        tokens = self._draw_tokens(evaluated)
        if not len(tokens):
            return Findings.none(f"no context of {self.split} has {self.n_positions} positions that count in a row")
        bases: dict[str, Dictionary] = {"units": evaluated.dictionary}
        if not isinstance(evaluated.dictionary, Neurons):  # whose units are the channels
            bases["channels"] = Neurons(evaluated.dictionary.d_model)
        intervention = intervene_at(evaluated.load_subject().in_dtype(self.dtype), evaluated.hookpoint)
        table = _table(list(self._ablate_all(evaluated, intervention, tokens, bases)), evaluated)
        figures = {basis: self._figures(table.filter(basis=basis)) for basis in bases}
        return Findings({**figures, "gaussian": GAUSSIAN, "n_positions": self.n_positions}, {"ablations": table})

    def _draw_tokens(self, evaluated: Evaluated) -> np.ndarray:
        """Draw tokens with enough positions behind them: [n_tokens, 2], context and position, in order."""
        numbers = evaluated.contexts.of_split(known_split(self.split))
        keep = evaluated.contexts.keep[torch.from_numpy(numbers)].bool()
        if not keep.numel() or keep.shape[1] < self.n_positions:
            return np.empty((0, 2), dtype=np.int64)
        context, position = keep.unfold(1, self.n_positions, 1).all(dim=2).numpy().nonzero()
        n_drawn = min(self.n_ablations, len(context))
        chosen = np.sort(np.random.default_rng(self.seed).choice(len(context), n_drawn, replace=False))
        return np.stack([numbers[context[chosen]], position[chosen]], axis=1)

    def _ablate_all(
        self, evaluated: Evaluated, intervention: Intervention, tokens: np.ndarray, bases: Mapping[str, Dictionary]
    ) -> Iterator[tuple[Any, ...]]:
        """Rows (context, position, basis, unit, value, sparsity), token by token."""
        chance = torch.from_numpy(np.random.default_rng([self.seed, 1]).random((len(tokens), len(bases))))
        with tqdm(total=len(tokens), unit="token", desc=self.name, disable=None) as bar:
            for batch in torch.split(torch.arange(len(tokens)), self.batch_contexts):
                contexts, positions = torch.from_numpy(tokens)[batch].T
                at = torch.arange(len(batch)), positions
                reading = intervention.read(evaluated.contexts.token_ids[contexts], evaluated.contexts.keep[contexts])
                original = self._affected(intervention.logits(reading), positions)
                where = torch.zeros_like(reading.keep)
                where[at] = True
                for number, (basis, dictionary) in enumerate(bases.items()):
                    picked = pick_active(dictionary, reading.acts[at].cpu(), chance[batch, number])
                    ablated = self._affected(intervention.logits(reading, add(-picked.part), where), positions)
                    columns = (contexts, positions, picked.unit, picked.value, effect_sparsity(ablated - original))
                    for context, position, *found in zip(*(column.tolist() for column in columns), strict=True):
                        yield context, position, basis, *found
                bar.update(len(batch))

    def _affected(self, logits: Tensor, positions: Tensor) -> Tensor:
        """Logits of each row's own T positions: [n_contexts, T, n_vocab] fp32."""
        steps = positions[:, None] + torch.arange(self.n_positions)
        return logits[torch.arange(len(logits))[:, None], steps].float()

    def _figures(self, rows: pl.DataFrame) -> dict[str, Any]:
        """Mean sparsity over ablations, with its interval over documents."""
        defined = rows.drop_nulls("sparsity")
        by_document = defined.group_by("document", maintain_order=True).agg(pl.col("sparsity").sum(), n=pl.len())
        sums = by_document.select("sparsity", "n").to_numpy().astype(np.float64)
        interval = document_interval(sums, ratio_of_sums, self.bootstrap)
        return {**interval._asdict(), "n_ablations": defined.height, "n_undefined": rows.height - defined.height}


def effect_sparsity(differences: Tensor) -> Tensor:
    """Sparsity of logit differences [n_ablations, T, n_vocab]: [n_ablations] fp64, NaN where no logit changes."""
    v = (differences - differences.median(dim=2, keepdim=True).values).flatten(1)
    size = torch.linalg.vector_norm(v, ord=1, dim=1, dtype=torch.float64)
    length = torch.linalg.vector_norm(v, dim=1, dtype=torch.float64)
    sparsity: Tensor = (size / length).square() / v.shape[1]
    return sparsity.cpu()


def _table(rows: list[tuple[Any, ...]], evaluated: Evaluated) -> pl.DataFrame:
    """Join rows with their contexts; schema `ABLATIONS`."""
    columns = ["context", "position", "basis", "unit", "value", "sparsity"]
    table = pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        pl.col("context").cast(pl.Int32),
        sparsity=pl.col("sparsity").fill_nan(None),
        silent=pl.col("unit") < 0,
    )
    silenced = [pl.when("silent").then(None).otherwise(pl.col(name)).alias(name) for name in ("unit", "value")]
    contexts = evaluated.contexts.table.select("context", "document", "source")
    joined = table.with_columns(silenced).join(contexts, on="context", how="left", maintain_order="left")
    return joined.select(ABLATIONS.names()).cast(ABLATIONS)
