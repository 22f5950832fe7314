"""Hostile texts and words of one unit, through explain, score, refine and report: no other unit changes by a bit."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from hostile_study import HOSTILE, HOSTILE_UNIT, WORDS, Parrot, write_study

from latentese import schemas
from latentese.explainers.token_activation import TokenActivationExplainer
from latentese.explainers.token_table import TokenTableExplainer
from latentese.lm.protocol import MarkReply, MarkRequest
from latentese.records import Usage
from latentese.refinement.re_explanation import ReExplanation
from latentese.refinement.revise import Reviser
from latentese.report.inputs import ReportSettings, TargetArtifacts
from latentese.simulators.all_at_once import AllAtOnceSimulator
from latentese.simulators.embedding import EmbeddingSimulator
from latentese.simulators.token_table import TokenTableSimulator
from latentese.stages.explain import ExplainSettings, explain
from latentese.stages.refine import refine
from latentese.stages.refining import RefineInputs, RefineSettings
from latentese.stages.report import report
from latentese.stages.score import score
from latentese.stages.scoring import ScoreSettings
from latentese.store.artifact import open_artifact
from latentese.store.tables import read_explanations, read_table

REFINING = RefineSettings("token_activation", threshold=2.0, n_rounds=2, expected_high=0.5, n_boot=20)
REPORTING = ReportSettings("embedding", "token_activation", n_examples=3, n_boot=20)
TABLES = {
    "scores/scores.parquet": schemas.SCORES,
    "scores/simulations.parquet": schemas.SIMULATIONS,
    "refined/scores.parquet": schemas.SCORES,
    "refined/simulations.parquet": schemas.SIMULATIONS,
    "refined/decisions.parquet": schemas.DECISIONS,
    "refined/finals.parquet": schemas.FINALS,
}


class Letters:
    """Embeds a text by the letters in it, and tells a digit's probability by how long the text before it is."""

    name = "letters"

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        counts = np.array([[1e-6 + text.count(chr(letter)) for letter in range(97, 123)] for text in texts])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)

    async def next_token_logprobs(self, request: MarkRequest) -> MarkReply:
        text = request.messages[-1].content
        await asyncio.sleep(0)  # so that questions of all units are under way at once
        rows = [
            [-1.0 - (sum(text[:mark].encode()) * (digit + 3)) % 17 for digit in range(10)] for mark in request.marks
        ]
        return MarkReply(tuple(map(tuple, rows)), Usage(len(text), 0))


class Run(NamedTuple):
    folder: Path
    lines: dict[str, list[str]]
    """Of each file of explanations."""


def run(folder: Path, word: str | None = None) -> Run:
    """Take a study through all stages; with a hostile word, explanations of its unit say the same word."""
    write_study(folder, *([word] if word else []))
    chat, letters = Parrot(word or "stripes"), Letters()
    explainer = TokenActivationExplainer(chat)
    simulators = {
        "embedding": EmbeddingSimulator(letters),
        "all_at_once": AllAtOnceSimulator(letters),
        "token_table": TokenTableSimulator(),
    }
    inputs = RefineInputs(folder / "contexts", folder / "examples", folder / "explanations", folder / "scores")
    explainers = {"token_activation": explainer, "token_table": TokenTableExplainer()}
    explain(inputs.contexts, inputs.examples, explainers, ExplainSettings(4), inputs.explanations)
    score(inputs.contexts, inputs.examples, inputs.explanations, simulators, ScoreSettings(n_boot=20), inputs.scores)
    arms = {"revision": Reviser(chat), "re_explanation": ReExplanation(explainer)}
    refine(inputs, simulators["embedding"], arms, REFINING, folder / "refined")
    target = TargetArtifacts(
        **{
            kind: folder / kind
            for kind in ("examples", "explanations", "scores", "refined", "evaluation", "dictionary")
        }
    )
    report(inputs.contexts, {"units": target}, REPORTING, folder / "report")
    names = ("explanations", "refined")
    return Run(
        folder, {n: (folder / n / "explanations.jsonl").read_text(encoding="utf-8").split("\n")[:-1] for n in names}
    )


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("usual"))


@pytest.fixture(scope="module", params=[0, 1, 2])
def hostile(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run with every third hostile text in one word."""
    return run(tmp_path_factory.mktemp("hostile"), "".join(list(HOSTILE.values())[request.param :: 3]))


def rows_of_others(run: Run, table: str) -> list[dict[str, Any]]:
    """Rows of units that are not hostile, and whose control does not use what is said of the hostile one."""
    frame = read_table(run.folder / table, TABLES[table])
    other = frame.filter(pl.col("unit") != HOSTILE_UNIT)
    if "control" in other.columns:
        other = other.filter(control="none")
    return other.to_dicts()


def test_the_usual_study_has_something_to_compare(usual: Run) -> None:
    for table in TABLES:
        assert {row["unit"] for row in rows_of_others(usual, table)} == set(WORDS), table
    texts = {e.unit: e.text for e in read_explanations(usual.folder / "explanations" / "explanations.jsonl")}
    assert texts.keys() == {*WORDS, HOSTILE_UNIT}
    scores = read_table(usual.folder / "scores" / "scores.parquet", schemas.SCORES).filter(unit=2, control="none")
    assert scores["value"].drop_nulls().abs().min() < 1  # type: ignore[operator]
    assert set(scores["simulator"]) == {"embedding", "all_at_once", "token_table"}


@pytest.mark.parametrize("name", ["explanations", "refined"])
def test_explanations_of_other_units_are_the_same_bytes(usual: Run, hostile: Run, name: str) -> None:
    def others(run: Run) -> list[str]:
        return [line for line in run.lines[name] if f'"unit": {HOSTILE_UNIT},' not in line and line]

    assert others(usual) == others(hostile)
    assert len(others(usual)) >= 2 * len(WORDS)


@pytest.mark.parametrize("table", list(TABLES))
def test_rows_of_other_units_are_the_same(usual: Run, hostile: Run, table: str) -> None:
    assert rows_of_others(usual, table) == rows_of_others(hostile, table)


def test_no_answer_of_the_hostile_unit_is_lost_or_read_as_another(usual: Run, hostile: Run) -> None:
    """As many contexts are judged as of a usual unit, each with one number per counted token, or a reason."""
    key = ["explanation", "simulator", "control", "split", "context"]
    tables = [
        read_table(one.folder / "scores" / "simulations.parquet", schemas.SIMULATIONS).sort(key)
        for one in (usual, hostile)
    ]
    ours = [table.filter(unit=HOSTILE_UNIT, simulator="token_table") for table in tables]
    assert ours[0]["true_acts"].to_list() == ours[1]["true_acts"].to_list()
    for row in tables[1].iter_rows(named=True):
        if row["expected_acts"] is None:
            assert row["error"]
        else:
            assert len(row["expected_acts"]) == len(row["true_acts"]) == 7


def test_explanations_are_one_line_each_or_a_failure_with_a_reason(hostile: Run) -> None:
    for name in hostile.lines:
        for explanation in read_explanations(hostile.folder / name / "explanations.jsonl"):
            if explanation.text is None:
                assert explanation.error
            else:
                assert explanation.text.strip() and "\n" not in explanation.text


def test_pages_of_other_units_are_the_same_bytes(usual: Run, hostile: Run) -> None:
    wrong = open_artifact(usual.folder / "scores", "scores").manifest.counts["wrong_explanations"]
    # Their pages show the control's score, which is that of the hostile explanation.
    told = {
        int(own.split(".")[0])
        for of_simulator in wrong.values()
        for own, other in of_simulator.items()
        if other.startswith(f"{HOSTILE_UNIT}.")
    }
    compared = set(WORDS) - told
    assert compared
    for unit in compared:
        page = Path("report") / "units" / "units" / f"{unit}.html"
        ours, theirs = ((one.folder / page).read_text(encoding="utf-8") for one in (usual, hostile))
        assert ours == theirs, unit


def test_no_page_holds_markup_that_a_text_brought(usual: Run, hostile: Run) -> None:
    for page in (hostile.folder / "report").rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        same = usual.folder / page.relative_to(hostile.folder)
        assert html.count("<script") == same.read_text(encoding="utf-8").count("<script")
        assert "<script>alert" not in html
        assert not re.search(r"[\x00\x1b\u202e\u200b]", html)
