"""How often units are active: from very rare to nearly always, so on a logarithmic scale."""

from __future__ import annotations

import numpy as np
import polars as pl

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

HISTOGRAM = pl.Schema({"low": pl.Float64, "high": pl.Float64, "n_units": pl.Int64})


def density_histogram(density: np.ndarray, n_tokens: int, bins_per_decade: int) -> pl.DataFrame:
    """Count units by log10 density, from once in `n_tokens` (rounded down to a decade) to always.

    density [n_units]; units that are never active have no logarithm and are not in it. Schema `HISTOGRAM`, `low` and
    `high` being log10 densities.
    """
    lowest = -int(np.ceil(np.log10(max(n_tokens, 1))))
    edges = np.linspace(lowest, 0, max(1, -lowest * bins_per_decade) + 1) if lowest < 0 else np.array([-1.0, 0.0])
    counts, _ = np.histogram(np.log10(density[density > 0]), bins=edges)
    return pl.DataFrame({"low": edges[:-1], "high": edges[1:], "n_units": counts}).cast(HISTOGRAM)


def density_quantiles(density: np.ndarray) -> dict[str, float | None]:
    """Quantiles of the density among units that are ever active; null when none is."""
    active = density[density > 0]
    if len(active) == 0:
        return {f"q{round(100 * share):02d}": None for share in QUANTILES}
    return {f"q{round(100 * share):02d}": float(np.quantile(active, share)) for share in QUANTILES}
