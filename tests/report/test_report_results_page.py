"""The page that is committed: every figure on it is one of `metrics.json`, and nothing in a name is markup."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from latentese.report.inputs import ReportSettings
from latentese.report.markdown import plain
from latentese.report.numbers import estimate_text, two_digits
from latentese.report.pairs import PAIRS
from latentese.report.results_page import Results, results_page
from latentese.store.tables import read_table


@pytest.fixture(scope="module")
def page(published: Path) -> str:
    return (published / "summary.md").read_text()


@pytest.fixture(scope="module")
def metrics(published: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((published / "metrics.json").read_text())
    return found


def tables(page: str) -> list[list[list[str]]]:
    """Cells of every table, without the rule under its head."""
    found = re.findall(r"(?:^\|.*\n?)+", page, flags=re.MULTILINE)
    cut = [[re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()] for table in found]
    return [[[cell.strip() for cell in line] for i, line in enumerate(table) if i != 1] for table in cut]


def test_every_target_has_its_pairs_and_its_arms(page: str) -> None:
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## latents (layers.12.resid\\_post)", "## neurons (layers.4.mlp\\_act)", "## Where the figures are from",
    ]  # fmt: skip
    shapes = [(table[0][0], len(table)) for table in tables(page)]
    assert shapes == [("explainer", 3), ("arm", 4)] * 2
    for table in tables(page):
        assert {len(row) for row in table} == {len(table[0])}


def test_cells_are_the_figures_of_the_pairs(published: Path, page: str) -> None:
    pairs = read_table(published / "pairs.parquet", PAIRS).filter(target="latents", metric="correlation")
    head, *rows = tables(page)[0]
    judges = [name.split("<br>")[0].replace("\\", "") for name in head[3:]]
    assert judges == sorted(set(pairs["simulator"]))
    for row in rows:
        for judge, cell in zip(judges, row[3:], strict=True):
            found = pairs.filter(explainer=row[0].replace("\\", ""), simulator=judge).to_dicts()
            if not found:
                assert cell == "-"
                continue
            (pair,) = found
            own, other, counted, *failed = cell.split("<br>")
            assert own.startswith(f"**{two_digits(pair['value'])}** [{two_digits(pair['low'])}, ")
            assert other.startswith(f"other's {two_digits(pair['wrong'])} [")
            undefined = f", {pair['n_undefined']} undefined" if pair["n_undefined"] else ""
            assert counted == f"{pair['n_units']} units{undefined}"
            assert bool(failed) == bool(pair["n_failed"])


def test_arms_are_told_with_gains_shares_and_costs(page: str, metrics: dict[str, Any]) -> None:
    _, first, revision, again = tables(page)[1]
    summary = metrics["latents"]
    arm = summary["arms"]["revision"]
    assert first[:2] == ["first explanations", estimate_text(summary["refined_initial"])]
    assert revision[1:4] == [
        estimate_text(arm["score"]),
        f"{estimate_text(arm['gain'], signed=True)}, 4 units",
        estimate_text(summary["gain"]["over_re_explanation"], signed=True),
    ]
    assert revision[4:8] == ["-", "2 of 4", "50 %", "3,600"], "no arm showed random texts"
    assert revision[8] == f"{3600 / (arm['gain']['mean'] * 4 / 0.01):,.0f}"
    assert again[3:] == ["-", "-", "0 of 4", "0 %", "3,600", "-"], "it gained nothing, and is not its own control"


def test_the_share_without_a_score_is_said(page: str) -> None:
    assert "Explained 11, failed 1. Without a defined score on test: 1 (8 %)" in page


def test_where_figures_are_from_names_files(page: str) -> None:
    for name in ("pairs.parquet", "scores/scores.parquet", "refined/decisions.parquet"):
        assert f"`{name}`" in page


def test_names_are_no_markup(metrics: dict[str, Any]) -> None:
    assert plain("a|b*c<img>`d`\n[e](f)") == "a\\|b\\*c&lt;img&gt;\\`d\\`↵\\[e\\](f)"
    results = Results({"x": metrics["latents"]}, PAIRS.to_frame(), {}, {"x": 0.9})
    page = results_page(results, ReportSettings("sim", "ex", title="<b>*t*</b>"))
    assert page.startswith("# &lt;b&gt;\\*t\\*&lt;/b&gt;\n")


def test_no_unit_in_refinement_is_said(metrics: dict[str, Any]) -> None:
    summary = {**metrics["latents"], "n_refined": 0}
    page = results_page(Results({"x": summary}, PAIRS.to_frame(), {}, {"x": 0.9}), ReportSettings("sim", "ex"))
    assert "No unit took part." in page
    assert tables(page) == []
