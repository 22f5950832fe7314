"""Several runs side by side: by hand on written tables, and on the toy study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from matplotlib.figure import Figure
from toy_report import Toy

from latentese.errors import ArtifactError, LatenteseError
from latentese.report.findings import FINDINGS, FindingsSettings, find
from latentese.report.inputs import Target, open_target
from latentese.report.runs import RUN_FINDINGS, RunFindings, ScoredArtifacts, findings_of, open_scored, side_by_side
from latentese.report.runs_page import draw_runs, runs_page, write_runs

SETTINGS = FindingsSettings(n_boot=50)


def row(by: str, group: str, value: float | None, **other: Any) -> dict[str, Any]:
    """A mean over 4 units, its interval .1 to either side, that of another unit's explanation 0."""
    edges = (None, None) if value is None else (value - 0.1, value + 0.1)
    return {
        "by": by, "group": group, "kind": "latent", "explainer": "ex", "simulator": "sim", "metric": "correlation",
        "value": value, "low": edges[0], "high": edges[1], "wrong": 0.0, "wrong_low": -0.1, "wrong_high": 0.1,
        "n_units": 4, "n_undefined": 1, "n_judged": 40, "n_failed": 0,
    } | other  # fmt: skip


def a_run(name: str, *rows: dict[str, Any]) -> RunFindings:
    found = pl.DataFrame(list(rows), schema=FINDINGS)
    return RunFindings(name, "ex", "sim", {"latents": "latent at layers.4.x"}, 0.95, found)


def table_under(page: str, heading: str) -> list[str]:
    """Lines of the table of a section, without the rule."""
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [lines[0], *lines[2:]]


def test_a_column_per_run_and_a_row_per_group_that_any_of_them_has() -> None:
    one = a_run("one", row("layer", "layer  4", 0.5), row("layer", "layer 12", 0.25))
    two = a_run("two", row("layer", "layer  4", 0.75, wrong=None), row("layer", "layer 20", None))
    lead = "| correlation | ex | sim | latent |"
    assert table_under(runs_page([one, two], "it"), "By layer") == [
        "| metric | explainer | simulator | kind | layer | one | two |",
        f"{lead} layer 4 | 0.50 [0.40, 0.60] (n 4, control 0.00) | 0.75 [0.65, 0.85] (n 4) |",
        f"{lead} layer 12 | 0.25 [0.15, 0.35] (n 4, control 0.00) |  |",
        f"{lead} layer 20 |  | not defined (1 units) |",
    ]


def test_the_kind_is_its_own_group_and_densities_go_from_rare_to_frequent() -> None:
    densities = ["10 % to 100 %", "0 %", "0.1 % to 1 %", "1 % to 10 %"]
    run = a_run("a", row("kind", "latent", 0.5), *(row("density", name, 0.5) for name in densities))
    page = runs_page([run], "it")
    assert table_under(page, "By kind of unit") == [
        "| metric | explainer | simulator | kind | a |",
        "| correlation | ex | sim | latent | 0.50 [0.40, 0.60] (n 4, control 0.00) |",
    ]
    found = [line.split(" | ")[4] for line in table_under(page, "By density")[1:]]
    assert found == ["0 %", "0.1 % to 1 %", "1 % to 10 %", "10 % to 100 %"]


def test_whoever_simulates_is_listed_by_correlation_and_others_by_what_they_compute() -> None:
    rows = [
        row("kind", "latent", 0.5, metric="auroc"),
        row("kind", "latent", 0.5),
        row("kind", "latent", 0.9, metric="auroc", simulator="detection"),
    ]
    run = a_run("a", *rows)
    listed = [line.split(" | ")[:3] for line in table_under(runs_page([run], "it"), "By kind of unit")[1:]]
    assert listed == [["| correlation", "ex", "sim"], ["| auroc", "ex", "detection"]]
    assert side_by_side([run]).height == 3, "the table of data has every row"


def test_hostile_names_break_neither_the_page_nor_the_figure() -> None:
    run = a_run("a|b\n$x$", row("kind", "latent", 0.5))
    head, line = table_under(runs_page([run], "it\n# no"), "By kind of unit")
    assert head.endswith("| a\\|b↵$x$ |") and line.count(" | ") == 4
    figure = Figure()
    draw_runs([run], "kind", figure)
    (label,) = (text.get_text() for text in figure.axes[0].get_legend().get_texts())
    assert label == r"a|b↵\$x\$: ex, sim"


def test_rows_keep_their_run_and_the_order_of_runs() -> None:
    runs = [a_run("b", row("layer", "layer  4", 0.5)), a_run("a", row("layer", "layer  4", 0.25))]
    found = side_by_side(runs)
    assert found.schema == RUN_FINDINGS
    assert found.select("run", "value").rows() == [("b", 0.5), ("a", 0.25)]
    assert side_by_side([]).schema == RUN_FINDINGS


def test_a_place_per_kind_and_group_and_a_colour_per_run() -> None:
    one = a_run("one", row("layer", "layer 12", 0.5), row("layer", "layer  4", 0.25))
    two = a_run("two", row("layer", "layer  4", 0.75, kind="neuron"), row("layer", "layer 12", 0.1, explainer="other"))
    figure = Figure()
    draw_runs([one, two], "layer", figure)
    axes = figure.axes[0]
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert ticks == ["latent\nlayer 4", "latent\nlayer 12", "neuron\nlayer 4"]
    drawn = [(bars[0].get_color(), [(x, y) for x, y in bars[0].get_xydata()]) for bars in axes.containers]
    assert len({color for color, _ in drawn}) == 2
    # Own means and controls of both runs, .075 to the left and to the right; the other explainer does not lead.
    approx = pytest.approx
    assert drawn[0][1] == [approx((0.925, 0.5)), approx((-0.075, 0.25))]
    assert drawn[1][1] == [approx((0.925, 0.0)), approx((-0.075, 0.0))]
    assert drawn[2][1] == [approx((2.075, 0.75))]


def test_a_grouping_without_a_leading_mean_has_no_figure_and_an_older_one_goes(tmp_path: Path) -> None:
    lead, other = row("layer", "layer  4", 0.5), row("layer", "layer  4", 0.5, simulator="another")
    write_runs([a_run("a", lead)], "it", tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"README.md", "findings.csv", "layer.svg"}
    assert "(layer.svg)" in (tmp_path / "README.md").read_text()
    drawn = (tmp_path / "layer.svg").read_bytes()
    write_runs([a_run("a", lead)], "it", tmp_path)
    assert (tmp_path / "layer.svg").read_bytes() == drawn
    write_runs([a_run("a", other)], "it", tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"README.md", "findings.csv"}
    assert ".svg" not in (tmp_path / "README.md").read_text()


def scored(toy: Toy, name: str) -> ScoredArtifacts:
    paths = toy.targets[name]
    return ScoredArtifacts(paths.examples, paths.explanations, paths.scores, paths.dictionary / "manifest.json")


def test_findings_are_those_of_the_runs_own_report(toy: Toy) -> None:
    hookpoints = {"latents": "layers.12.resid_post", "neurons": "layers.4.mlp_act"}
    whole = [open_target(name, toy.targets[name], where)[0] for name, where in hookpoints.items()]
    read = [open_scored(name, scored(toy, name), where) for name, where in hookpoints.items()]
    expected = find(whole, SETTINGS)
    assert findings_of("run", read, SETTINGS).equals(expected)
    assert set(expected["kind"]) == {"latent", "neuron"} and set(expected["by"]) >= {"kind", "layer", "density"}


def test_a_run_without_scores_is_one_line(toy: Toy) -> None:
    target: Target = open_scored("latents", scored(toy, "latents"), "layers.12.resid_post")
    silent = replace(target, scores=target.scores.clear())
    with pytest.raises(LatenteseError, match=r"^k16: no first explanation has a score on test over contexts top_and"):
        findings_of("k16", [silent], SETTINGS)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_what_is_no_manifest_of_a_dictionary_is_one_line(toy: Toy, tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    broken = replace(scored(toy, "latents"), dictionary=tmp_path / "manifest.json")
    with pytest.raises(ArtifactError, match=r"not the manifest.json of a dictionary") as raised:
        open_scored("latents", broken, "")
    assert "\n" not in str(raised.value)
