"""Numbers as text: two digits, never a negative zero, and intervals that may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def two_digits(value: float, signed: bool = False) -> str:
    """Write a number with two digits; what rounds to 0 has no minus sign."""
    return f"{round(value, 2) + 0.0:{'+' if signed else ''}.2f}"


def percent(value: float) -> str:
    """Write a share with two significant digits, from 10 % on as a whole number."""
    if value == 0:
        return "0 %"
    return f"{100 * value:.0f} %" if value >= 0.0995 else f"{100 * value:#.2g}".rstrip(".") + " %"


def units_text(n_units: int) -> str:
    """Write a number of units."""
    return "1 unit" if n_units == 1 else f"{n_units:,} units"


def edges_text(low: float | None, high: float | None, signed: bool = False) -> str:
    """Write an interval; one document alone has none."""
    if low is None or high is None:
        return "(no interval)"
    return f"[{two_digits(low, signed)}, {two_digits(high, signed)}]"


def estimate_text(estimate: Mapping[str, Any], signed: bool = False) -> str:
    """Write a mean with its interval: `0.41 [0.30, 0.52]`; `not defined` where there is no mean."""
    if "mean" not in estimate:
        return "not defined"
    edges = edges_text(estimate.get("low"), estimate.get("high"), signed)
    return f"{two_digits(estimate['mean'], signed)} {edges}"
