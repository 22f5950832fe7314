"""One whole pipeline on a tiny model with planted neurons, through the real Prefect, DVC and MLflow."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from planted import CLASSES
from ran import Ran
from split_use import documents_used

from flows.publish import flat_metrics
from latentese import schemas
from latentese.store.tables import read_explanations, read_table

pytestmark = [pytest.mark.pipeline, pytest.mark.packaged]

STAGES = 18
"""check, tokenize, 2 collect, 6 stages for each of 2 targets, report, publish."""


def neurons(ran: Ran, artifact: str) -> Path:
    return ran.project.root / "artifacts" / "targets" / "neurons" / artifact


def test_flow_runs_every_stage_as_a_task(ran: Ran) -> None:
    assert f"{STAGES} stages: {STAGES} ran, 0 restored, 0 unchanged" in ran.said
    assert set(re.findall(r"Task run '([^']+)' - Finished in state Ran", ran.said)) >= {
        "check", "tokenize", "collect@layers-0-mlp_act", "train@latents", "explain@neurons", "report", "publish"
    }  # fmt: skip


def test_planted_neurons_are_explained_by_their_words(ran: Ran) -> None:
    planted = dict(enumerate(CLASSES.values()))
    found = read_explanations(neurons(ran, "explanations") / "explanations.jsonl")
    tables = {e.unit: e for e in found if e.explainer == "token_table" and e.unit in planted}
    assert len(tables) >= 3, "the draw of 10 among 12 neurons holds planted ones"
    for unit, explanation in tables.items():
        strongest = {token.strip() for token, _ in explanation.table[: len(planted[unit])]}
        assert strongest == set(planted[unit])


def test_scripted_explainer_names_the_class(ran: Ran) -> None:
    found = read_explanations(neurons(ran, "explanations") / "explanations.jsonl")
    answers = {e.unit: e.text for e in found if e.explainer == "token_activation" and e.unit < len(CLASSES)}
    assert answers == {unit: list(CLASSES)[unit] for unit in answers}


def test_right_explanations_score_high_and_wrong_ones_low(ran: Ran) -> None:
    scores = read_table(neurons(ran, "scores") / "scores.parquet", schemas.SCORES).filter(
        (pl.col("simulator") == "token_table")
        & (pl.col("split") == "test")
        & (pl.col("contexts") == "top_and_random")
        & (pl.col("metric") == "correlation")
        & (pl.col("unit") < len(CLASSES))
    )
    right = scores.filter(pl.col("control") == "none")["value"]
    wrong = scores.filter(pl.col("control") == "wrong_explanation")["value"]
    assert right.min() > 0.9  # type: ignore[operator]
    assert wrong.max() < 0.5  # type: ignore[operator]


def test_splits_share_no_document(ran: Ran) -> None:
    contexts = ran.project.root / "artifacts" / "contexts"
    documents = read_table(contexts / "documents.parquet", schemas.DOCUMENTS)
    assert documents["sha256"].is_unique().all()
    assert documents["document"].is_unique().all()
    table = read_table(contexts / "contexts.parquet", schemas.CONTEXTS)
    per_document = table.group_by("document").agg(pl.col("split").n_unique())
    assert per_document["split"].to_list() == [1] * len(documents)
    assert set(table["split"]) == {"train", "explain", "calibrate", "select", "test"}


def test_explainers_see_explain_and_scores_come_from_other_documents(ran: Ran) -> None:
    table = read_table(ran.project.root / "artifacts" / "contexts" / "contexts.parquet", schemas.CONTEXTS)
    split_of = dict(zip(table["context"], table["split"], strict=True))
    shown = [
        context
        for artifact in ("explanations", "refined")
        for explanation in read_explanations(neurons(ran, artifact) / "explanations.jsonl")
        for context in explanation.examples
    ]
    assert shown
    assert {split_of[context] for context in shown} == {"explain"}
    simulated = read_table(neurons(ran, "scores") / "simulations.parquet", schemas.SIMULATIONS)
    assert {(row["split"], split_of[row["context"]]) for row in simulated.iter_rows(named=True)} == {
        ("calibrate", "calibrate"),
        ("select", "select"),
        ("test", "test"),
    }


@pytest.mark.parametrize("target", ["latents", "neurons"])
def test_no_document_is_used_for_two_splits_work(ran: Ran, target: str) -> None:
    """What explainers, revisers and mining saw, what calibrates, what chooses and what reports: by what was written."""
    used = documents_used(ran.project.root / "artifacts", target)
    assert set(used) == {"explain", "calibrate", "select", "test"}
    for one, other in combinations(used, 2):
        assert used[one] and not used[one] & used[other], (one, other)


def test_mlflow_shows_one_run_that_agrees_with_the_artifacts(ran: Ran) -> None:
    run = only_run(ran)
    metrics = json.loads((ran.project.root / "reports" / "run" / "metrics.json").read_text())
    expected = dict(flat_metrics(metrics))
    assert expected
    assert {name: run.data.metrics[name] for name in expected} == pytest.approx(expected)
    assert run.data.params["dictionary.k"] == "2"
    assert "prefect.flow_run" in run.data.tags


def test_mlflow_has_training_curves_with_steps(ran: Ran) -> None:
    history = mlflow_client(ran).get_metric_history(only_run(ran).info.run_id, "latents/train/fvu")
    log = read_table(
        ran.project.root / "artifacts" / "targets" / "latents" / "dictionary" / "train_log.parquet", schemas.TRAIN_LOG
    )
    assert [(point.step, point.value) for point in history] == list(zip(log["step"], log["fvu"], strict=True))


def test_repro_afterwards_changes_nothing(ran: Ran) -> None:
    before = (ran.project.root / "dvc.lock").read_bytes()
    assert "Data and pipelines are up to date." in ran.project.dvc("repro")
    assert (ran.project.root / "dvc.lock").read_bytes() == before


def test_second_flow_run_starts_no_stage_and_adds_no_run(ran: Ran) -> None:
    said = ran.project.python("flows.pipeline", "experiment=planted")
    assert f"{STAGES} stages: 0 ran, 0 restored, {STAGES} unchanged" in said
    only_run(ran)


def test_report_is_one_page_per_unit_and_names_no_host(ran: Ran) -> None:
    report = ran.project.root / "reports" / "run"
    assert len(list((report / "units" / "neurons").glob("*.html"))) == 10
    assert not re.search(r"(src|href)=[\"']https?://", (report / "index.html").read_text())


def mlflow_client(ran: Ran) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{ran.project.root}/tracking/mlflow.db")


def only_run(ran: Ran) -> Any:
    client = mlflow_client(ran)
    experiment = client.get_experiment_by_name("latentese")
    (run,) = client.search_runs([experiment.experiment_id])
    return run
