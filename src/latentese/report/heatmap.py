"""Contexts as heat-maps: each token with its true activation and what a simulator expected of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from latentese.records import Context
from latentese.report.visible import Piece, pieces, visible

N_LEVELS = 10
"""Steps of colour. Any activation above 0 gets at least the first, so that a weak firing is not drawn as silence."""


class Cell(NamedTuple):
    """One token: what to show, its activations and their steps of colour."""

    pieces: list[Piece]
    true: float | None
    """None where the position does not count (the first token of a context)."""
    expected: float | None
    true_level: int
    expected_level: int


@dataclass(frozen=True)
class ContextView:
    """One context as a heat-map."""

    context: int
    source: str
    kind: str
    cells: tuple[Cell, ...]
    simulated: bool
    error: str | None
    max_true: float
    correlation: float | None
    """Of this context alone, None where a side is constant."""


@dataclass(frozen=True)
class Peaks:
    """What full colour means: the unit's largest values over the contexts shown."""

    true: float
    expected: float


def level(value: float | None, peak: float) -> int:
    """Give the step of colour of a value: 0 at or below 0, `N_LEVELS` at the peak."""
    if value is None or value <= 0 or peak <= 0:
        return 0
    return min(max(1, round(N_LEVELS * value / peak)), N_LEVELS)


def dense(positions: Sequence[int], acts: Sequence[float], n_tokens: int) -> tuple[float, ...]:
    """Fill in activations of every token from the positions where the unit fires."""
    values = [0.0] * n_tokens
    for position, act in zip(positions, acts, strict=True):
        values[position] = act
    return tuple(values)


def at_counted(values: Sequence[float], keep: Sequence[bool]) -> tuple[float | None, ...]:
    """Spread values of the counted positions over all positions; None elsewhere."""
    remaining = iter(values)
    spread = tuple(next(remaining) if kept else None for kept in keep)
    if next(remaining, None) is not None:
        raise ValueError(f"{len(values)} values for {sum(keep)} counted positions")
    return spread


def view(
    context: Context,
    kind: str,
    true: Sequence[float | None],
    expected: Sequence[float | None] | None,
    peaks: Peaks,
    error: str | None = None,
) -> ContextView:
    """Make a context's heat-map. `true` and `expected` have one value per token; padding is left out."""
    n_tokens = max((i + 1 for i, token in enumerate(context.tokens) if token), default=0)
    simulated = expected if expected is not None else [None] * len(context.tokens)
    cells = tuple(
        Cell(
            pieces(token, leading_space=True),
            true[i],
            simulated[i],
            level(true[i], peaks.true),
            level(simulated[i], peaks.expected),
        )
        for i, token in enumerate(context.tokens[:n_tokens])
    )
    return ContextView(
        context=context.context,
        source=visible(context.source),
        kind=kind.replace("_", " "),
        cells=cells,
        simulated=expected is not None,
        error=None if error is None else visible(error),
        max_true=max((value for value in true if value is not None), default=0.0),
        correlation=None if expected is None else correlation(true, expected),
    )


def correlation(true: Sequence[float | None], expected: Sequence[float | None]) -> float | None:
    """Take the Pearson correlation over the positions where both have a value; None where a side is constant."""
    both = [(a, b) for a, b in zip(true, expected, strict=True) if a is not None and b is not None]
    if len(both) < 2:
        return None
    a, b = np.array(both, dtype=np.float64).T
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])
