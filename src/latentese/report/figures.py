"""Figures for papers and tracking, as SVG with the same bytes for the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from latentese.report.inputs import Target
from latentese.report.numbers import estimate_text
from latentese.store.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRUE, SIM, WRONG, REVISED = "#0b8a7d", "#d9730d", "#8b93a0", "#3a5fcd"

STYLE = {
    "svg.hashsalt": "latentese",  # element ids from their content, not from chance
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.constrained_layout.use": True,
}


def write_figures(target: Target, study: pl.DataFrame, summary: Mapping[str, Any], folder: Path) -> None:
    """Write the figures of one target that its data allow: scores, refinement, densities, training."""
    name = target.name
    if study["final_score"].count():
        _write(folder / f"scores_{name}.svg", lambda axes: draw_scores(axes, study, name))
    refined = study.filter("refined").drop_nulls(["initial_score", "final_score"])
    if refined.height:
        _write(folder / f"refinement_{name}.svg", lambda axes: draw_refinement(axes, refined, summary))
    live = target.units.filter(pl.col("draw").is_not_null(), pl.col("density") > 0)
    if live.height:
        _write(folder / f"densities_{name}.svg", lambda axes: draw_densities(axes, live, study))
    if target.train_log.height > 1:
        _write(folder / f"training_{name}.svg", lambda axes: draw_training(axes, target.train_log))


def draw_scores(axes: Axes, study: pl.DataFrame, name: str) -> None:
    """Draw the distribution of scores on test: own explanation against another unit's."""
    edges = np.linspace(-1, 1, 41)
    for column, color, text in (("wrong_score", WRONG, "another unit\u2019s"), ("final_score", TRUE, "its own")):
        values = study[column].drop_nulls().to_numpy()
        axes.hist(values, edges.tolist(), color=color, alpha=0.75, label=f"{text} explanation (n={len(values)})")
    axes.set(xlabel="score on test (correlation)", ylabel="units", title=name)
    axes.set_xlim(min(-0.4, float(study["wrong_score"].min() or 0) - 0.05), 1.0)  # type: ignore[arg-type]
    axes.legend(frameon=False)


def draw_refinement(axes: Axes, refined: pl.DataFrame, summary: Mapping[str, Any]) -> None:
    """Draw scores of refined units before and after, each with its interval."""
    for i, row in enumerate(refined.to_dicts()):
        offset = (i - (refined.height - 1) / 2) * 0.3 / max(refined.height, 6)
        x = np.array([offset, 1 + offset])
        y = np.array([row["initial_score"], row["final_score"]])
        lows = np.array([row["initial_low"], row["final_low"]], dtype=float)
        highs = np.array([row["initial_high"], row["final_high"]], dtype=float)
        color = REVISED if y[1] > y[0] else WRONG
        reach = [np.nan_to_num(np.maximum(side, 0)) for side in (y - lows, highs - y)]  # no interval, no bar
        axes.errorbar(x, y, reach, color=color, marker="o", ms=4, elinewidth=0.8)
    gain = summary["gain"]["refinement"]
    text = f"gain {estimate_text(gain, signed=True)}" if "mean" in gain else ""
    axes.set_xticks([0, 1], ["before", "after"])
    axes.set(ylabel="score on test", xlim=(-0.35, 1.35), title=text)
    axes.axhline(0, color="#cccccc", lw=0.8, zorder=0)


def draw_densities(axes: Axes, live: pl.DataFrame, study: pl.DataFrame) -> None:
    """Draw firing rates of live units, explained ones marked."""
    axes.hist(np.log10(live["density"].to_numpy()), 40, color=WRONG)
    explained = study.filter(pl.col("density") > 0)["density"].to_numpy()
    axes.plot(
        np.log10(explained), np.zeros(len(explained)), "|", ms=10, color=TRUE, clip_on=False, label="of the study"
    )
    axes.set(xlabel="log10 of the share of tokens on which a unit fires", ylabel="live units")
    axes.legend(frameon=False)


def draw_training(axes: Axes, log: pl.DataFrame) -> None:
    """Draw variance unexplained over training tokens, and how many latents are dead."""
    tokens = log["n_tokens"].to_numpy()
    axes.plot(tokens, log["fvu"].to_numpy(), color=TRUE)
    axes.set(xlabel="training tokens", ylabel="fvu")
    axes.set_ylim(bottom=0)
    dead = axes.twinx()
    dead.plot(tokens, log["n_dead"].to_numpy(), color=SIM, lw=1, ls="--")
    dead.set_ylabel("dead latents (dashed)")


def _write(path: Path, draw: Callable[[Axes], None]) -> None:
    write_svg(path, lambda figure: draw(figure.subplots()))


def write_svg(path: Path, draw: Callable[[Figure], None], size: tuple[float, float] = (5.2, 3.2)) -> None:
    """Draw a figure of `size` (inches) and write it, whole or not at all."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        draw(figure)
        with whole_file(path) as part:
            figure.savefig(part, format="svg", metadata={"Date": None, "Creator": None})
