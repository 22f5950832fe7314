"""Figures of a sweep: measured losses, the law through them, and what it says of cells that it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from latentese.metrics.scaling import LOSS, predict
from latentese.metrics.sweeps import FittedCells
from latentese.report.figures import REVISED, SIM, TRUE, WRONG, write_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = (TRUE, SIM, REVISED, "#a8326e", "#5c7a29", "#7b52ab", "#1f9bcf", "#8a5a2b")
N_GRID = 120
LABELS = {"compute": "training compute (FLOPs)", "n_latents": "latents"}


def write_law_figure(fitted: FittedCells, loss: str, path: Path) -> None:
    """Draw a law over its first axis, one line per value of the other, residuals below."""
    write_svg(path, lambda figure: _draw(figure, fitted, loss), (5.6, 4.4))


def _draw(figure: Figure, fitted: FittedCells, loss: str) -> None:
    from matplotlib.ticker import MaxNLocator, NullLocator

    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    x, lines = _axes_of(fitted)
    for number, line in enumerate(lines):
        color = COLORS[number % len(COLORS)]
        _draw_line(above, fitted, x, line, color)
        _draw_points(above, below, fitted, x, line, color)
    below.axhline(0, color=WRONG, lw=0.8, zorder=0)
    above.set(xscale="log", yscale="log", ylabel=loss, title=fitted.fit.law.name)
    # Losses of a sweep seldom span a power of ten, where a logarithmic axis has its own ticks.
    above.yaxis.set(major_locator=MaxNLocator(6), minor_locator=NullLocator(), major_formatter="{x:g}")
    below.set(xlabel=LABELS.get(x, x), ylabel="residual")
    if x != "compute":
        below.set_xticks(_values(fitted, x), [f"{value:g}" for value in _values(fitted, x)])
        below.xaxis.set_minor_locator(NullLocator())
    above.plot([], [], "o", color=WRONG, label="fitted")
    if fitted.held_out.points.height:
        above.plot([], [], "o", color=WRONG, mfc="white", label="held out")
    if fitted.held_out.points["extrapolated"].any():
        above.plot([], [], "--", color=WRONG, label="outside the fitted range")
    above.legend(frameon=False, fontsize=8)


def _axes_of(fitted: FittedCells) -> tuple[str, list[dict[str, Any]]]:
    """Name the horizontal axis, and list the values of the other one: one line each."""
    inputs = list(fitted.fit.law.inputs)
    x = "n_latents" if "n_latents" in inputs else inputs[0]
    others = [name for name in inputs if name != x]
    if not others:
        return x, [{}]
    return x, _both(fitted, others).unique().sort(others).to_dicts()


def _values(fitted: FittedCells, x: str) -> list[float]:
    return sorted({float(value) for value in _both(fitted, [x])[x]})


def _both(fitted: FittedCells, columns: list[str]) -> pl.DataFrame:
    """Columns of the fitted points and of those held out."""
    return pl.concat([table.select(columns) for table in (fitted.fit.points, fitted.held_out.points)])


def _of_line(points: pl.DataFrame, line: dict[str, Any]) -> pl.DataFrame:
    return points.filter(*(pl.col(name) == value for name, value in line.items()))


def _draw_line(axes: Axes, fitted: FittedCells, x: str, line: dict[str, Any], color: str) -> None:
    """Draw the law: solid with its interval where it was fitted, dashed outside."""
    low, high = fitted.fit.ranges[x]
    held_out = fitted.held_out.points[x].cast(pl.Float64)
    ends = [low, high, *held_out]
    grid = np.union1d(np.geomspace(min(ends), max(ends), N_GRID), [low, high])
    asked = pl.DataFrame({x: grid, **{name: [float(value)] * len(grid) for name, value in line.items()}})
    found = predict(fitted.fit, asked)
    inside = ~found["extrapolated"].to_numpy()
    law = found["predicted"].to_numpy()
    name = ", ".join(f"{axis}={value:g}" for axis, value in line.items())
    axes.plot(grid, np.where(inside, law, np.nan), color=color, lw=1.2, label=name or None)
    axes.plot(grid, np.where(inside & (grid > low) & (grid < high), np.nan, law), "--", color=color, lw=0.9)
    if found["low"].count() and not line:
        axes.fill_between(grid, found["low"], found["high"], color=color, alpha=0.15, lw=0)


def _draw_points(above: Axes, below: Axes, fitted: FittedCells, x: str, line: dict[str, Any], color: str) -> None:
    points, held_out = (_of_line(table, line) for table in (fitted.fit.points, fitted.held_out.points))
    above.plot(points[x], points[LOSS], "o", color=color, ms=4)
    below.plot(points[x], points["residual"], "o", color=color, ms=3)
    if held_out.height:
        above.plot(held_out[x], held_out[LOSS], "o", color=color, mfc="white", ms=5)
        residual = held_out[LOSS].log() - held_out["predicted"].log()
        below.plot(held_out[x], residual, "o", color=color, mfc="white", ms=4)
