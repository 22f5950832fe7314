"""The page of puzzles: figures by hand, and text from outside that cannot break a table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from toy_units import make_explanation

from latentese.metrics.intervals import Bootstrap
from latentese.puzzles.explaining import Found, Written
from latentese.puzzles.files import packaged_files, read_puzzles
from latentese.puzzles.puzzle import case_of
from latentese.puzzles.trials import Trial
from latentese.report.markdown import markdown_table, plain
from latentese.report.puzzles import PuzzleFindings, found_table, page, trials_table, write_page

PUZZLES = sorted(read_puzzles(packaged_files()), key=lambda puzzle: puzzle.kind != "lexical")[:2]
ONE, TWO = PUZZLES


def trial(puzzle: str, true: float | None, *false: float | None, n_failed: int = 0) -> Trial:
    return Trial(puzzle, "lexical", "j", "correlation", true, false, 40, n_failed)


def findings(text: str = "the word") -> PuzzleFindings:
    written = [
        Written(case_of(ONE), make_explanation(text, 0)),
        Written(case_of(TWO), make_explanation(None, 1, error="no answer")),
    ]
    found = [Found(ONE.name, "lexical", "reader", "j", 0.5, 0.75, -0.25, True, 30, 3)]
    trials = [trial(ONE.name, 0.5, 0.25, None, 0.0, n_failed=4), trial(TWO.name, None, 0.5, 0.25, 0.0)]
    return PuzzleFindings("python -m flows.puzzles", ["model: m"], PUZZLES, trials, written, found, Bootstrap(100))


def cells(table: str, row: int) -> list[str]:
    return [cell.strip() for cell in table.splitlines()[row + 2].strip("|").split(" | ")]


def test_trials_by_hand() -> None:
    # One of two wins: Wilson's interval is .5 +- sqrt(z^2 / 8 + z^4 / 16) / (1 + z^2 / 2), which is .41, with z = 1.96.
    expected = ["1 of 2 [0.09, 0.91]", "0.50 (1 undefined)", "0.38 [0.25, 0.50]", "0.25 (1 undefined)", "4 of 80"]
    table = trials_table(findings())
    assert cells(table, 0) == ["j (correlation)", "all", *expected]
    assert cells(table, 1) == ["", "lexical", *expected]
    assert len(table.splitlines()) == 4


def test_explainers_by_hand() -> None:
    table = found_table(findings())
    assert cells(table, 0) == [
        "reader",
        "j",
        "1 of 2",
        "0.50",
        "0.75",
        "-0.25",
        "1 of 1 [0.21, 1.00]",
        "3 of 30",
        "0.50",
    ]


def test_every_puzzle_has_a_line_that_shows_who_won() -> None:
    lines = page(findings()).splitlines()
    assert f"| lexical | {plain(ONE.name)} | {ONE.true} | **0.50** / 0.25 |" in lines
    assert f"| lexical | {plain(TWO.name)} | {TWO.true} | - / **0.50** |" in lines
    assert f"| {plain(TWO.name)} | (failed: no answer) |" in lines


@pytest.mark.parametrize("hostile", ["a | b", "a\n| b |", "a\r\nb", "\u2028# c", "\x00|"])
def test_text_from_outside_stays_in_its_cell(hostile: str) -> None:
    usual, lines = page(findings()).splitlines(), page(findings(hostile)).splitlines()
    assert len(lines) == len(usual)
    row = next(line for line in lines if line.startswith(f"| {plain(ONE.name)} |"))
    assert [line for line in lines if line not in usual] == [row]


MARKUP = "</td><script>alert(1)</script> ![x](http://x/y.png) `code` **bold** _it_ &amp; |"


def test_what_an_explainer_wrote_is_no_markup() -> None:
    row = next(line for line in page(findings(MARKUP)).splitlines() if "alert" in line)
    assert row == (
        f"| {plain(ONE.name)} | &lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt; !\\[x\\](http://x/y.png) \\`code\\` "
        "\\*\\*bold\\*\\* \\_it\\_ &amp;amp; \\| |"
    )


def test_names_from_outside_are_no_markup_in_any_table() -> None:
    """Names of judges and explainers, of puzzles, and sentences that come from a file."""
    hostile = replace(ONE, name="<b>", true="<i>")
    written = [Written(case_of(hostile), make_explanation("<u>", 0, explainer="<s>"))]
    trials = [replace(trial(hostile.name, 0.5, 0.25), judge="<q>")]
    found = [Found(hostile.name, "lexical", "<s>", "<q>", 0.5, 0.75, -0.25, True, 30, 3)]
    text = page(replace(findings(), puzzles=[hostile], trials=trials, written=written, found=found))
    assert "<" not in text
    for escaped in ("&lt;b&gt;", "&lt;i&gt;", "&lt;u&gt;", "&lt;s&gt;", "&lt;q&gt;"):
        assert escaped in text


def test_a_table_of_figures_keeps_its_own_markup() -> None:
    assert markdown_table(["_a_"], [["**1** [0, 2]"]], is_escaped=True) == "| _a_ |\n| --- |\n| **1** [0, 2] |"
    assert markdown_table(["_a_"], [["[0]"]]) == "| \\_a\\_ |\n| --- |\n| \\[0\\] |"


def test_without_explainers_their_tables_are_left_out() -> None:
    text = page(replace(findings(), written=[], found=[]))
    assert "explainer" not in text.casefold()


def test_figures_are_written_beside_the_page(tmp_path: Path) -> None:
    write_page(findings(), tmp_path / "puzzles.md")
    figures = json.loads((tmp_path / "puzzles.json").read_text(encoding="utf-8"))
    assert (tmp_path / "puzzles.md").read_text(encoding="utf-8") == page(findings())
    assert [(row["puzzle"], row["won"], row["margin"]) for row in figures["trials"]] == [
        (ONE.name, True, 0.25),
        (TWO.name, False, None),
    ]
    assert figures["written"][1]["error"] == "no answer"
    assert figures["found"][0]["named"] is True
