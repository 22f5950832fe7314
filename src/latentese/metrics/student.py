"""Student's t: what replaces the normal distribution where a spread is known from few values only."""

from __future__ import annotations

from math import exp, lgamma, pi, sqrt
from statistics import NormalDist

import numpy as np

N_GRID = 200_001


def t_quantile(share: float, degrees: float) -> float:
    """Value under which a `share` (.5 to 1) of Student's t with `degrees` of freedom lies; degrees need not be whole.

    With tan(angle) = t / sqrt(degrees) its density is proportional to cos(angle)^(degrees - 1), which is smooth and
    bounded: the distribution is that integral, read backwards.
    """
    if not 0.5 <= share < 1 or not degrees >= 1:
        raise ValueError(f"share must be in .5 to 1 and degrees at least 1, got {share} and {degrees}")
    angles = np.linspace(0, pi / 2, N_GRID)
    density = np.cos(angles) ** (degrees - 1)
    scale = exp(lgamma((degrees + 1) / 2) - lgamma(degrees / 2)) / sqrt(pi)
    below = 0.5 + scale * np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)]) * (angles[1] - angles[0])
    return float(np.tan(np.interp(share, below, angles)) * sqrt(degrees))


def t_over_normal(degrees: float, level: float) -> float:
    """How much wider an interval of this level is for the spread being estimated with `degrees` of freedom."""
    share = (1 + level) / 2
    return t_quantile(share, degrees) / NormalDist().inv_cdf(share)
