"""Distribution of numbers between -1 and 1 that are too many to keep: counted to four decimals."""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 10_000
"""Counts per unit of cosine: quantiles are exact to four decimals, in memory that no number of tokens changes."""

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95)
"""More of them below: a cosine is bounded above, and what is badly reconstructed is what one looks for."""


class Cosines:
    """Mean and quantiles of cosines that come in batches."""

    def __init__(self) -> None:
        self.counts = torch.zeros(2 * STEPS + 1, dtype=torch.int64)
        self.total = 0.0

    def add_(self, cosines: Tensor) -> None:
        """Count a batch [n_tokens]."""
        clamped = cosines.double().clamp(-1, 1)  # rounding takes a cosine past 1
        self.total += float(clamped.sum())
        self.counts += torch.bincount(((clamped + 1) * STEPS).round().long(), minlength=len(self.counts))

    def summary(self) -> dict[str, float | None]:
        """Mean and `QUANTILES`; null before anything was counted."""
        n, names = int(self.counts.sum()), [f"q{round(100 * share):02d}" for share in QUANTILES]
        if not n:
            return dict.fromkeys(["mean", *names])
        # The smallest value that a share of the tokens does not exceed.
        below = self.counts.cumsum(0).double() / n
        places = torch.searchsorted(below, torch.tensor(QUANTILES, dtype=torch.float64))
        values = [round(place / STEPS - 1, 4) for place in places.tolist()]
        return {"mean": self.total / n} | dict(zip(names, values, strict=True))
