"""Fit laws to the cells of a sweep: which cells a law is about, and which of them it must not see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from latentese.metrics.intervals import Bootstrap
from latentese.metrics.laws import law_over
from latentese.metrics.scaling import LOSS, Fit, HeldOut, check_held_out, fit_law, frontier

SEED, TOKENS, HELD_OUT = "seed", "n_tokens", "held_out"


@dataclass(frozen=True)
class FitSettings:
    """One law to fit, and the cells that it is about."""

    over: tuple[str, ...]
    """Its inputs: compute, n_latents, or n_latents and k."""
    where: Mapping[str, Any] = field(default_factory=dict)
    """What the cells have in common: a value, or a list of allowed ones, by column."""
    irreducible: bool = False
    """Whether a power law levels off above 0."""
    frontier: bool = False
    """Only cells whose loss no cheaper cell beats, on average over seeds."""


class Falling(NamedTuple):
    """How far from convergence cells are: by how much the loss still fell with more training tokens."""

    n_tokens: int
    """Training tokens of the fitted cells."""
    before: int
    """The next smaller number of tokens at which some of them were trained too."""
    share: float
    """1 - loss / loss before, averaged over those cells."""


class FittedCells(NamedTuple):
    """A law fitted to cells, and how well it predicts those that were held out."""

    fit: Fit
    held_out: HeldOut
    falling: Falling | None
    """None where cells have several numbers of tokens, or no smaller one to compare with."""


def fit_cells(cells: pl.DataFrame, settings: FitSettings, axes: list[str], bootstrap: Bootstrap) -> FittedCells:
    """Fit a law to cells with the columns `axes`, `compute`, `loss`, `run` and `held_out`.

    Cells that are held out change nothing of the fit: neither its parameters nor which cells are on the frontier.
    """
    chosen = select(cells, settings.where)
    fitted, held_out = chosen.filter(~pl.col(HELD_OUT)), chosen.filter(HELD_OUT)
    if settings.frontier:
        fitted = on_frontier(fitted, axes)
        held_out = on_frontier(chosen, axes).filter(HELD_OUT)
    law = law_over(settings.over, settings.irreducible)
    fit = fit_law(law, fitted, bootstrap)
    return FittedCells(fit, check_held_out(fit, held_out), still_falling(cells, settings.where, axes))


def select(cells: pl.DataFrame, where: Mapping[str, Any]) -> pl.DataFrame:
    """Cells with the values of a pattern; a list allows each of its values."""
    for column, value in where.items():
        cells = cells.filter(pl.col(column).is_in(value if isinstance(value, list | tuple) else [value]))
    return cells


def on_frontier(cells: pl.DataFrame, axes: list[str]) -> pl.DataFrame:
    """Cells whose setting, all seeds together, is beaten by none of at most its compute."""
    setting = [axis for axis in axes if axis != SEED]
    means = cells.group_by(setting, maintain_order=True).agg(pl.col("compute", LOSS).mean())
    best = means.filter(pl.Series(frontier(means["compute"].to_list(), means[LOSS].to_list()), dtype=pl.Boolean))
    return cells.join(best.select(setting), on=setting, how="semi", nulls_equal=True, maintain_order="left")


def still_falling(cells: pl.DataFrame, where: Mapping[str, Any], axes: list[str]) -> Falling | None:
    """Compare the cells of a law with the same cells after fewer tokens; those that are held out take no part."""
    cells = cells.filter(~pl.col(HELD_OUT))
    chosen = select(cells, where)
    if TOKENS not in axes or chosen[TOKENS].n_unique() != 1:
        return None
    (n_tokens,) = chosen[TOKENS].unique()
    others = [axis for axis in axes if axis != TOKENS]
    earlier = cells.filter(pl.col(TOKENS) < n_tokens)
    pairs = chosen.select(*others, LOSS).join(
        earlier.select(*others, TOKENS, before=LOSS), on=others, nulls_equal=True, maintain_order="left"
    )
    if pairs.is_empty():
        return None
    before = max(pairs[TOKENS].to_list())
    pairs = pairs.filter(pl.col(TOKENS) == before)
    share = (1 - pairs[LOSS] / pairs["before"]).mean()
    return Falling(int(n_tokens), int(before), float(share))  # type: ignore[arg-type]
