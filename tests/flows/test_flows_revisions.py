"""Explanations of two experiments of a real DVC repository, compared without touching the workspace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from toy_report import Toy, build_toy
from toy_study import UNITS

from flows.explanations import main
from latentese import schemas
from latentese.errors import LatenteseError, SettingError
from latentese.store.artifact import open_artifact, open_draft
from latentese.store.files import write_json
from latentese.store.tables import read_explanations, read_table, write_explanations, write_table

TARGET = Path("artifacts/targets/latents")
NAMES = ("explanations", "scores", "refined", "dictionary")
DVC_YAML = """\
stages:
  make:
    foreach: [explanations, scores, refined, dictionary]
    do:
      cmd: "true"
      outs: ["artifacts/targets/latents/${item}"]
"""
CHANGED, DROPPED = UNITS["latents"][0], UNITS["latents"][1]


def run(*command: str) -> None:
    environment = os.environ | {
        f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def dvc(*words: str) -> None:
    run(sys.executable, "-m", "dvc", *words, "--quiet")


def rewrite(name: str, tables: dict[str, pl.DataFrame | list[Any]]) -> None:
    """Publish an artifact again with other tables, its inputs and settings as they were."""
    old = open_artifact(TARGET / name, name).manifest
    contexts = {"contexts": open_artifact(Path("contexts"), "contexts")}
    with open_draft(TARGET / name, name, contexts, {**old.settings, "again": True}) as draft:
        for file in old.files:
            shutil.copy2(TARGET / name / file, draft.path / file)
        for file, table in tables.items():
            if isinstance(table, list):
                write_explanations(table, draft.path / file)
            else:
                write_table(table, schemas.SIMULATIONS, draft.path / file)
        draft.publish(old.counts)


def improve() -> None:
    """Give one unit another text and simulations that are exact, and drop another unit."""
    written = read_explanations(TARGET / "explanations/explanations.jsonl")
    kept = [e for e in written if e.unit != DROPPED]
    texts = ["exactly so" if e.unit == CHANGED else e.text for e in kept]
    rewrite("explanations", {"explanations.jsonl": [_with(e, text) for e, text in zip(kept, texts, strict=True)]})
    for name in ("scores", "refined"):
        rows = read_table(TARGET / name / "simulations.parquet", schemas.SIMULATIONS)
        exact = pl.when((pl.col("unit") == CHANGED) & (pl.col("control") == "none")).then("true_acts")
        rewrite(name, {"simulations.parquet": rows.with_columns(expected_acts=exact.otherwise("expected_acts"))})


def _with(explanation: Any, text: str | None) -> Any:
    from dataclasses import replace

    return replace(explanation, text=text)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A project with a commit, the experiments `improved` and `retrained`, and a third state in the workspace."""
    folder = tmp_path_factory.mktemp("versions")
    toy: Toy = build_toy(folder / "toy")
    before = Path.cwd()
    os.chdir(folder)
    try:
        TARGET.mkdir(parents=True)
        for name in NAMES:
            shutil.copytree(getattr(toy.targets["latents"], name), TARGET / name)
        shutil.copytree(toy.contexts, "contexts")
        params = (root / "params.yaml").read_text()
        Path("params.yaml").write_text(params.replace("primary_simulator: embedding", "primary_simulator: similarity"))
        Path("dvc.yaml").write_text(DVC_YAML)
        Path(".gitignore").write_text("toy\ncontexts\n.scratch\n")
        run("git", "init", "--quiet")
        dvc("init")
        dvc("config", "core.analytics", "false")
        dvc("commit", "--force")
        run("git", "add", "--all")
        run("git", "commit", "--quiet", "--message", "first")
        improve()
        dvc("commit", "--force")
        dvc("exp", "save", "--name", "improved")
        manifest = json.loads((TARGET / "dictionary/manifest.json").read_text())
        manifest["files"]["cfg.json"] = "0" * 64
        write_json(manifest, TARGET / "dictionary/manifest.json")
        dvc("commit", "--force")
        dvc("exp", "save", "--name", "retrained")
        dvc("checkout")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(autouse=True)
def _inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def compared(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    main("diff", *words, "--json")
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Content and time of every file of the workspace."""
    files = [
        file for file in folder.rglob("*") if file.is_file() and ".dvc" not in file.parts and ".git" not in file.parts
    ]
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def test_a_commit_and_an_experiment_are_compared_and_the_workspace_is_left_alone(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state(project)
    found = compared(capsys, "HEAD", "improved")
    assert state(project) == before
    assert [change["unit"] for change in found["changes"]] == [CHANGED]
    (change,) = found["changes"]
    assert (change["after_text"], change["after"]) == ("exactly so", pytest.approx(1.0))
    assert change["gain"]["value"] == pytest.approx(1 - change["before"])
    assert 0 < change["gain"]["low"] <= change["gain"]["value"] <= change["gain"]["high"]
    assert (found["paired"], found["level"]) == (True, 0.9)
    assert (found["n_only_before"], found["n_only_after"], found["n_gained"]) == (1, 0, 1)
    # Unchanged units gain nothing: the mean over all with both scores is this gain, shared among them.
    assert found["mean_gain"]["value"] == pytest.approx(change["gain"]["value"] / found["n_scored"])


def test_the_way_back_is_the_same_with_signs_turned(capsys: pytest.CaptureFixture[str]) -> None:
    there, back = compared(capsys, "HEAD", "improved"), compared(capsys, "improved", "HEAD")
    assert back["mean_gain"]["value"] == pytest.approx(-there["mean_gain"]["value"])
    assert (back["n_gained"], back["n_lost"]) == (0, 1)


def test_first_explanations_are_compared_on_request_and_a_person_reads_a_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main("diff", "HEAD", "improved", "--first", "--explainer", "token_table")
    said = " ".join(capsys.readouterr().out.split())
    assert "exactly so" in said
    assert "1 of 11 units changed (1 texts, 1 scores); mean gain +" in said
    assert "units in one version alone: 1 only in HEAD, 0 only in improved" in said


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["HEAD", "never"], "never: no Git revision and no DVC experiment"),
        (["HEAD~7", "HEAD"], "HEAD~7: no Git revision and no DVC experiment"),
        (["HEAD", "improved", "--target", "mlp"], "--target='mlp' is not allowed: one of HEAD: latents, neurons"),
        (["HEAD", "improved", "--target", "neurons"], "HEAD: it has no artifacts/targets/neurons/dictionary/manifest"),
        (["HEAD", "improved", "--explainer", "me"], "--explainer='me' is not allowed: one of HEAD: token_activation, "),
        (["HEAD", "improved", "--simulator", "me"], "--simulator='me' is not allowed: one of HEAD: all_at_once, "),
        (["HEAD", "improved", "--contexts", "all"], "--contexts='all' is not allowed: one of random_only, "),
        (["HEAD", "retrained"], "HEAD and retrained have another dictionary for latents: their units are not the same"),
    ],
)
def test_what_cannot_be_compared_is_one_line(words: list[str], line: str) -> None:
    with pytest.raises(LatenteseError) as raised:
        main("diff", *words)
    assert str(raised.value).startswith(line)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  sha256: b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", f"  sha256: {'0' * 64}"),
        ("subject_files: none", f"subject_files: {'0' * 64}"),
    ],
)
def test_units_of_another_subject_are_not_compared(project: Path, tmp_path: Path, old: str, new: str) -> None:
    """Neurons and random directions have the same weights whichever subject they are of."""
    other = folder_with(project, tmp_path / "other", old, new)
    with pytest.raises(LatenteseError) as raised:
        main("diff", "workspace", str(other))
    line = f"workspace and {other} have another subject for latents: their units are not the same ones"
    assert str(raised.value) == line


def test_a_mirror_of_the_subject_makes_no_other_units(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = folder_with(
        project, tmp_path / "other", "  dtype: bfloat16\n  mirrors: []", "  dtype: bfloat16\n  mirrors: [m]"
    )
    assert compared(capsys, "workspace", str(other))["changes"] == []


def folder_with(project: Path, folder: Path, old: str, new: str) -> Path:
    """A project with the same artifacts, and another line in params.yaml."""
    text = (project / "params.yaml").read_text()
    assert old in text
    folder.mkdir()
    (folder / "artifacts").symlink_to(project / "artifacts")
    (folder / "params.yaml").write_text(text.replace(old, new, 1))
    return folder


def test_what_is_not_in_the_cache_is_one_line(project: Path, tmp_path: Path) -> None:
    cache = project / ".dvc/cache/files"
    cache.rename(tmp_path / "files")
    try:
        with pytest.raises(
            LatenteseError, match=r"^HEAD: artifacts/targets/latents/\S+ is not in DVC's cache: run `dvc"
        ):
            main("diff", "HEAD", "improved")
    finally:
        (tmp_path / "files").rename(cache)


def test_the_workspace_is_a_version_too_and_what_it_lacks_is_said(
    project: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = compared(capsys, "retrained", "workspace")
    assert (found["changes"], found["after"]) == ([], "workspace")
    (project / TARGET / "scores").rename(tmp_path / "scores")
    try:
        with pytest.raises(LatenteseError, match=r"^workspace: artifacts/targets/latents/scores is missing; run `dvc"):
            main("diff", "retrained", "workspace")
    finally:
        (tmp_path / "scores").rename(project / TARGET / "scores")


def test_outside_a_dvc_repository_the_workspace_alone_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LatenteseError, match="HEAD: you are not inside of a DVC repository"):
        main("diff", "HEAD", "workspace")
    with pytest.raises(SettingError, match="--contexts"):
        from latentese.report.explanation_set import SetChoice

        SetChoice("a", "b", contexts="x")
