"""Findings of a Git revision, the workspace and folders, side by side, and their one run in MLflow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import polars as pl
import pytest
from mlflow import MlflowClient
from toy_report import build_toy

from flows.findings import main, named, tracked_name
from latentese.errors import LatenteseError
from latentese.report.findings import FindingsSettings, find
from latentese.report.inputs import TargetArtifacts, open_target
from latentese.report.runs import RUN_FINDINGS

TARGETS = Path("artifacts/targets")
NAMES = ("examples", "explanations", "scores", "dictionary")
DVC_YAML = """\
stages:
  make:
    cmd: "true"
    outs: [artifacts/targets]
"""
THEN, NOW = "hookpoint: layers.12.resid_post", "hookpoint: layers.20.resid_post"


def run(*command: str) -> None:
    environment = os.environ | {
        f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def dvc(*words: str) -> None:
    run(sys.executable, "-m", "dvc", *words, "--quiet")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A project with a commit; its workspace says that the latents are of layer 20, not 12."""
    folder = tmp_path_factory.mktemp("runs")
    toy = build_toy(folder / "toy")
    for name, paths in toy.targets.items():
        for artifact in NAMES:
            shutil.copytree(getattr(paths, artifact), folder / TARGETS / name / artifact)
    params = (root / "params.yaml").read_text()
    assert params.count(THEN) >= 1
    params = params.replace("primary_simulator: embedding", "primary_simulator: similarity")
    (folder / "params.yaml").write_text(params)
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / ".gitignore").write_text("toy\n/artifacts\n/mlflow.db*\n/mlartifacts\n/reports\n.scratch\n")
    before = Path.cwd()
    os.chdir(folder)
    try:
        run("git", "init", "--quiet")
        dvc("init")
        dvc("config", "core.analytics", "false")
        dvc("commit", "--force")
        run("git", "add", "--all")
        run("git", "commit", "--quiet", "--message", "first")
        (folder / "params.yaml").write_text(params.replace(THEN, NOW))
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(autouse=True)
def _inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Content and time of every file of a run."""
    files = [file for file in [folder / "params.yaml", *(folder / TARGETS).rglob("*")] if file.is_file()]
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def table(folder: Path) -> pl.DataFrame:
    return pl.read_csv(folder / "findings.csv", schema=RUN_FINDINGS)


def test_a_commit_and_the_workspace_stand_side_by_side_and_are_one_run_of_mlflow(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    before = state(project)
    for _ in range(2):  # the second time finds the same run
        main("before=HEAD", "workspace", "--out", str(tmp_path / "out"))
    assert state(project) == before
    assert "out/README.md: before, workspace" in capsys.readouterr().out

    found = table(tmp_path / "out")
    layers = {name: set(found.filter(run=name, by="layer", kind="latent")["group"]) for name in ("before", "workspace")}
    assert layers == {"before": {"layer 12"}, "workspace": {"layer 20"}}
    then, now = (found.filter(run=name, by="density").drop("run") for name in ("before", "workspace"))
    assert then.height and then.equals(now), "only the layer differs"

    page = (tmp_path / "out/README.md").read_text()
    assert r"| before | latents | latent at layers.12.resid\_post | token\_activation | similarity | 90% |" in page
    assert r"| workspace | latents | latent at layers.20.resid\_post | token\_activation | similarity | 90% |" in page
    assert {file.name for file in (tmp_path / "out").glob("*.svg")} == {"kind.svg", "layer.svg", "density.svg"}

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("latentese")
    assert experiment is not None
    (published,) = client.search_runs([experiment.experiment_id])
    assert published.data.params["workspace.latents"] == "latent at layers.20.resid_post"
    path = "findings/kind/latent/latent/token_activation/similarity/correlation/value"
    (mean,) = found.filter(
        run="before", by="kind", kind="latent", explainer="token_activation", simulator="similarity"
    ).filter(pl.col("metric") == "correlation")["value"]
    assert published.data.metrics[f"before/{path}"] == pytest.approx(mean)
    assert published.data.metrics[f"workspace/{path}"] == pytest.approx(mean)
    listed = {file.path for file in client.list_artifacts(published.info.run_id, "findings")}
    assert {"findings/README.md", "findings/findings.csv", "findings/layer.svg"} <= listed


@pytest.fixture
def _unpublished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.findings.publish_run", lambda *_: "run")


@pytest.mark.usefixtures("_unpublished")
def test_a_folder_is_a_run_and_has_the_means_of_its_own_report(project: Path, tmp_path: Path) -> None:
    main(f"there={project}", "--out", str(tmp_path))
    targets = []
    for name, hookpoint in {"latents": "layers.20.resid_post", "neurons": "layers.12.mlp_act"}.items():
        paths = TargetArtifacts(
            **{field.name: project / "toy" / name / field.name for field in fields(TargetArtifacts)}
        )
        targets.append(open_target(name, paths, hookpoint)[0])
    expected = find(targets, FindingsSettings(level=0.9))
    assert table(tmp_path).drop("run").equals(expected)


def test_names_are_given_or_those_of_the_sources() -> None:
    assert named(["a=main", "k16", "b=x=y"]) == [("a", "main"), ("k16", "k16"), ("b", "x=y")]
    assert [tracked_name(name) for name in ("k16", "HEAD~1", "../other run/", "wide.é")] == [
        "k16", "HEAD-1", "other-run", "wide",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["never"], "never: no Git revision and no DVC experiment"),
        (["HEAD", "HEAD"], "run='HEAD' is not allowed: names that differ"),
        (["a b=HEAD", "a~b=workspace"], "run='a b' is not allowed: names that differ"),
        (["~=HEAD"], "run='~' is not allowed: names that differ"),
        (["=HEAD"], "run='=HEAD' is not allowed: NAME=REV_OR_FOLDER"),
        (["a="], "run='a=' is not allowed: NAME=REV_OR_FOLDER"),
        (["HEAD", "--contexts", "all"], "--contexts='all' is not allowed: one of top_and_random, random_only"),
    ],
)
def test_what_is_no_run_is_one_line(words: list[str], line: str, tmp_path: Path) -> None:
    with pytest.raises(LatenteseError) as raised:
        main(*words, "--out", str(tmp_path / "out"))
    assert str(raised.value).startswith(line) and "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_run_without_scores_or_of_another_project_is_one_line(project: Path, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((project / "params.yaml").read_text())
    shutil.copytree(project / TARGETS, tmp_path / TARGETS, ignore=shutil.ignore_patterns("scores"))
    with pytest.raises(LatenteseError, match=r"artifacts/targets/latents/scores is missing; run `dvc repro`"):
        main(f"other={tmp_path}")
    (tmp_path / "params.yaml").write_text("lr: 1\n")
    with pytest.raises(LatenteseError, match=r"its params.yaml says nothing of `report`, so it is no run"):
        main(f"other={tmp_path}")
    assert not (project / "reports").exists()


def test_mlflow_is_told_from_the_project_that_the_command_runs_in(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LatenteseError, match=r"params.yaml is missing"):
        main(str(project))
