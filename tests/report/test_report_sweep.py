"""The page of a sweep says what the fits say, marks what is outside, and gives the same bytes again."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import polars as pl
import pytest

from latentese.metrics.intervals import Bootstrap
from latentese.metrics.laws import JOINT_LAW, power_law
from latentese.metrics.sweeps import FitSettings, fit_cells
from latentese.report.sweep import SweepFindings, fits_json, formula, page, write_sweep

AXES = ["dictionary", "n_latents", "k", "n_tokens", "seed"]
SETTINGS = {
    "latents": FitSettings(("n_latents",), {"k": 4}),
    "latents_and_k": FitSettings(("n_latents", "k")),
    "compute": FitSettings(("compute",), frontier=True),
}


def findings() -> SweepFindings:
    """Losses of exactly 2 / sqrt(n k), with the largest n at k = 4 held out and the law one per cent off there."""
    rows = [("topk", n, k, 1000, seed) for n in (16, 64, 256) for k in (1, 4) for seed in (0, 1)]
    cells = pl.DataFrame(rows, schema=AXES, orient="row").with_columns(
        run=pl.Series([f"topk,n_latents={n},k={k},seed={seed}" for _, n, k, _, seed in rows]),
        held_out=(pl.col("n_latents") == 256) & (pl.col("k") == 4),
        compute=(pl.col("n_latents") * 1000.0),
    )
    exact = 2 / (pl.col("n_latents") * pl.col("k")).sqrt()
    cells = cells.with_columns(loss=pl.when("held_out").then(exact / 1.01).otherwise(exact))
    cells = cells.with_columns(pl.lit(0.25).alias("reconstruction/dead_share"))
    bootstrap = Bootstrap(n_boot=20)
    fits = {name: fit_cells(cells, SETTINGS[name], AXES, bootstrap) for name in ("latents", "compute")}
    refused = "it has 6 parameters and cannot be fitted to 5 distinct points"
    shown = ["reconstruction/dead_share"]
    return SweepFindings("toy", cells, AXES, "reconstruction/fvu", shown, SETTINGS, {**fits, "latents_and_k": refused})


def test_formulas_are_written_out() -> None:
    assert formula(power_law("compute", irreducible=False)) == "L = exp(a + b ln compute)"
    assert formula(power_law("n_latents", irreducible=True)) == "L = exp(a + b ln n_latents) + exp(e)"
    assert formula(JOINT_LAW) == "L = exp(a + b_k ln k + b_n ln n_latents + g ln k ln n_latents) + exp(z + h ln k)"


def test_json_holds_every_figure_of_a_fit() -> None:
    fit = fits_json(findings())["latents"]
    assert fit["parameters"]["b"]["value"] == pytest.approx(-0.5)
    assert fit["n_cells"] == 4
    assert fit["ranges"] == {"n_latents": [16, 64]}
    assert fit["held_out"]["n_cells"] == fit["held_out"]["n_extrapolated"] == 2
    assert fit["held_out"]["relative_error"] == pytest.approx(0.01)
    assert [point["run"] for point in fit["held_out"]["points"]] == [
        "topk,n_latents=256,k=4,seed=0",
        "topk,n_latents=256,k=4,seed=1",
    ]
    json.dumps(fits_json(findings()), allow_nan=False)


def test_a_refused_law_says_why() -> None:
    found = findings()
    assert fits_json(found)["latents_and_k"] == {
        "over": ["n_latents", "k"],
        "where": {},
        "not_fitted": "it has 6 parameters and cannot be fitted to 5 distinct points",
    }
    assert "Not fitted (all cells): it has 6 parameters and cannot be fitted to 5 distinct points." in page(found)


def test_page_says_what_was_fitted_and_how_well_it_predicts() -> None:
    text = page(findings())
    assert "12 dictionaries, 2 of them held out of every fit" in text
    assert "`L = exp(a + b ln n_latents)`, fitted to 4 cells (k = 4): R² 1" in text
    assert "| b | -0.5 | [" in text
    assert "Held out: 2 cells, mean relative error 1.0%" in text
    # 2 / sqrt(256 * 4) = .0625 predicted, a hundredth less measured
    assert r"| topk,n\_latents=256,k=4,seed=0 | 0.06188 | 0.0625 [" in text
    assert text.count("| +1.0% | outside |") == 4, "two cells, each held out of two laws"
    assert "on the frontier of compute" in text


def test_cells_show_the_axes_that_vary() -> None:
    text = page(findings())
    heading = r"| n\_latents | k | seed | compute | reconstruction/fvu | reconstruction/dead\_share |  |"
    assert heading in text
    assert "| 16 | 1 | 0 | 1.6e+04 | 0.5 | 0.25 |  |" in text
    assert text.count("| held out |") == 2


def test_files_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_sweep(findings(), tmp_path / name)
    files = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()}
    assert files == {
        Path(name) for name in ("README.md", "fits.json", "cells.csv", "figures/latents.svg", "figures/compute.svg")
    }
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()
    assert pl.read_csv(tmp_path / "one" / "cells.csv")["loss"].to_list() == findings().cells["loss"].to_list()


def test_figures_are_drawings(tmp_path: Path) -> None:
    write_sweep(findings(), tmp_path)
    text = (tmp_path / "figures" / "latents.svg").read_text()
    assert ET.fromstring(text).tag.endswith("svg")
    for words in ("held out", "outside the fitted range", "residual", "reconstruction/fvu"):
        assert words in text
