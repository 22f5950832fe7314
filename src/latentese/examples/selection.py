"""From candidates to examples: which contexts a unit keeps in a split, and as what kind.

A context is kept once per unit. As several kinds would want it, the first of top, quantile, near miss, random has it;
so `random` means: drawn without looking, and not already kept for its activation.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from latentese.examples.candidates import CANDIDATES, Candidates
from latentese.examples.settings import SampleSettings
from latentese.schemas import CONTEXT, UNIT

CHOSEN = pl.Schema({"unit": UNIT, "context": CONTEXT, "max_act": pl.Float32(), "kind": pl.String(), "band": pl.Int8()})
"""`max_act` is -inf where the unit is silent or where nobody looked; rows of a kind are in order of preference."""

PAIR = ["unit", "context"]


def choose_examples(
    candidates: Candidates, contexts: range, units: np.ndarray, settings: SampleSettings, seed: int
) -> pl.DataFrame:
    """Choose these units' examples in one split, whose contexts are `contexts`; schema `CHOSEN`."""
    top = _as_kind(candidates.top.table(units), "top")
    quantile = _fill_bands(candidates.reservoir.table(units), top, settings)
    near_miss = _as_kind(candidates.near_miss.table(units), "near_miss")
    chosen = pl.concat([top, quantile, near_miss])
    n_drawn = settings.n_random + settings.n_top + settings.n_quantile * settings.n_bands + settings.n_near_miss
    drawn = draw_random(units, contexts, n_drawn, seed)
    random = drawn.join(chosen, on=PAIR, how="anti", maintain_order="left")
    return pl.concat([chosen, _as_kind(_first(random, ["unit"], settings.n_random), "random")])


def draw_random(units: np.ndarray, contexts: range, n: int, seed: int) -> pl.DataFrame:
    """Draw up to n contexts per unit, without looking at them; a unit's draw does not depend on the other units."""
    n = min(n, len(contexts))
    drawn = [np.random.default_rng([seed, unit]).choice(len(contexts), n, replace=False) for unit in units.tolist()]
    context = np.concatenate([*drawn, np.empty(0, dtype=np.int64)]) + contexts.start
    silent = np.full(len(context), -np.inf)
    return pl.DataFrame({"unit": np.repeat(units, n), "context": context, "max_act": silent}).cast(CANDIDATES)


def _fill_bands(reservoir: pl.DataFrame, top: pl.DataFrame, settings: SampleSettings) -> pl.DataFrame:
    """Cut a unit's reservoir into bands by rank of the context maximum, and take the first few of each band."""
    share = (pl.col("max_act").rank("ordinal").over("unit") - 0.5) / pl.len().over("unit")
    inner = list(settings.bands[1:-1])
    banded = reservoir.with_columns(share=share).with_columns(
        kind=pl.lit("quantile"),
        band=pl.sum_horizontal([pl.col("share") >= edge for edge in inner] or [pl.lit(0)]).cast(pl.Int8()),
    )
    rest = banded.join(top, on=PAIR, how="anti", maintain_order="left").sort("unit", "band", maintain_order=True)
    return _first(rest, ["unit", "band"], settings.n_quantile).select(CHOSEN.names())


def _first(rows: pl.DataFrame, group: list[str], n: int) -> pl.DataFrame:
    """Keep the first n rows of each group."""
    return rows.filter(pl.int_range(pl.len()).over(group) < n)


def _as_kind(rows: pl.DataFrame, kind: str) -> pl.DataFrame:
    return rows.with_columns(kind=pl.lit(kind), band=pl.lit(None, dtype=pl.Int8()))
