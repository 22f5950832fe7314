"""The entry point of `train` under `torchrun`: two processes make the dictionary that one makes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from ran import Ran
from safetensors.torch import load_file

pytestmark = [pytest.mark.pipeline, pytest.mark.packaged]


def test_torchrun_trains_a_target(ran: Ran, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(ran.project.root, root, ignore=shutil.ignore_patterns("cache", ".git"))
    out, timings = root / "artifacts/targets/latents/dictionary", root / "reports/timings/train@latents.json"
    expected = load_file(out / "dictionary.safetensors")
    shutil.rmtree(out)
    timings.unlink()
    environment = {**ran.project.environment, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
    project = type(ran.project)(root, environment)
    project.run(
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "flows.train",
        "latents",
    )
    found = load_file(out / "dictionary.safetensors")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-3, rtol=0)
    assert json.loads(timings.read_text())["stage"] == "train@latents"
