"""Shrinkage: how much larger the active latents would be if their values were chosen for the reconstruction alone.

Gao et al. 2024, section 5.1 (refinement): which latents are active and what each adds stays as it is, and the values,
at least 0, are optimised for each token by projected gradient:

    refined = argmin over v >= 0 of |x - b_dec - v @ W_dec[active]|^2

An L1 penalty pulls values towards 0, so that refined ones are larger; a TopK code should be left nearly as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor
from tqdm import tqdm

from latentese.dictionaries.base import Dictionary, UnitActs
from latentese.errors import SettingError
from latentese.evaluation.base import Evaluated, Findings
from latentese.evaluation.tokens import DocumentSums, Tokens, draw_rows, ratio_of_sums, seen_mean, token_batches
from latentese.metrics.intervals import Bootstrap, document_interval

EDGES = 2.0 ** (torch.arange(-20, 21, dtype=torch.float64) / 2)
"""Half octaves of the encoded value from 2^-10 to 2^10; what lies outside falls in the end bins."""

MAX_VALUES = 1 << 27
"""Half a gigabyte of fp32."""

TABLE = pl.Schema(
    {"low": pl.Float64(), "high": pl.Float64(), "n": pl.Int64(), "encoded": pl.Float64(), "refined": pl.Float64()}
)
"""Per bin of the encoded value: how many there were, and their mean before and after."""


class Decoder(NamedTuple):
    """What a dictionary's decoder does behind the input norm: values @ W_dec + b_dec."""

    W_dec: Tensor  # [n_units, d_model]
    b_dec: Tensor  # [d_model]


class Code(NamedTuple):
    """Tokens with their active latents, as vectors to be fitted."""

    x: Tensor  # [n_tokens, d_model], behind the input norm, b_dec taken off
    values: Tensor  # [n_tokens, n_active], 0 where a token has fewer
    directions: Tensor  # [n_tokens, n_active, d_model], 0 where the value is


@dataclass(frozen=True)
class Descent:
    """When projected gradient ends."""

    n_steps: int
    tolerance: float


@dataclass(frozen=True)
class Shrinkage:
    """Refined values beside encoded ones, and the fvu of both. Intervals resample documents.

    `ratio` is the sum of refined values over the sum of encoded ones: the mean ratio, each weighted by its encoded
    value. Unweighted, a few values next to 0 would decide it.
    """

    name: str = "shrinkage"
    split: str = "test"
    n_tokens: int = 4096
    """Tokens measured, drawn from `split`."""
    n_steps: int = 500
    """Steps of projected gradient, at most."""
    tolerance: float = 1e-5
    """They end when no value of a batch moves by more than this share of the batch's largest."""
    mean_split: str = "explain"
    """Where the mean comes from that fvu compares with."""
    mean_tokens: int = 32_768
    batch_tokens: int = 256
    """Held at once: so many tokens times their active latents times d_model or active latents, whichever are more; up
    to MAX_VALUES of them, or those of one token."""
    n_boot: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_tokens", "n_steps", "mean_tokens", "batch_tokens", "n_boot"):
            if getattr(self, name) < 1:
                raise SettingError(f"evaluations.{self.name}.{name}", getattr(self, name), "at least 1")
        if not self.tolerance > 0:
            raise SettingError(f"evaluations.{self.name}.tolerance", self.tolerance, "above 0")
        self.bootstrap  # noqa: B018  (checks its fields before anything is measured)

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are computed."""
        return Bootstrap(self.n_boot, self.level, self.seed)

    @torch.no_grad()
    def measure(self, evaluated: Evaluated) -> Findings:
        """Table `values` and its figures; none for units that also go below 0."""
        dictionary = evaluated.dictionary
        if dictionary.signed:
            return Findings.none("its units also go below 0, so nothing shrinks them towards 0")
        mean = seen_mean(dictionary, evaluated.activations, self.mean_split, self.mean_tokens, self.seed)
        decoder, descent = read_decoder(dictionary), Descent(self.n_steps, self.tolerance)
        sums, bins = DocumentSums(evaluated, 7), torch.zeros(len(EDGES) - 1, 3, dtype=torch.float64)
        rows = draw_rows(evaluated.activations, self.split, self.n_tokens, self.seed)
        with tqdm(total=len(rows), unit="tok", unit_scale=True, desc=self.name, disable=None) as bar:
            for tokens in token_batches(evaluated, rows, self.batch_tokens):
                for encoded, part in _parts(dictionary.encode(tokens.acts), tokens):
                    code = _code(encoded, part.acts, decoder)
                    refined = refine(code, descent)
                    _add_(sums, part.document, code, refined, (code.x + decoder.b_dec - mean).square().sum(dim=1))
                    _add_to_bins_(bins, code.values, refined)
                bar.update(len(tokens.acts))
        return Findings(_figures(sums.rows, self.bootstrap), {"values": _table(bins)})


def read_decoder(dictionary: Dictionary) -> Decoder:
    """Read the decoder's weights off what it makes of one latent at a time: every dictionary has one under any name."""
    n_units = dictionary.n_units
    mean, norm = torch.zeros(n_units, 1), torch.ones(n_units, 1)
    each = dictionary.decode(UnitActs(torch.ones(n_units, 1), torch.arange(n_units)[:, None], mean, norm))
    none = dictionary.decode(UnitActs(torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.int64), mean[:1], norm[:1]))[0]
    return Decoder(each - none, none)


def refine(code: Code, descent: Descent) -> Tensor:
    """Find the values >= 0 of the given latents that reconstruct best, [n_tokens, n_active].

    Accelerated projected gradient (Beck and Teboulle 2009), a token's momentum dropped where it leads uphill
    (O'Donoghue and Candes 2015).
    """
    gram = code.directions @ code.directions.mT
    target = (code.directions @ code.x[:, :, None])[:, :, 0]
    # No eigenvalue is larger than the largest sum of a row.
    steepness = gram.abs().sum(dim=2).amax(dim=1, keepdim=True).clamp_min(1e-12)
    values = ahead = code.values
    pace = torch.ones(len(values), 1)
    for _ in range(descent.n_steps):
        slope = (gram @ ahead[:, :, None])[:, :, 0] - target
        moved = (ahead - slope / steepness).relu()
        uphill = ((ahead - moved) * (moved - values)).sum(dim=1, keepdim=True) > 0
        faster = (1 + (1 + 4 * pace.square()).sqrt()) / 2
        ahead = moved + torch.where(uphill, 0.0, (pace - 1) / faster) * (moved - values)
        pace = torch.where(uphill, 1.0, faster)
        largest = (moved - values).abs().amax()
        values = moved
        if largest <= descent.tolerance * values.amax():
            break
    return values


def _parts(encoded: UnitActs, tokens: Tokens) -> Iterator[tuple[UnitActs, Tokens]]:
    """Cut a batch where its busiest token's latents would make it hold more than MAX_VALUES."""
    width = max(1, int((encoded.values > 0).sum(dim=1).max()))
    n = max(1, MAX_VALUES // (width * max(width, tokens.acts.shape[1])))
    for start in range(0, len(tokens.acts), n):
        part = slice(start, start + n)
        cut = Tokens(tokens.acts[part], tokens.document[part], tokens.context[part], tokens.position[part])
        yield UnitActs(*(column[part] for column in encoded)), cut


def _code(encoded: UnitActs, acts: Tensor, decoder: Decoder) -> Code:
    """Drop the columns in which no token has an active latent."""
    values, indices, mean, norm = encoded
    values, order = values.sort(dim=1, descending=True, stable=True)
    width = max(1, int((values > 0).sum(dim=1).max()))
    values, indices = values[:, :width], indices.gather(1, order)[:, :width]
    directions = decoder.W_dec[indices] * (values > 0)[:, :, None]
    return Code((acts - mean) / norm - decoder.b_dec, values, directions)


def _add_(sums: DocumentSums, document: Tensor, code: Code, refined: Tensor, distance: Tensor) -> None:
    """Add a batch's squared errors, squared distance from the mean, sums of values, and counts of latents."""
    errors = [_squared_error(code, values) for values in (code.values, refined)]
    active = code.values > 0
    n_zeroed = (active & (refined == 0)).sum(dim=1)
    sums.add_(document, *errors, distance, refined.sum(dim=1), code.values.sum(dim=1), n_zeroed, active.sum(dim=1))


def _squared_error(code: Code, values: Tensor) -> Tensor:
    return (code.x - (values[:, None, :] @ code.directions)[:, 0]).square().sum(dim=1)


def _add_to_bins_(bins: Tensor, encoded: Tensor, refined: Tensor) -> None:
    """Add active latents to [n_bins, 3]: count, sum of encoded and of refined values."""
    active = encoded > 0
    before, after = encoded[active].double(), refined[active].double()
    which = torch.bucketize(before, EDGES[1:-1], right=True)
    bins.index_add_(0, which, torch.stack([torch.ones_like(before), before, after], dim=1))


def _figures(sums: np.ndarray, bootstrap: Bootstrap) -> dict[str, Any]:
    figures: dict[str, Any] = {
        name: document_interval(sums[:, columns], ratio_of_sums, bootstrap)._asdict()
        for name, columns in (("ratio", [3, 4]), ("fvu_encoded", [0, 2]), ("fvu_refined", [1, 2]))
    }
    n_zeroed, n_active = sums[:, 5:].sum(axis=0)
    return {**figures, "share_zeroed": n_zeroed / n_active if n_active else None, "n_values": int(n_active)}


def _table(bins: Tensor) -> pl.DataFrame:
    count, encoded, refined = bins.T.numpy()
    edges = EDGES.numpy()
    mean = {"encoded": encoded / np.maximum(count, 1), "refined": refined / np.maximum(count, 1)}
    columns = {"low": edges[:-1], "high": edges[1:], "n": count.astype(np.int64), **mean}
    return pl.DataFrame(columns).cast(TABLE).filter(pl.col("n") > 0)
