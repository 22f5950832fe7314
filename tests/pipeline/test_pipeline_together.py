"""The entry point of `train` in other ways: under `torchrun`, and straight from the subject."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import polars as pl
import pytest
import torch
from planted_project import Project
from ran import Ran
from safetensors.torch import load_file

from latentese.store.artifact import open_artifact

pytestmark = [pytest.mark.pipeline, pytest.mark.packaged]


@pytest.fixture
def project(ran: Ran, tmp_path: Path) -> Project:
    """A copy of the planted project and its artifacts."""
    root = tmp_path / "project"
    shutil.copytree(ran.project.root, root, ignore=shutil.ignore_patterns("cache", ".git"))
    return Project(root, {**ran.project.environment, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"})


def test_torchrun_trains_a_target(project: Project) -> None:
    out = project.root / "artifacts/targets/latents/dictionary"
    timings = project.root / "reports/timings/train@latents.json"
    expected = load_file(out / "dictionary.safetensors")
    shutil.rmtree(out)
    timings.unlink()
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    project.run(*torchrun, "-m", "flows.train", "latents")
    found = load_file(out / "dictionary.safetensors")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-3, rtol=0)
    assert json.loads(timings.read_text())["stage"] == "train@latents"


def test_a_target_that_streams_keeps_no_train_activations(project: Project) -> None:
    out = project.root / "artifacts/targets/latents/dictionary"
    kept_fvu = pl.read_parquet(out / "train_log.parquet")["fvu"][-1]
    project.python("flows.params", "experiment=planted", "targets.latents.stream=true")
    for stage in (("collect", "layers-0-resid_post"), ("train", "latents"), ("sample", "latents")):
        project.python(f"flows.{stage[0]}", stage[1])
    activations = open_artifact(project.root / "artifacts/activations/layers-0-resid_post", "activations")
    assert set(activations.manifest.counts["rows"]) == {"explain", "calibrate", "select", "test"}
    contexts = open_artifact(project.root / "artifacts/contexts", "contexts")
    assert open_artifact(out, "dictionary").manifest.inputs == {"contexts": contexts.sha256}
    assert pl.read_parquet(out / "train_log.parquet")["fvu"][-1] == pytest.approx(kept_fvu, rel=0.2)
