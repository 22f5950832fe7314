"""Intervals of shares of few cases."""

from __future__ import annotations

from statistics import NormalDist

from latentese.metrics.intervals import DECIMALS, Interval


def wilson_interval(n_hits: int, n: int, level: float = 0.95) -> Interval:
    """Share of hits among `n` cases with Wilson's score interval, which is honest for few cases and for all or none.

        (p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)

    Wilson 1927, JASA 22, 209.
    """
    if not 0 <= n_hits <= n:
        raise ValueError(f"{n_hits} hits among {n} cases")
    if n == 0:
        return Interval(None, None, None)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = n_hits / n
    centre = share + z**2 / (2 * n)
    reach = z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    low, high = ((centre + sign * reach) / (1 + z**2 / n) for sign in (-1, 1))
    return Interval(share, round(max(0.0, low), DECIMALS), round(min(1.0, high), DECIMALS))
