"""Whole toy sweeps through the real Prefect, DVC and MLflow: killed, resumed, run again, extended; and claims."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from planted_project import Project, make_project

from flows.publish import flat_metrics
from latentese.metrics.compute import training_flops
from latentese.schemas import TRAIN_LOG
from latentese.store.files import sha256_file
from latentese.store.tables import read_table

pytestmark = [pytest.mark.pipeline, pytest.mark.packaged]

SWEEP = ("flows.sweep", "toy", "experiment=planted", "training.batch_tokens=64", "training.checkpoint_tokens=640")
N_CELLS = 15
STEPS = N_CELLS + 3 + 3
"""Cells, passes; activations, what is missing, results."""
PATIENCE_SECONDS = 600


@pytest.fixture(scope="module")
def project(root: Path, tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Project:
    """A planted project in which nothing has run."""
    return make_project(root, tmp_path_factory.mktemp("swept"), prefect_api)


@pytest.fixture(scope="module")
def said(project: Project) -> str:
    """What the sweep prints, killed once on the way."""
    folder = project.root / "artifacts/sweeps/toy"
    kill_when_some_are_there(project, folder)
    # One may be published and not marked yet; that one is written once more, from its last checkpoint.
    marked = [key.with_suffix("") / "manifest.json" for key in folder.glob("*/dictionary.key")]
    first = {path: path.stat().st_mtime_ns for path in marked}
    assert 1 <= len(first) < N_CELLS
    printed = project.python(*SWEEP)
    assert {path: path.stat().st_mtime_ns for path in first} == first, "what was published is not made again"
    return printed


def kill_when_some_are_there(project: Project, folder: Path) -> None:
    """Start the sweep and kill -9 the flow, and then its child, as soon as one cell is there and not all are."""
    command = [sys.executable, "-m", *SWEEP]
    flow = subprocess.Popen(command, cwd=project.root, env=project.environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any(folder.glob("*/dictionary.key")):
        assert flow.poll() is None, "the sweep ended before it could be killed"
        assert time.monotonic() < deadline, f"no cell in {PATIENCE_SECONDS} s"
        time.sleep(0.002)
    children = subprocess.run(["pgrep", "-P", str(flow.pid)], capture_output=True, text=True, check=False).stdout
    for pid in [flow.pid, *map(int, children.split())]:
        os.kill(pid, signal.SIGKILL)
    assert flow.wait() == -signal.SIGKILL


def cells_of(project: Project) -> pl.DataFrame:
    return pl.read_csv(project.root / "reports/sweeps/toy/cells.csv")


def runs_of(project: Project) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.root}/tracking/mlflow.db")
    experiment = client.get_experiment_by_name("latentese")
    return list(client.search_runs([experiment.experiment_id]))


def hashes(project: Project) -> dict[str, str]:
    """Every file of every cell."""
    folder = project.root / "artifacts/sweeps/toy"
    files = [path for path in folder.glob("topk*/**/*") if path.is_file()]
    return {str(path.relative_to(folder)): sha256_file(path) for path in files if ".scratch" not in path.parts}


def test_every_step_is_a_task_and_ends(said: str) -> None:
    assert f"{STEPS} steps: " in said
    for name in ("activations of here", "train n_tokens=5120,seed=0", "topk,n_latents=8,k=1,n_tokens=5120,seed=1"):
        assert f"Task run '{name}' - Finished in state" in said
    assert "Finished in state Failed" not in said


def test_the_tables_figures_are_the_artifacts(project: Project, said: str) -> None:
    cells = cells_of(project)
    assert cells.height == N_CELLS
    for row in cells.iter_rows(named=True):
        folder = project.root / "artifacts/sweeps/toy" / row["run"]
        figures = json.loads((folder / "reconstruction/metrics.json").read_text())["reconstruction"]
        assert row["loss"] == row["reconstruction/fvu"] == figures["fvu"]
        assert row["reconstruction/l0"] == figures["l0"]
        log = read_table(folder / "dictionary/train_log.parquet", TRAIN_LOG)
        assert row["n_tokens"] == log["n_tokens"][-1]
        assert row["compute"] == training_flops(32, row["n_latents"], row["n_tokens"])
    assert cells.filter("held_out")["run"].to_list() == ["topk,n_latents=16,k=2,n_tokens=5120,seed=1"]


def test_laws_are_fitted_without_what_is_held_out(project: Project, said: str) -> None:
    fits = json.loads((project.root / "reports/sweeps/toy/fits.json").read_text())
    assert {name: fit["n_cells"] for name, fit in fits.items()} == {"compute": 8, "latents": 5, "latents_and_k": 11}
    for fit in fits.values():
        held_out = {point["run"] for point in fit["held_out"]["points"]}
        assert held_out == {"topk,n_latents=16,k=2,n_tokens=5120,seed=1"}
        assert not held_out & {point["run"] for point in fit["points"]}
    assert (project.root / "reports/sweeps/toy/figures/latents_and_k.svg").is_file()
    assert "## latents_and_k: over n_latents and k" in (project.root / "reports/sweeps/toy/README.md").read_text()


def test_mlflow_shows_each_cell_once_below_the_sweep(project: Project, said: str) -> None:
    runs = runs_of(project)
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert len(children) == N_CELLS
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    rows = {row["run"]: row for row in cells_of(project).iter_rows(named=True)}
    for run in children:
        row = rows[run.info.run_name]
        assert run.data.params["n_latents"] == str(row["n_latents"])
        assert run.data.params["training.batch_tokens"] == "64"
        assert run.data.metrics["compute"] == row["compute"]
        assert run.data.metrics["reconstruction/fvu"] == pytest.approx(row["loss"])
    fits = json.loads((project.root / "reports/sweeps/toy/fits.json").read_text())
    value = dict(flat_metrics(fits["latents"]["parameters"]))["b/value"]
    assert parent.data.metrics["latents/parameters/b/value"] == pytest.approx(value)


def test_running_again_trains_nothing_and_adds_no_run(project: Project, said: str) -> None:
    before, n_runs = hashes(project), len(runs_of(project))
    again = project.python(*SWEEP)
    assert f"{STEPS} steps: 1 ran, 0 restored, {STEPS - 1} unchanged" in again, "only the results are written again"
    assert hashes(project) == before
    assert len(runs_of(project)) == n_runs


def test_killed_or_not_the_bytes_are_the_same(project: Project, said: str, tmp_path: Path) -> None:
    kept = project.root / "artifacts/sweeps/toy"
    killed = hashes(project)
    shutil.move(kept, tmp_path / "toy")
    kept.mkdir()
    shutil.copy(tmp_path / "toy" / "params.yaml", kept / "params.yaml")
    for one in ("n_tokens=5120,seed=0", "n_tokens=5120,seed=1", "n_tokens=2560,seed=0"):
        project.python("flows.cells", "toy", one)
    assert hashes(project) == killed


def test_a_larger_grid_keeps_the_cells_that_stay(project: Project, said: str) -> None:
    before = hashes(project)
    wider = "sweep.grids=[{n_latents: [8, 12, 16, 20], k: [1, 2], n_tokens: [5120], seed: [0, 1]}]"
    fits = "sweep.fits={latents: {over: [n_latents], where: {k: 2}}}"
    printed = project.python(*SWEEP, wider, fits)
    for seed in (0, 1):
        assert f"Task run 'topk,n_latents=20,k=1,n_tokens=5120,seed={seed}' - Finished in state Ran" in printed
        assert f"Task run 'topk,n_latents=16,k=1,n_tokens=5120,seed={seed}' - Finished in state Unchanged" in printed
    after = hashes(project)
    assert {name: after[name] for name in before} == before
    assert len(runs_of(project)) == N_CELLS + 4 + 2, "four new cells, and the sweep by its other definition"


def test_a_mistake_stops_with_one_line_before_anything_is_trained(project: Project) -> None:
    printed = project.python(*SWEEP, "sweep.grids=[{n_latents: [8], k: [9], n_tokens: [5120]}]", "sweep.held_out=[]",
                             "~sweep.fits", code=2)  # fmt: skip
    (error,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert error == "error: dictionary.k=9 is not allowed: 1 to n_latents=8"
    assert "Traceback" not in printed


def test_another_hookpoint_is_read_in_a_copy_and_this_checkout_stays(project: Project, said: str) -> None:
    before = (project.root / "params.yaml").read_bytes()
    printed = project.python(
        *SWEEP,
        "sweep.name=deeper",
        "+sweep.sources.here.overrides=[]",
        "+sweep.sources.deeper.overrides=['targets.latents.hookpoint=layers.1.resid_post']",
        "sweep.grids=[{source: [here, deeper], n_latents: [8, 12], k: [2], n_tokens: [2560], seed: [0]}]",
        "sweep.held_out=[]",
        "~sweep.fits",
    )
    assert "Task run 'activations of here' - Finished in state Unchanged" in printed
    assert "Task run 'activations of deeper' - Finished in state Ran" in printed
    assert (project.root / "params.yaml").read_bytes() == before
    inputs = {}
    for source, root in (("here", project.root), ("deeper", project.root / ".scratch/sources/deeper/deeper")):
        (activations,) = (root / "artifacts/activations").glob(f"layers-{int(source == 'deeper')}-resid_post")
        manifest = json.loads((activations / "manifest.json").read_text())
        assert manifest["settings"]["hookpoint"] == f"layers.{int(source == 'deeper')}.resid_post"
        cell = project.root / "artifacts/sweeps/deeper" / f"{source},topk,n_latents=8,k=2,n_tokens=2560,seed=0"
        for artifact in ("dictionary", "reconstruction"):
            inputs[source] = json.loads((cell / artifact / "manifest.json").read_text())["inputs"]["activations"]
            assert inputs[source] == sha256_file(activations / "manifest.json")
    assert inputs["here"] != inputs["deeper"]


def test_activations_that_are_not_there_are_one_line(project: Project) -> None:
    given = ("+sweep.sources.here.contexts=/nowhere/contexts", "+sweep.sources.here.activations=/nowhere/activations")
    printed = project.python(*SWEEP, "+sweep.sources={here: {}}", *given, code=2)
    (error,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: /nowhere/activations/manifest.json: missing, so there is no artifact here")


CLAIMS = ("flows.claims", "toy", "experiment=planted", "training.batch_tokens=64", "training.checkpoint_tokens=640")


def fvu_of(project: Project, n_latents: int, seed: int) -> float:
    cell = f"topk,n_latents={n_latents},k=2,n_tokens=5120,seed={seed}"
    metrics = project.root / "artifacts/sweeps/claims-toy" / cell / "reconstruction/metrics.json"
    return float(json.loads(metrics.read_text())["reconstruction"]["fvu"])


def test_claims_are_judged_by_the_cells_artifacts(project: Project) -> None:
    printed = project.python(*CLAIMS)
    folder = project.root / "reports/sweeps/claims-toy"
    assert "| More latents leave less unexplained (every paper) | fvu |" in printed
    assert (folder / "claims.md").read_text().strip() in printed
    said = json.loads((folder / "claims.json").read_text())
    fvu = {
        arm: [fvu_of(project, n_latents, seed) for seed in (0, 1)] for arm, n_latents in (("wide", 16), ("narrow", 8))
    }
    assert said["figures"]["fvu"]["wide"] == fvu["wide"]
    found = said["claims"]["wider_is_better"]
    assert found["found"]["value"] == pytest.approx((sum(fvu["narrow"]) - sum(fvu["wide"])) / 2)
    assert found["n_documents"] > 1
    opposite = {"held": "did not hold", "did not hold": "held", "undecided": "undecided"}
    assert said["claims"]["wider_is_worse"]["verdict"] == opposite[found["verdict"]]
    assert said["claims"]["wider_is_worse"]["found"] == found["found"]


def test_claims_judged_again_are_the_same_and_train_nothing(project: Project) -> None:
    folder = project.root / "reports/sweeps/claims-toy"
    before, runs = {file: file.read_bytes() for file in folder.glob("claims.*")}, len(runs_of(project))
    printed = project.python(*CLAIMS)
    assert "steps: 1 ran" in printed, "only the results of the sweep are written again"
    assert {file: file.read_bytes() for file in folder.glob("claims.*")} == before
    assert len(runs_of(project)) == runs
