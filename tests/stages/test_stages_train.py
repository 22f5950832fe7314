import json
import os
import signal
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from toy_artifacts import Planted, write_activations, write_contexts

from latentese.dictionaries import checkpoints
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.train_state import StepLog
from latentese.errors import ArtifactError, SettingError
from latentese.schemas import TRAIN_LOG
from latentese.stages.train import train
from latentese.store.artifact import open_artifact
from latentese.store.tables import read_table

SETTINGS = TrainSettings(
    n_tokens=30 * 66,
    batch_tokens=66,
    lr=3e-3,
    dead_after_tokens=300,
    checkpoint_tokens=4 * 66,
    block_tokens=8,
    buffer_tokens=64,
)

KILLED = """
import os, signal, sys
from pathlib import Path
from test_stages_train import SETTINGS, toy_topk
from latentese.stages.train import train

def die_at_step(log):
    if log.step == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

train(Path(sys.argv[1]), toy_topk(), SETTINGS, Path(sys.argv[2]), die_at_step)
"""


class Bar:
    """A progress bar that keeps what it is told."""

    def __init__(self, **settings: Any) -> None:
        self.settings, self.n, self.shown = settings, settings["initial"], {}

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set_postfix(self, refresh: bool, **shown: str) -> None:
        self.shown = shown

    def update(self, n: int) -> None:
        assert n >= 0
        self.n += n


def toy_topk() -> TopK:
    return TopK(16, 32, 2)


@pytest.fixture
def activations(tmp_path: Path) -> Path:
    return write_activations(tmp_path / "activations", write_contexts(tmp_path / "contexts"))


def files_of(artifact: Path) -> dict[str, bytes]:
    return {str(file.relative_to(artifact)): file.read_bytes() for file in artifact.rglob("*") if file.is_file()}


def test_train_writes_the_dictionary_its_log_and_where_it_comes_from(activations, tmp_path):
    seen: list[StepLog] = []
    out = train(activations, toy_topk(), SETTINGS, tmp_path / "dictionary", seen.append)
    artifact = open_artifact(out, "dictionary")
    assert artifact.manifest.inputs == {"activations": open_artifact(activations, "activations").sha256}
    assert set(artifact.manifest.files) == {"cfg.json", "dictionary.safetensors", "train_log.parquet"}
    log = read_table(artifact.file("train_log.parquet"), TRAIN_LOG)
    assert log.rows() == [astuple(entry) for entry in seen]
    assert log["step"].to_list() == list(range(1, 31))
    assert log["fvu"][-1] < log["fvu"][0]
    assert checkpoints.load(out).args == toy_topk().args


def test_the_same_inputs_and_settings_give_the_same_bytes(activations, tmp_path):
    one, other = (
        train(activations, toy_topk(), SETTINGS, tmp_path / name, lambda _: None) for name in ("one", "other")
    )
    assert files_of(one) == files_of(other)


@pytest.mark.parametrize("step", [3, 17])
def test_killed_and_run_again_it_gives_the_bytes_of_an_undisturbed_run(activations, tmp_path, step):
    whole = train(activations, toy_topk(), SETTINGS, tmp_path / "whole", lambda _: None)
    out, here = tmp_path / "killed", Path(__file__)
    path = os.pathsep.join([str(here.parent), str(here.parents[1]), *sys.path])
    arguments = [sys.executable, "-c", KILLED, str(activations), str(out), str(step)]
    # As many threads as here: products are summed in another order with another number.
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    assert subprocess.run(arguments, env=environment, check=False).returncode == -signal.SIGKILL
    assert not out.exists()
    logs: list[StepLog] = []
    train(activations, toy_topk(), SETTINGS, out, logs.append)
    assert files_of(out) == files_of(whole)
    assert [log.step for log in logs] == list(range(1, 31))  # curves are whole, also after an interruption


def test_progress_shows_figures_and_counts_what_was_done_before(activations, tmp_path, monkeypatch):
    bars: list[Bar] = []
    monkeypatch.setattr("latentese.stages.train.tqdm", lambda **settings: bars.append(Bar(**settings)) or bars[-1])

    def stop(entry: StepLog) -> None:
        if entry.step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(activations, toy_topk(), SETTINGS, tmp_path / "dictionary", stop)
    logs: list[StepLog] = []
    train(activations, toy_topk(), SETTINGS, tmp_path / "dictionary", logs.append)
    first, second = bars
    assert (first.settings["initial"], second.settings["initial"]) == (0, 8 * 66)  # the checkpoint of step 8
    assert (second.settings["total"], second.n) == (30 * 66, 30 * 66)
    assert second.settings["unit"] == "tok"
    last = logs[-1]
    assert second.shown == {"fvu": f"{last.fvu:.3f}", "l0": f"{last.l0:.1f}", "dead": f"{last.n_dead / 32:.1%}"}


def test_a_damaged_shard_stops_with_one_line(activations, tmp_path):
    shard = activations / "shard-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-4] + b"xxxx")
    with pytest.raises(ArtifactError, match=r"shard-00001\.safetensors: corrupt .*; run the stage again"):
        train(activations, toy_topk(), SETTINGS, tmp_path / "dictionary", lambda _: None)


def test_a_dictionary_without_training_needs_no_train_tokens(tmp_path):
    contexts = write_contexts(tmp_path / "contexts")
    activations = write_activations(tmp_path / "activations", contexts, Planted(splits=("explain", "test")))
    out = train(activations, Neurons(16), SETTINGS, tmp_path / "dictionary", lambda _: pytest.fail("nothing to log"))
    cfg = json.loads((out / "cfg.json").read_text())
    assert cfg == {"class": "latentese.dictionaries.neurons.Neurons", "args": {"d_model": 16}}
    assert read_table(out / "train_log.parquet", TRAIN_LOG).height == 0
    acts = torch.randn(3, 16)
    assert torch.equal(checkpoints.load(out).pre_acts(acts), acts)


def test_another_k_is_another_artifact_with_its_settings_in_the_manifest(activations, tmp_path):
    out = train(activations, TopK(16, 32, 4), SETTINGS, tmp_path / "dictionary", lambda _: None)
    assert open_artifact(out, "dictionary").manifest.settings["args"]["k"] == 4
    assert pl.read_parquet(out / "train_log.parquet")["l0"][-1] > 2


def test_a_dictionary_of_another_width_stops_before_any_work(activations, tmp_path):
    with pytest.raises(SettingError, match=r"dictionary.d_model=17 is not allowed: 16, the width of"):
        train(activations, TopK(17, 32, 2), SETTINGS, tmp_path / "dictionary", lambda _: None)
    assert not (tmp_path / ".scratch" / "dictionary").exists()


def test_without_train_tokens_it_stops_with_one_line(tmp_path):
    contexts = write_contexts(tmp_path / "contexts")
    activations = write_activations(tmp_path / "activations", contexts, Planted(splits=("explain", "test")))
    with pytest.raises(SettingError, match=r"split='train' is not allowed"):
        train(activations, toy_topk(), SETTINGS, tmp_path / "dictionary", lambda _: None)
