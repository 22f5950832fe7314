"""Progressive recovery: what is left to explain when fewer or more latents are kept than the dictionary was fitted for.

Gao et al. 2024, section 5.3: a code is progressive when its largest latents alone already reconstruct well. Latents
are kept in two ways, both from the pre-activations: the k' largest of each token, or all above one threshold, the same
for every token, that keeps k' on average (over the tokens of another split).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl
import torch
from torch import Tensor
from tqdm import tqdm

from latentese.dictionaries.base import Dictionary, UnitActs
from latentese.errors import SettingError
from latentese.evaluation.base import Evaluated, Findings
from latentese.evaluation.tokens import DocumentSums, draw_rows, ratio_of_sums, seen_mean, token_batches
from latentese.metrics.intervals import Bootstrap, document_interval

TABLE = pl.Schema(
    {
        "keeps": pl.String(),
        "k": pl.Int64(),
        "threshold": pl.Float64(),
        "fvu": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "l0": pl.Float64(),
    }
)
"""`keeps` is `largest` or `above_threshold`; `l0` is the mean number of latents that were not zero."""


class _Curve(NamedTuple):
    """One way of keeping latents, with what it costs."""

    k: int
    threshold: float | None
    sums: DocumentSums
    """Squared error, squared distance from the mean, latents kept, tokens."""


@dataclass(frozen=True)
class Progressive:
    """fvu when the k' largest latents, or all above a threshold, are kept. Intervals resample documents."""

    name: str = "progressive"
    ks: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128)
    """Those above the number of units are left out."""
    split: str = "test"
    n_tokens: int = 8192
    """Tokens measured, drawn from `split`."""
    threshold_split: str = "select"
    """Where thresholds are chosen."""
    threshold_tokens: int = 4096
    mean_split: str = "explain"
    """Where the mean comes from that fvu compares with."""
    mean_tokens: int = 32_768
    batch_tokens: int = 1024
    n_boot: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1 or list(self.ks) != sorted(set(self.ks)):
            raise SettingError(f"evaluations.{self.name}.ks", list(self.ks), "rising, each at least 1")
        for name in ("n_tokens", "threshold_tokens", "mean_tokens", "batch_tokens", "n_boot"):
            if getattr(self, name) < 1:
                raise SettingError(f"evaluations.{self.name}.{name}", getattr(self, name), "at least 1")
        if self.threshold_split == self.split:
            allowed = "another than split: thresholds are measured there"
            raise SettingError(f"evaluations.{self.name}.threshold_split", self.threshold_split, allowed)
        self.bootstrap  # noqa: B018  (checks its fields before anything is measured)

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are computed."""
        return Bootstrap(self.n_boot, self.level, self.seed)

    @torch.no_grad()
    def measure(self, evaluated: Evaluated) -> Findings:
        """Table `curves` and its figures."""
        curves = list(self._curves(evaluated))
        mean = seen_mean(evaluated.dictionary, evaluated.activations, self.mean_split, self.mean_tokens, self.seed)
        rows = draw_rows(evaluated.activations, self.split, self.n_tokens, self.seed)
        with tqdm(total=len(rows), unit="tok", unit_scale=True, desc=self.name, disable=None) as bar:
            for tokens in token_batches(evaluated, rows, self.batch_tokens):
                _add_(curves, evaluated.dictionary, tokens.acts, tokens.document, mean)
                bar.update(len(tokens.acts))
        table = pl.DataFrame([_row(curve, self.bootstrap) for curve in curves], schema=TABLE, orient="row")
        return Findings({**_figures(table), "n_tokens": len(rows)}, {"curves": table})

    def _curves(self, evaluated: Evaluated) -> Iterator[_Curve]:
        ks = [k for k in self.ks if k <= evaluated.dictionary.n_units]
        if not ks:
            allowed = f"one of at most {evaluated.dictionary.n_units}, the number of units"
            raise SettingError(f"evaluations.{self.name}.ks", list(self.ks), allowed)
        for k in ks:
            yield _Curve(k, None, DocumentSums(evaluated, 4))
        for k, threshold in zip(ks, self._thresholds(evaluated, ks), strict=True):
            yield _Curve(k, threshold, DocumentSums(evaluated, 4))

    def _thresholds(self, evaluated: Evaluated, ks: Sequence[int]) -> list[float]:
        """For each k the value that k activations per token exceed on average, at least 0.

        Of all activations only those that can matter are held: as many as the largest k keeps, and one more.
        """
        rows = draw_rows(evaluated.activations, self.threshold_split, self.threshold_tokens, self.seed)
        largest = torch.zeros(1)
        for tokens in token_batches(evaluated, rows, self.batch_tokens):
            sizes = _sizes(evaluated.dictionary.pre_acts(tokens.acts), evaluated.dictionary.signed)
            largest = torch.cat([largest, sizes.flatten()])
            largest = largest.topk(min(len(rows) * ks[-1] + 1, len(largest))).values
        return [largest[min(len(rows) * k, len(largest) - 1)].item() for k in ks]


def _sizes(pre_acts: Tensor, signed: bool) -> Tensor:
    """Give what latents are ranked by: those below 0 count as 0, unless below 0 means something."""
    return pre_acts.abs() if signed else pre_acts.relu()


def _add_(curves: Sequence[_Curve], dictionary: Dictionary, acts: Tensor, document: Tensor, mean: Tensor) -> None:
    """Add a batch to every curve. All keep a prefix of one ranking."""
    unit_acts, pre_acts = dictionary.encode_with_pre_acts(acts)
    sizes = _sizes(pre_acts, dictionary.signed)
    lowest = min(curve.threshold for curve in curves if curve.threshold is not None)
    n_ranked = max(*(curve.k for curve in curves), int((sizes > lowest).sum(dim=1).max()))
    sizes, indices = sizes.topk(n_ranked, dim=1)
    values = pre_acts.gather(1, indices)
    distance = ((acts - unit_acts.mean) / unit_acts.norm - mean).square().sum(dim=1)
    for curve in curves:
        kept = sizes > (curve.threshold or 0.0)
        if curve.threshold is None:
            kept[:, curve.k :] = False
        n_kept = kept.sum(dim=1)
        width = max(1, int(n_kept.max()))
        code = UnitActs((values * kept)[:, :width], indices[:, :width], unit_acts.mean, unit_acts.norm)
        error = ((acts - dictionary.decode(code)) / unit_acts.norm).square().sum(dim=1)
        curve.sums.add_(document, error, distance, n_kept, torch.ones(len(acts)))


def _row(curve: _Curve, bootstrap: Bootstrap) -> tuple[Any, ...]:
    """One row of the table, in the order of `TABLE`."""
    sums = curve.sums.rows
    fvu = document_interval(sums, ratio_of_sums, bootstrap)
    _, _, n_kept, n_tokens = sums.sum(axis=0)
    keeps = "largest" if curve.threshold is None else "above_threshold"
    return keeps, curve.k, curve.threshold, *fvu, n_kept / n_tokens


def _figures(table: pl.DataFrame) -> dict[str, dict[str, dict[str, float | None]]]:
    figures: dict[str, dict[str, dict[str, float | None]]] = {}
    for row in table.iter_rows(named=True):
        figures.setdefault(row["keeps"], {})[f"k{row['k']}"] = {"fvu": row["fvu"], "l0": row["l0"]}
    return figures
