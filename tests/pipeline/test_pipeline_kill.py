"""kill -9 in the middle of a stage and run again: the same bytes as an undisturbed run, and nothing done twice."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from planted_project import Project
from ran import Ran

from latentese.store.files import sha256_file

pytestmark = [pytest.mark.pipeline, pytest.mark.packaged]

PATIENCE_SECONDS = 600


@pytest.fixture(scope="module")
def project(ran: Ran, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the planted project and its artifacts, to be disturbed."""
    root = tmp_path_factory.mktemp("killed") / "project"
    shutil.copytree(ran.project.root, root, ignore=shutil.ignore_patterns("cache", ".git"))
    paths = {"PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
    return replace(ran.project, root=root, environment={**ran.project.environment, **paths})


def test_collect(project: Project) -> None:
    out = project.root / "artifacts/activations/layers-0-resid_post"
    shards = project.root / "artifacts/activations/.scratch/layers-0-resid_post"
    undisturbed = take_away(out)
    kill_when(project, lambda: len(list(shards.glob("*/shard-*.safetensors"))) >= 2, "collect", "layers-0-resid_post")
    assert not out.exists()
    first = {path: path.stat().st_mtime_ns for path in shards.glob("*/shard-*.safetensors")}
    assert 2 <= len(first) < len(undisturbed)
    project.python("flows.collect", "layers-0-resid_post")
    assert hashes(out) == undisturbed
    kept = {path.name: (out / path.name).stat().st_mtime_ns for path in first}
    assert kept == {path.name: written for path, written in first.items()}, "finished shards are not written again"


def test_train(project: Project) -> None:
    out = project.root / "artifacts/targets/latents/dictionary"
    checkpoints = project.root / "artifacts/targets/latents/.scratch/dictionary"
    undisturbed = take_away(out)
    kill_when(project, lambda: any(checkpoints.glob("*/work/checkpoint.safetensors")), "train", "latents")
    assert not out.exists()
    project.python("flows.train", "latents")
    assert hashes(out) == undisturbed


def test_explain(project: Project, ran: Ran) -> None:
    tiny = ran.project.root.parent / "tiny"
    model = ["lm=local", "lm.path=.cache/answers.sqlite", f"lm.lm.source.path={tiny}", "lm.lm.n_rows=1"]
    project.python("flows.params", "experiment=planted", *model)
    project.python("flows.explain", "neurons")
    out, answers = project.root / "artifacts/targets/neurons/explanations", project.root / ".cache"
    undisturbed, n_answers = take_away(out), count_answers(answers)
    shutil.rmtree(answers)
    kill_when(project, lambda: count_answers(answers) >= 2, "explain", "neurons")
    assert not out.exists()
    n_kept = count_answers(answers)
    assert 2 <= n_kept < n_answers
    project.python("flows.explain", "neurons")
    assert hashes(out) == undisturbed
    timings = (project.root / "reports/timings/explain@neurons.json").read_text()
    assert f'"n_cached": {n_kept}' in timings, "no answered question is asked again"


def take_away(out: Path) -> dict[str, str]:
    """Remove an output, as DVC does before it runs a stage, and return what it was."""
    found = hashes(out)
    shutil.rmtree(out)
    return found


def hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


def kill_when(project: Project, condition: Callable[[], bool], stage: str, word: str) -> None:
    """Start a stage and kill -9 it as soon as the condition holds; fail if it ends before."""
    command = [sys.executable, "-m", f"flows.{stage}", word]
    child = subprocess.Popen(command, cwd=project.root, env=project.environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert child.poll() is None, f"{stage} ended before it could be killed"
        assert time.monotonic() < deadline, f"{stage} did not get so far in {PATIENCE_SECONDS} s"
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL


def count_answers(cache: Path) -> int:
    """Number of answers that are safely in the cache."""
    file = cache / "answers.sqlite"
    if not file.is_file():
        return 0
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM answers").fetchone()[0])
    except sqlite3.OperationalError:  # the table is not there yet
        return 0
    finally:
        connection.close()
