"""Stage `train` under `torchrun`: one artifact, written by the first process, that one process could have written."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_stages_train import SETTINGS, toy_topk
from toy_artifacts import write_activations, write_contexts

from latentese.dictionaries.together import training_together
from latentese.errors import SettingError
from latentese.schemas import TRAIN_LOG
from latentese.stages.train import train
from latentese.store.artifact import open_artifact
from latentese.store.tables import read_table

HERE = Path(__file__).parent


@pytest.mark.parametrize("division", ["tokens", "latents"])
def test_two_processes_write_the_artifact_of_one(tmp_path: Path, division: str) -> None:
    activations = write_activations(tmp_path / "activations", write_contexts(tmp_path / "contexts"))
    settings = replace(SETTINGS, divide=division)
    alone = train(activations, toy_topk(), settings, tmp_path / "alone", lambda _: None)
    path = os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, str(HERE / "together_worker.py"), str(activations), str(tmp_path / "together"), division]
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=False, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"logged {step}" for step in range(1, 31)], "one process logs"
    one, two = open_artifact(alone, "dictionary"), open_artifact(tmp_path / "together", "dictionary")
    assert two.manifest.inputs == one.manifest.inputs
    assert two.manifest.settings == one.manifest.settings
    assert two.manifest.counts == one.manifest.counts
    assert set(two.manifest.files) == set(one.manifest.files)
    expected, found = (load_file(artifact.file("dictionary.safetensors")) for artifact in (one, two))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=0)
    tables = [read_table(artifact.file("train_log.parquet"), TRAIN_LOG).to_torch() for artifact in (one, two)]
    torch.testing.assert_close(*tables, rtol=1e-4, atol=1e-6)


def test_without_torchrun_one_process_trains_alone() -> None:
    with training_together(SETTINGS) as processes:
        assert processes.told_by_first("here") == "here"


def test_a_batch_that_cannot_be_divided_is_refused_before_anyone_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")  # 66 tokens per batch
    with (
        pytest.raises(SettingError, match=r"training\.batch_tokens=66 is not allowed: a multiple of 4 processes"),
        training_together(SETTINGS),
    ):
        pass
