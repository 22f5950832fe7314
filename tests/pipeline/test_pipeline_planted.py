"""One whole pipeline on a tiny model with planted neurons, through the real Prefect, DVC and MLflow.

Then what a change of a setting reruns, what it restores, and how a mistake ends: the same through every door.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from omegaconf import OmegaConf
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
    no_server = {name: value for name, value in ran.project.environment.items() if name != "PREFECT_API_URL"}
    said = replace(ran.project, environment=no_server).python("flows.pipeline", "experiment=planted")  # starts its own
    assert f"{STAGES} stages: 0 ran, 0 restored, {STAGES} unchanged" in said
    only_run(ran)


def test_report_is_one_page_per_unit_and_names_no_host(ran: Ran) -> None:
    report = ran.project.root / "reports" / "run"
    assert len(list((report / "units" / "neurons").glob("*.html"))) == 10
    assert not re.search(r"(src|href)=[\"']https?://", (report / "index.html").read_text())


def stages_said(said: str, verdict: str) -> set[str]:
    """Stages of which DVC said that it runs or skips them."""
    start, end = {"ran": ("Running stage '", "':"), "unchanged": ("Stage '", "' didn't change")}[verdict]
    return {line.split(start)[1].split(end)[0] for line in said.splitlines() if start in line and end in line}


@pytest.fixture
def restored_params(ran: Ran) -> None:
    """Start from the planted experiment's parameters and results: as the run left them, or brought back."""
    params = ran.project.root / "params.yaml"
    if OmegaConf.to_object(OmegaConf.load(params)) != ran.params:
        ran.project.python("flows.params", "experiment=planted")
        ran.project.dvc("repro")


@pytest.fixture
def _params_come_back(ran: Ran) -> Iterator[None]:
    """Put params.yaml back as it was."""
    file = ran.project.root / "params.yaml"
    before = file.read_bytes()
    yield
    file.write_bytes(before)


@pytest.mark.usefixtures("restored_params")
def test_experiment_with_another_k_reruns_from_train_on_and_mlflow_shows_both(ran: Ran) -> None:
    said = ran.project.dvc("exp", "run", "-n", "k3", "-S", "experiment=planted", "-S", "dictionary.k=3")
    assert stages_said(said, "ran") >= {"train@latents", "sample@latents", "explain@latents", "report", "publish"}
    untouched = {"tokenize", "collect@layers-0-resid_post", "train@neurons", "explain@neurons"}
    assert untouched <= stages_said(said, "unchanged")
    runs = pipeline_runs(ran)
    assert {"2", "3"} <= {run.data.params["dictionary.k"] for run in runs}
    assert len({run.data.tags["latentese.key"] for run in runs}) == len(runs)


def test_going_back_restores_without_running(ran: Ran) -> None:
    if OmegaConf.load(ran.project.root / "params.yaml").dictionary.k != 3:  # it is after the test before
        ran.project.python("flows.pipeline", "experiment=planted", "dictionary.k=3")
    n_runs = len(pipeline_runs(ran))
    said = ran.project.python("flows.pipeline", "experiment=planted")
    assert "'train@latents' - Finished in state Restored" in said
    assert "'sample@latents' - Finished in state Restored" in said
    assert len(pipeline_runs(ran)) == n_runs


@pytest.mark.usefixtures("restored_params")
def test_another_explainer_does_not_retrain(ran: Ran) -> None:
    ran.project.python("flows.params", "experiment=planted", "explainers.token_table.n_named=3")
    said = ran.project.dvc("repro")
    assert stages_said(said, "ran") >= {"explain@latents", "explain@neurons", "report"}
    assert {"tokenize", "train@latents", "sample@latents", "evaluate@latents"} <= stages_said(said, "unchanged")


@pytest.mark.usefixtures("restored_params")
def test_edit_in_conf_is_never_ignored(ran: Ran) -> None:
    file = ran.project.root / "conf" / "report" / "default.yaml"
    before = file.read_text()
    file.write_text(before + "\n# an edit\n")
    try:
        said = ran.project.dvc("repro", code=255)
        assert "error: conf/ changed after params.yaml was composed: run `make params`" in said
        ran.project.python("flows.params", "experiment=planted")
        assert "Running stage 'check'" in ran.project.dvc("repro")
    finally:
        file.write_text(before)


@pytest.mark.parametrize(
    ("stage", "override", "line"),
    [
        ("params", "training.batch_size=3", "configuration: Could not override 'training.batch_size'"),
        ("check", "targets.latents.hookpoint=layers.0.pre", "hookpoint='layers.0.pre' is not allowed: layers.<0..1>."),
        ("check", "dictionary.k=99", "is not allowed: "),
        ("check", "subject.path=/nowhere", "/nowhere: no model here (config.json is missing)"),
        ("check", "+training.batch_size=3", "training.batch_size=3 is not allowed: unknown key; known are n_tokens, "),
        ("check", "report.primary_simulator=me", "report.primary_simulator='me' is not allowed: one of embedding, "),
        (
            "check",
            "report.primary_simulator=embedding",
            "='embedding' is not allowed: token_table, refinement.simulator",
        ),
        ("tokenize", "contexts.ctx_len=9999", "ctx_len=9999 is not allowed: at most 64"),
        ("tokenize", "corpus.folder.source.path=/nowhere", "/nowhere"),
    ],
)
@pytest.mark.usefixtures("_params_come_back")
def test_mistake_stops_with_one_line_before_work(ran: Ran, stage: str, override: str, line: str) -> None:
    said = ran.project.python("flows.params", "experiment=planted", override, code=2 if stage == "params" else 0)
    if stage != "params":
        said = ran.project.python(f"flows.{stage}", code=2)
    (error,) = [found for found in said.splitlines() if found.startswith("error: ")]
    assert line in error
    assert "Traceback" not in said
    assert (ran.project.root / "artifacts/contexts/manifest.json").is_file(), "what was computed stays"


@pytest.mark.usefixtures("_params_come_back")
def test_mistake_is_one_line_in_the_flow_too(ran: Ran) -> None:
    said = ran.project.python("flows.pipeline", "experiment=planted", "dictionary.k=99", code=2)
    assert "Traceback" not in said
    assert any(found.startswith("error: check: ") and "99" in found for found in said.splitlines())
    assert "Finished in state Failed(" in said
    assert (ran.project.root / "artifacts/targets/latents/dictionary/manifest.json").is_file()


def test_corrupt_shard_stops_in_one_line(ran: Ran, tmp_path: Path) -> None:
    shard = next((ran.project.root / "artifacts/activations/layers-0-resid_post").glob("shard-*.safetensors"))
    whole = shard.read_bytes()
    try:
        shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        said = ran.project.python("flows.train", "latents", code=2)
        assert f"error: artifacts/activations/layers-0-resid_post/{shard.name}: corrupt" in said
    finally:
        shard.write_bytes(whole)


def mlflow_client(ran: Ran) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{ran.project.root}/tracking/mlflow.db")


def pipeline_runs(ran: Ran) -> list[Any]:
    client = mlflow_client(ran)
    return list(client.search_runs([client.get_experiment_by_name("latentese").experiment_id]))


def only_run(ran: Ran) -> Any:
    (run,) = pipeline_runs(ran)
    return run
