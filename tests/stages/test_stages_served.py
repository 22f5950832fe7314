"""Explain, score and refine with a language model behind a real HTTP server, which may be faulty."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from scored_study import Study, write_study
from served_models import make_lm
from tiny_models import make_tiny_llama
from toy_units import WordListSimulator

from latentese import schemas
from latentese.explainers.token_activation import TokenActivationExplainer
from latentese.lm.cached import CachedLM
from latentese.lm.marks import NextToken
from latentese.lm.pacing import Limits
from latentese.lm.protocol import Reply, Request
from latentese.lm.testing.faults import Faults
from latentese.lm.testing.models import FolderModel
from latentese.lm.testing.server import LoopbackServer, Served
from latentese.records import Usage
from latentese.refinement.re_explanation import ReExplanation
from latentese.refinement.revise import Reviser
from latentese.simulators.all_at_once import AllAtOnceSimulator
from latentese.stages.explain import ExplainSettings, explain
from latentese.stages.refine import refine
from latentese.stages.refining import RefineInputs, RefineSettings
from latentese.stages.score import score
from latentese.stages.scoring import ScoreSettings
from latentese.store.artifact import open_artifact
from latentese.store.tables import read_explanations, read_table

N_UNITS = 4
SCORING = ScoreSettings(limits={"all_at_once": {"n_units": 2, "n_contexts": 2, "splits": ["test"]}}, n_boot=20)
REFINING = RefineSettings(
    "token_activation", threshold=0.97, n_rounds=2, patience=2, n_candidates=20, expected_high=0.5, n_boot=20
)


@dataclass(frozen=True)
class Namer:
    """Names the words that are marked in the question, as far as they fit into so many."""

    name: str = "namer"

    async def complete(self, request: Request) -> Reply:
        question = request.messages[-2].content
        words = sorted(set(re.findall(r"<<\s*(w\d+)>>", question)))
        return Reply(f" {' '.join(words) or 'nothing'}", Usage(len(question) // 4, 2 * len(words)), "stop")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = make_tiny_llama(tmp_path_factory.mktemp("llama"), max_position_embeddings=4096)
    return Served(chat=Namer(), completions=FolderModel(folder), offers=("logprobs",))


def run(study: Study, lm: CachedLM, out: Path) -> dict[str, bytes]:
    """Run the three stages and return every file they wrote."""
    explainer = TokenActivationExplainer(lm)
    simulators = {"words": WordListSimulator(), "all_at_once": AllAtOnceSimulator(lm)}
    explanations = explain(
        study.contexts, study.examples, {explainer.name: explainer}, ExplainSettings(N_UNITS), out / "explanations"
    )
    scores = score(study.contexts, study.examples, explanations, simulators, SCORING, out / "scores")
    inputs = RefineInputs(study.contexts, study.examples, explanations, scores)
    arms = {"revision": Reviser(lm), "re_explanation": ReExplanation(explainer)}
    refine(inputs, simulators["words"], arms, REFINING, out / "refined")
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}


def make_cached(server: LoopbackServer, folder: Path, timeout_seconds: float = 60.0) -> CachedLM:
    limits = Limits(n_concurrent=4, n_attempts=3, first_wait_seconds=0.001)
    lm = make_lm(server, folder, NextToken(1000), limits=limits, timeout_seconds=timeout_seconds)
    return CachedLM(lm, folder / "answers.sqlite")


class Run(NamedTuple):
    """A run against a server without faults."""

    folder: Path
    files: dict[str, bytes]
    n_asked: int
    port: int


@pytest.fixture(scope="module")
def undisturbed(study: Study, served: Served, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("undisturbed")
    with LoopbackServer(served) as server:
        files = run(study, make_cached(server, folder), folder / "first")
        assert server.most_at_once <= 4
        return Run(folder, files, len(server.seen), server.port)


def test_the_whole_path_runs_against_a_server(study: Study, served: Served, undisturbed: Run) -> None:
    with LoopbackServer(served, port=undisturbed.port) as server:
        again = make_cached(server, undisturbed.folder)
        assert run(study, again, undisturbed.folder / "again") == undisturbed.files
        assert server.seen == []
    assert (again.ledger.n_requests, again.meter.n_attempts) == (again.ledger.n_cached, 0)  # type: ignore[union-attr]
    explanations = read_explanations(undisturbed.folder / "first" / "explanations" / "explanations.jsonl")
    assert {e.unit: e.text for e in explanations} == {0: "w0", 1: "w1", 2: "w2", 4: "w4 w5"}
    simulations = read_table(undisturbed.folder / "first" / "scores" / "simulations.parquet", schemas.SIMULATIONS)
    read_by_model = simulations.filter(simulator="all_at_once")
    assert read_by_model.height > 0
    assert read_by_model["expected_acts"].null_count() == 0


def test_every_unit_ends_with_a_score_or_a_counted_failure_and_a_rerun_asks_what_is_missing(
    study: Study, served: Served, undisturbed: Run, tmp_path: Path
) -> None:
    faults = Faults(share=0.3, stall_seconds=2.5)
    with LoopbackServer(served, faults, undisturbed.port) as server:
        lm = make_cached(server, tmp_path, timeout_seconds=2.0)
        run(study, lm, tmp_path / "faulty")
        assert server.most_at_once <= 4
    check_counts(tmp_path / "faulty", lm)
    assert len(faults.met) >= 8  # of 11 kinds
    assert lm.ledger.n_failed > 0

    with LoopbackServer(served, port=undisturbed.port) as healthy:
        rerun = make_cached(healthy, tmp_path)
        assert run(study, rerun, tmp_path / "mended") == undisturbed.files
        assert len(healthy.seen) < undisturbed.n_asked
    check_counts(tmp_path / "mended", rerun)
    assert rerun.ledger.n_failed == 0
    assert rerun.ledger.n_cached > 0


def check_counts(out: Path, lm: CachedLM) -> None:
    """Rows without an answer are counted, say why, and carry no number."""
    explanations = read_explanations(out / "explanations" / "explanations.jsonl")
    counts = open_artifact(out / "explanations", "explanations").manifest.counts["explainers"]["token_activation"]
    assert len(explanations) == N_UNITS
    assert counts["n_failed"] == sum(e.text is None and bool(e.error) for e in explanations)
    simulations = read_table(out / "scores" / "simulations.parquet", schemas.SIMULATIONS).filter(
        simulator="all_at_once"
    )
    failed = simulations.filter(pl.col("expected_acts").is_null())
    assert failed["error"].null_count() == 0
    assert simulations.filter(pl.col("error").is_not_null()).height == failed.height
    counts = open_artifact(out / "scores", "scores").manifest.counts["simulators"]["all_at_once"]
    assert (counts["n_judged"], counts["n_failed"]) == (simulations.height - failed.height, failed.height)
    scores = read_table(out / "scores" / "scores.parquet", schemas.SCORES).filter(simulator="all_at_once")
    by_score = scores.filter(contexts="top_and_random", metric="correlation")
    assert int(by_score["n_failed"].sum()) == failed.height
    assert bool(lm.ledger.n_failed) == bool(counts["n_failed"] or any(e.error for e in explanations))
