"""The results of a sweep: a page of tables in Markdown, the fits as JSON, the cells as a table, figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from latentese.metrics.intervals import Interval
from latentese.metrics.laws import Law
from latentese.metrics.scaling import LOSS
from latentese.metrics.sweeps import FitSettings, FittedCells
from latentese.report.markdown import markdown_table, number_text, plain
from latentese.report.sweep_figures import write_law_figure
from latentese.store.files import write_json, write_text


@dataclass(frozen=True)
class SweepFindings:
    """What a sweep found."""

    name: str
    cells: pl.DataFrame
    """One row per cell: `run` (its name), `held_out`, the axes, `compute`, `loss` and every measured figure."""
    axes: Sequence[str]
    loss: str
    """Which figure the loss is."""
    shown: Sequence[str]
    """Figures that the page's table of cells shows."""
    settings: Mapping[str, FitSettings]
    fits: Mapping[str, FittedCells | str]
    """By name; the line that says why where a law could not be fitted."""


def write_sweep(findings: SweepFindings, folder: Path) -> None:
    """Write `README.md`, `fits.json`, `cells.csv` and a figure per law."""
    write_text(findings.cells.write_csv(), folder / "cells.csv")
    write_json(fits_json(findings), folder / "fits.json")
    for name, fitted in findings.fits.items():
        if isinstance(fitted, FittedCells):
            write_law_figure(fitted, findings.loss, folder / "figures" / f"{name}.svg")
    write_text(page(findings), folder / "README.md")


def fits_json(findings: SweepFindings) -> dict[str, Any]:
    """Every figure of every fit, by name."""
    return {name: _fit_json(fitted, findings.settings[name]) for name, fitted in findings.fits.items()}


def _fit_json(fitted: FittedCells | str, settings: FitSettings) -> dict[str, Any]:
    about: dict[str, Any] = {"over": list(settings.over), "where": dict(settings.where)}
    if isinstance(fitted, str):
        return {**about, "not_fitted": fitted}
    fit, held_out = fitted.fit, fitted.held_out
    return {
        **about,
        "formula": formula(fit.law),
        "parameters": {name: interval._asdict() for name, interval in fit.parameters.items()},
        "level": fit.level,
        "n_cells": fit.points.height,
        "r2": fit.r2,
        "largest_residual": _largest(fit.points["residual"]),
        "ranges": {name: list(ends) for name, ends in fit.ranges.items()},
        "points": fit.points.to_dicts(),
        "held_out": {
            "n_cells": held_out.points.height,
            "n_extrapolated": int(held_out.points["extrapolated"].sum()),
            "r2": held_out.r2,
            "relative_error": held_out.relative_error,
            "points": held_out.points.to_dicts(),
        },
        "still_falling": fitted.falling._asdict() if fitted.falling else None,
    }


def _largest(residuals: pl.Series) -> float:
    return float(np.abs(residuals.to_numpy()).max())


def formula(law: Law) -> str:
    """Write a law out, such as `L = exp(a + b ln n_latents) + exp(e)`."""
    terms = []
    for term in law.terms:
        summands = [" ".join([name, *(f"ln {factor}" for factor in factors)]) for name, factors in term.items()]
        terms.append(f"exp({' + '.join(summands)})")
    return f"L = {' + '.join(terms)}"


def page(findings: SweepFindings) -> str:
    """Write the page."""
    cells = findings.cells
    n_held_out = int(cells["held_out"].sum())
    parts = [
        f"# Sweep `{findings.name}`",
        f"{cells.height} dictionaries, {n_held_out} of them held out of every fit. The loss is `{findings.loss}`; "
        "compute is 12 * d_model * n_latents operations per training token, as a dense autoencoder needs them.",
        *(_law_section(findings, name) for name in findings.fits),
        "## Cells",
        _cells_table(findings),
    ]
    return "\n\n".join(parts) + "\n"


def _law_section(findings: SweepFindings, name: str) -> str:
    fitted, settings = findings.fits[name], findings.settings[name]
    where = ", ".join(f"{axis} = {value}" for axis, value in settings.where.items()) or "all cells"
    heading = f"## {name}: over {' and '.join(settings.over)}\n\n"
    if isinstance(fitted, str):
        return f"{heading}Not fitted ({where}): {fitted}."
    fit = fitted.fit
    frontier = ", on the frontier of compute" if settings.frontier else ""
    lines = [
        f"`{formula(fit.law)}`, fitted to {fit.points.height} cells ({where}{frontier}): "
        f"R² {number_text(fit.r2)}, largest residual {number_text(_largest(fit.points['residual']))}.",
        markdown_table(
            ["parameter", "value", f"{fit.level:.0%} interval"],
            [_parameter(*item) for item in fit.parameters.items()],
            is_escaped=True,
        ),
        _held_out_text(fitted),
    ]
    if fitted.falling:
        lines.append(
            f"Not at convergence: from {fitted.falling.before:,} to {fitted.falling.n_tokens:,} training tokens the "
            f"loss still fell by {fitted.falling.share:.1%}."
        )
    return heading + "\n\n".join([*lines, f"![{name}](figures/{name}.svg)"])


def _parameter(name: str, interval: Interval) -> list[str]:
    return [plain(name), number_text(interval.value), _edges(interval.low, interval.high)]


def _held_out_text(fitted: FittedCells) -> str:
    points = fitted.held_out.points
    if points.is_empty():
        return "No cell of this law was held out."
    rows = [
        [
            plain(row["run"]),
            number_text(row[LOSS]),
            f"{number_text(row['predicted'])} {_edges(row['low'], row['high'])}",
            f"{row['relative_error']:+.1%}",
            "outside" if row["extrapolated"] else "inside",
        ]
        for row in points.iter_rows(named=True)
    ]
    error, r2 = fitted.held_out.relative_error, fitted.held_out.r2
    explained = "" if r2 is None else f", R² {number_text(r2)}"
    summary = f"Held out: {points.height} cells, mean relative error {error:.1%}{explained}."
    columns = ["held-out cell", "measured", "predicted", "error", "fitted range"]
    return f"{summary}\n\n{markdown_table(columns, rows, is_escaped=True)}"


def _cells_table(findings: SweepFindings) -> str:
    varying = [axis for axis in findings.axes if findings.cells[axis].n_unique() > 1]
    columns = [*varying, "compute", LOSS, *findings.shown]
    rows = [
        [*(_cell(row[column]) for column in columns), "held out" if row["held_out"] else ""]
        for row in findings.cells.iter_rows(named=True)
    ]
    return markdown_table([findings.loss if column == LOSS else column for column in columns] + [""], rows)


def _cell(value: object) -> str:
    return number_text(value) if isinstance(value, float) else "-" if value is None else str(value)


def _edges(low: float | None, high: float | None) -> str:
    return "(no interval)" if low is None or high is None else f"[{number_text(low)}, {number_text(high)}]"
