"""MLflow gets each distinct pipeline once, with everything, whatever happens in between."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.publish import check_up_to_date, flat_metrics, pipeline_key
from latentese.errors import LatenteseError
from latentese.tracking import (
    COMPLETE_TAG,
    PARENT_TAG,
    Curve,
    PipelineRun,
    begin_run,
    live_run,
    publish_run,
    runs_page,
)

LOCK = """\
schema: '2.0'
stages:
  train@latents: {{cmd: a, outs: [{{path: artifacts/x, md5: {md5}}}, {{path: reports/timings/t.json, md5: {timing}}}]}}
  train@dropped: {{cmd: a, outs: [{{path: artifacts/y, md5: 3}}]}}
  publish: {{cmd: b, deps: [{{path: reports/run, md5: 9}}]}}
"""


def run_of(tmp_path: Path) -> PipelineRun:
    (tmp_path / "page.html").write_text("<p>report")
    return PipelineRun(
        key="abc",
        name="demo-abc",
        params={"dictionary.k": "32", "long": "x" * 7000},
        metrics={"latents/fvu": 0.25},
        curves=[Curve("latents/train/fvu", [1, 2, 3], [0.9, 0.5, 0.25])],
        artifacts={"report": tmp_path / "page.html"},
        tags={"git.commit": "f00"},
    )


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # where MLflow puts the artifacts of a SQLite store
    return f"sqlite:///{tmp_path}/db/mlflow.db"


def test_run_holds_parameters_metrics_curves_and_report(tmp_path: Path, uri: str) -> None:
    run_id = publish_run(run_of(tmp_path), uri, "latentese")
    client = MlflowClient(uri)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["dictionary.k"] == "32"
    assert run.data.metrics["latents/fvu"] == 0.25
    points = client.get_metric_history(run_id, "latents/train/fvu")
    assert [(point.step, point.value) for point in points] == [(1, 0.9), (2, 0.5), (3, 0.25)]
    assert [file.path for file in client.list_artifacts(run_id, "report")] == ["report/page.html"]


def test_page_of_runs_is_that_of_the_experiment_runs_are_published_to(tmp_path: Path, uri: str) -> None:
    page = runs_page(uri, "latentese")
    publish_run(run_of(tmp_path), uri, "latentese")
    experiment = MlflowClient(uri).get_experiment_by_name("latentese")
    assert page == f"/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
    assert runs_page(uri, "latentese") == page


def test_publishing_again_only_tags(tmp_path: Path, uri: str) -> None:
    first = publish_run(run_of(tmp_path), uri, "latentese")
    second = publish_run(replace(run_of(tmp_path), tags={"prefect.flow_run": "7"}), uri, "latentese")
    assert first == second
    client = MlflowClient(uri)
    assert client.get_run(first).data.tags["prefect.flow_run"] == "7"
    assert len(client.get_metric_history(first, "latents/train/fvu")) == 3


def test_half_written_run_is_written_anew(tmp_path: Path, uri: str) -> None:
    first = publish_run(run_of(tmp_path), uri, "latentese")
    client = MlflowClient(uri)
    client.delete_tag(first, COMPLETE_TAG)
    second = publish_run(run_of(tmp_path), uri, "latentese")
    assert second != first
    experiment = client.get_experiment_by_name("latentese")
    assert [run.info.run_id for run in client.search_runs([experiment.experiment_id])] == [second]


def test_a_begun_run_is_found_again_and_completed_in_place(tmp_path: Path, uri: str) -> None:
    begun = begin_run("abc", "sweep", uri, "latentese")
    assert begin_run("abc", "sweep", uri, "latentese") == begun
    client = MlflowClient(uri)
    assert client.get_run(begun).info.status == "RUNNING"
    child = publish_run(replace(run_of(tmp_path), key="cell", tags={PARENT_TAG: begun}), uri, "latentese")
    assert publish_run(run_of(tmp_path), uri, "latentese") == begun, "what was begun under this key is completed"
    run = client.get_run(begun)
    assert (run.info.status, run.data.metrics["latents/fvu"]) == ("FINISHED", 0.25)
    assert begin_run("abc", "sweep", uri, "latentese") == begun, "a complete one is found too"
    assert client.get_run(child).data.tags["mlflow.parentRunId"] == begun


def test_a_child_moves_below_another_parent(tmp_path: Path, uri: str) -> None:
    parents = [begin_run(key, key, uri, "latentese") for key in ("one", "other")]
    children = {
        publish_run(replace(run_of(tmp_path), tags={PARENT_TAG: parent}), uri, "latentese") for parent in parents
    }
    (child,) = children
    assert MlflowClient(uri).get_run(child).data.tags["mlflow.parentRunId"] == parents[1]


def test_two_processes_may_create_the_database_at_once(tmp_path: Path, uri: str) -> None:
    (tmp_path / "page.html").write_text("")
    runs = [replace(run_of(tmp_path), key=str(i)) for i in range(2)]
    with get_context("spawn").Pool(2) as pool:
        ids = pool.starmap(publish_run, [(run, uri, "latentese") for run in runs])
    assert len(set(ids)) == 2
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("latentese")
    assert {run.info.run_id for run in client.search_runs([experiment.experiment_id])} == set(ids)


def test_key_follows_results_and_not_timings_or_dropped_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def key(md5: int, timing: int, items: tuple[str, ...] = ("latents",)) -> str:
        (tmp_path / "dvc.lock").write_text(LOCK.format(md5=md5, timing=timing))
        return pipeline_key(items)

    assert key(1, 1) == key(1, 2)
    assert key(1, 1) != key(2, 1)
    assert key(1, 1) != key(1, 1, ("latents", "dropped"))


def test_no_lock_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LatenteseError, match=r"^dvc\.lock is missing: run `dvc repro` first$"):
        pipeline_key(())


def test_flat_metrics_keeps_numbers_only() -> None:
    tree = {"latents": {"fvu": 0.25, "n": 3, "name": "x", "none": None, "flag": True}, "total": 1}
    assert dict(flat_metrics(tree)) == {"latents/fvu": 0.25, "latents/n": 3.0, "total": 1.0}


AWAY = "http://ada:hush@127.0.0.1:9"


def test_a_password_in_the_address_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(LatenteseError, match=r"^tracking\.uri='http://127\.0\.0\.1:9'") as away:
        publish_run(run_of(tmp_path), AWAY, "latentese")
    assert "hush" not in str(away.value)


def test_a_server_that_is_away_ends_the_watching_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with live_run(AWAY, "latentese", "train@latents") as log:
        log(1, {"fvu": 0.5})
    said = capsys.readouterr().err
    assert said.startswith("warning: not shown live: tracking.uri=") and "hush" not in said


def test_a_live_run_shows_its_curve_and_how_it_ended(uri: str) -> None:
    with pytest.raises(KeyboardInterrupt), live_run(uri, "latentese", "train@latents") as log:
        log(1, {"fvu": 0.5, "l0": float("nan")})
        raise KeyboardInterrupt
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("latentese")
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.metrics) == ("KILLED", {"fvu": 0.5})


def test_results_of_other_settings_are_not_published_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], check=True)
    Path("params.yaml").write_text("k: 64\n")
    Path("dvc.yaml").write_text("stages: {train: {cmd: echo, params: [k]}, publish: {cmd: echo, deps: [params.yaml]}}")
    with pytest.raises(LatenteseError, match=r"not of these settings \(train would run\): run `dvc repro` first"):
        check_up_to_date()
    subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet", "train"], check=True)
    check_up_to_date()
