"""A weighted sum of simulations: which weights follow the truth best, over all units at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import polars as pl

from latentese import schemas
from latentese.metrics.correlation import CONSTANT, Floats
from latentese.metrics.scores import FITTED_ON

ROW = ["explanation", "unit", "control", "split", "context"]


class EnsembleFit(NamedTuple):
    """What members of an ensemble weigh."""

    weights: tuple[float, ...]
    """Of each member's simulated activations, 0 or more."""
    shares: tuple[float, ...]
    """The same of standardised simulations, adding up to 1: what each member contributes. All 0 where none helps."""
    n_units: int
    """Units whose truth and simulations could be fitted."""


def nonnegative_least_squares(gram: Floats, products: Floats) -> Floats:
    """Minimise w' gram w - 2 products' w over w >= 0: gram [n, n] symmetric, products [n]; returns [n].

    At the minimum some members weigh nothing and the others solve their normal equations, so all subsets are tried.
    """
    n = len(products)
    best, least = np.zeros(n), 0.0
    for size in range(1, n + 1):
        for members in map(list, combinations(range(n), size)):
            found = np.linalg.lstsq(gram[np.ix_(members, members)], products[members], rcond=None)[0]
            cost = float(found @ gram[np.ix_(members, members)] @ found - 2 * products[members] @ found)
            if (found >= 0).all() and cost < least - 1e-12:
                best, least = np.zeros(n), cost
                best[members] = found
    return best


def fit_ensemble(simulations: pl.DataFrame, members: Sequence[str]) -> EnsembleFit:
    """Fit weights on `calibrate` examples, each explanation counting alike (its truth is standardised).

    simulations: schema SIMULATIONS. Only contexts that all members answered are fitted to, under their own explanation.
    """
    own = simulations.filter(pl.col("split") == FITTED_ON, pl.col("control") == "none")
    n = len(members)
    gram, products, variance, n_units = np.zeros((n, n)), np.zeros(n), np.zeros(n), 0
    answered = joined(own, members).drop_nulls(list(members))
    for _, group in answered.group_by("explanation", maintain_order=True):
        columns = [group[name].explode().to_numpy().astype(np.float64) for name in ("true_acts", *members)]
        y, s = columns[0], np.stack(columns[1:], axis=1)  # [n_tokens], [n_tokens, n_members]
        if y.var() <= CONSTANT * np.mean(y**2):
            continue
        y, s = (y - y.mean()) / y.std(), s - s.mean(axis=0)
        gram, products = gram + s.T @ s / len(y), products + s.T @ y / len(y)
        variance, n_units = variance + s.var(axis=0), n_units + 1
    scale = np.where(variance > 0, np.sqrt(variance / max(n_units, 1)), 1.0)
    standardised = nonnegative_least_squares(gram / np.outer(scale, scale), products / scale)
    shares = standardised / standardised.sum() if standardised.sum() > 0 else standardised
    return EnsembleFit(tuple(map(float, standardised / scale)), tuple(map(float, shares)), n_units)


def combine(simulations: pl.DataFrame, name: str, members: Sequence[str], weights: Sequence[float]) -> pl.DataFrame:
    """Sum up the simulations of an ensemble (schema SIMULATIONS) in the contexts that all its members were asked about.

    Where a member has no answer, the ensemble has none, and says whose it lacks.
    """
    rows = []
    for row in joined(simulations, members).iter_rows(named=True):
        lacking = [member for member in members if row[member] is None]
        summed = None if lacking else _sum([row[member] for member in members], weights)
        error = f"no answer of {', '.join(lacking)}" if lacking else None
        rows.append(row | {"simulator": name, "expected_acts": summed, "error": error})
    return pl.DataFrame([{column: row[column] for column in schemas.SIMULATIONS} for row in rows], schemas.SIMULATIONS)


def joined(simulations: pl.DataFrame, members: Sequence[str]) -> pl.DataFrame:
    """One row per context that all members were asked about, with a column of expected activations per member."""
    first, *others = (
        simulations.filter(pl.col("simulator") == member).rename({"expected_acts": member}) for member in members
    )
    for member, rows in zip(members[1:], others, strict=True):
        first = first.join(rows.select(*ROW, member), on=ROW, how="inner", maintain_order="left")
    return first


def _sum(simulated: Sequence[Sequence[float]], weights: Sequence[float]) -> list[float]:
    total = np.asarray(weights) @ np.asarray(simulated, dtype=np.float64)
    return list(map(float, total))
