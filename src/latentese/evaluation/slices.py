"""Changes of loss per slice of text, a slice being the contexts of one source: tables and means with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from latentese.evaluation.selectivity import Chosen, Firing
from latentese.evaluation.tokens import ratio_of_sums
from latentese.metrics.correlation import Floats, Metric
from latentese.metrics.intervals import Bootstrap, document_interval, mean_interval

EFFECTS = ("ablated", "steered")

UNITS = pl.Schema(
    {
        "unit": pl.Int32,
        "selective_for": pl.String,
        "source": pl.String,
        "density": pl.Float64,
        "n_documents": pl.Int32,
        "n_tokens": pl.Int64,
        **{f"{effect}{end}": pl.Float64 for effect in EFFECTS for end in ("", "_low", "_high")},
    }
)
"""One row per unit and source. `density` is the unit's on the selection sample; `ablated` and `steered` are changes of
the source's cross-entropy in nats per token, with their intervals over documents: above 0, the source got worse."""


@dataclass(frozen=True)
class Changes:
    """Changes of cross-entropy, added up over each document's predictions."""

    nats: Floats
    """[n_documents, n_units, n_effects]."""
    n_tokens: Floats
    """[n_documents]."""
    source: np.ndarray
    """[n_documents]."""

    @classmethod
    def by_document(cls, nats: Floats, n_tokens: np.ndarray, contexts: pl.DataFrame) -> Changes:
        """Add up contexts, given with their rows of the contexts table."""
        _, first, place = np.unique(contexts["document"].to_numpy(), return_index=True, return_inverse=True)
        summed, tokens = np.zeros((len(first), *nats.shape[1:])), np.zeros(len(first))
        np.add.at(summed, place, nats)
        np.add.at(tokens, place, n_tokens)
        return cls(summed, tokens, contexts["source"].to_numpy()[first])


def unit_table(changes: Changes, chosen: Sequence[Chosen], firing: Firing, bootstrap: Bootstrap) -> pl.DataFrame:
    """One row per chosen unit and source; schema `UNITS`."""
    rows = []
    for place, (unit, selective_for) in enumerate(chosen):
        for source in np.unique(changes.source):
            of_source = changes.source == source
            tokens = changes.n_tokens[of_source]
            ends: list[float | None] = []
            for effect in range(len(EFFECTS)):
                sums = np.stack([changes.nats[of_source, place, effect], tokens], axis=1)
                ends += document_interval(sums, _per_token(0), bootstrap)
            known = source in firing.sources
            density = float(firing.density[firing.sources.index(source), unit]) if known else None
            rows.append((unit, selective_for, source, density, len(tokens), int(tokens.sum()), *ends))
    return pl.DataFrame(rows, schema=UNITS, orient="row")


def own_and_others(changes: Changes, chosen: Sequence[Chosen], bootstrap: Bootstrap) -> dict[str, Any]:
    """Mean change over units, of each effect: in the source a unit is selective for, in the others, the difference."""
    figures: dict[str, Any] = {}
    metrics: Mapping[str, Metric] = {"own": _per_token(0), "others": _per_token(2), "own_over_others": _own_over_others}
    for number, effect in enumerate(EFFECTS):
        units = [_own_and_other_sums(changes, place, number, one.source) for place, one in enumerate(chosen)]
        figures[effect] = {name: mean_interval(units, metric, bootstrap)._asdict() for name, metric in metrics.items()}
    return figures


def _own_and_other_sums(changes: Changes, place: int, effect: int, source: str) -> Floats:
    """[n_documents, 4]: nats and tokens of a unit's own source, then those of the others."""
    parts = np.stack([changes.nats[:, place, effect], changes.n_tokens], axis=1)
    own = (changes.source == source)[:, None]
    return np.concatenate([np.where(own, parts, 0.0), np.where(own, 0.0, parts)], axis=1)


def _per_token(column: int) -> Metric:
    """Nats per token, from a column and the next; not defined for a resample without such tokens."""
    return lambda sums: ratio_of_sums(sums[..., column : column + 2])


def _own_over_others(sums: Floats) -> Floats:
    return _per_token(0)(sums) - _per_token(2)(sums)
