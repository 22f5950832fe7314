from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_stages_tokenize import SETTINGS as CONTEXT_SETTINGS
from test_stages_tokenize import SOURCES
from tiny_models import make_tiny_llama

from latentese.corpus.contexts import Contexts
from latentese.errors import AssetError, SettingError
from latentese.records import SPLITS
from latentese.stages.collect import collect, plan_shards
from latentese.stages.tokenize import tokenize
from latentese.store.artifact import open_artifact
from latentese.store.shards import Activations, shard_name
from latentese.subject.settings import CaptureSettings
from latentese.weights.devices import definite_dtype
from latentese.weights.load import load_causal_lm
from latentese.weights.local import LocalModel

SETTINGS = CaptureSettings(splits=SPLITS, dtype="float32", batch_contexts=4, shard_tokens=200)
HOOKPOINT = "layers.0.resid_post"


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return LocalModel(make_tiny_llama(tmp_path_factory.mktemp("subject") / "tiny"))


@pytest.fixture(scope="module")
def contexts(subject: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenize(SOURCES, subject, CONTEXT_SETTINGS, tmp_path_factory.mktemp("contexts") / "contexts")


def test_at_embed_rows_are_those_of_the_embedding_and_tokens_alone_decide(
    contexts: Path, subject: LocalModel, tmp_path: Path
) -> None:
    artifact = collect(contexts, subject, "embed", SETTINGS, tmp_path / "acts")
    reader, acts = Contexts(contexts), Activations(artifact)
    rows = load_causal_lm(subject.folder(), "float32", "cpu").get_input_embeddings().weight
    tokens = reader.token_ids[reader.keep.bool()].long()
    assert torch.equal(torch.cat([shard.acts for shard in acts.shards()]), rows[tokens])
    assert open_artifact(artifact, "activations").manifest.settings["hookpoint"] == "embed"
    assert acts.width == 16


def test_rows_are_the_hidden_states_of_counted_positions(contexts: Path, subject: LocalModel, tmp_path: Path) -> None:
    acts = Activations(collect(contexts, subject, HOOKPOINT, SETTINGS, tmp_path / "acts"))
    reader = Contexts(contexts)
    with torch.no_grad():
        model = load_causal_lm(subject.folder(), "float32", "cpu")
        hidden = model(reader.token_ids, output_hidden_states=True).hidden_states[1]
    keep = reader.keep.bool()
    shards = list(acts.shards())
    torch.testing.assert_close(torch.cat([shard.acts for shard in shards]), hidden[keep])
    context, position = keep.nonzero(as_tuple=True)
    np.testing.assert_array_equal(np.concatenate([shard.context for shard in shards]), context.numpy())
    np.testing.assert_array_equal(np.concatenate([shard.position for shard in shards]), position.numpy())
    assert (acts.n_tokens, acts.width) == (int(keep.sum()), 16)
    assert sum(acts.shard_rows) == acts.n_tokens
    assert all(len(shard.acts) == n for shard, n in zip(shards, acts.shard_rows, strict=True))
    assert max(acts.shard_rows) <= 200


def test_rows_per_split_say_where_each_split_is(contexts: Path, subject: LocalModel, tmp_path: Path) -> None:
    settings = replace(SETTINGS, splits=["test", "explain"])  # any order: rows stay in the order of contexts
    acts = Activations(collect(contexts, subject, "layers.1.mlp_act", settings, tmp_path / "acts"))
    reader = Contexts(contexts)
    rows = np.concatenate([shard.context for shard in acts.shards()])
    for split in ("explain", "test"):
        of_split = acts.rows_of(split)
        assert set(rows[of_split.start : of_split.stop]) == set(reader.of_split(split))
    assert acts.rows_of("test").start == acts.rows_of("explain").stop
    assert acts.rows_of("test").stop == acts.n_tokens
    assert acts.width == 24
    with pytest.raises(SettingError, match="holds tokens of"):
        acts.rows_of("train")


def test_bfloat16_is_stored_as_such(contexts: Path, subject: LocalModel, tmp_path: Path) -> None:
    settings = replace(SETTINGS, dtype="bfloat16", splits=("select",))
    acts = Activations(collect(contexts, subject, HOOKPOINT, settings, tmp_path / "acts"))
    assert acts.read(0).acts.dtype == torch.bfloat16
    assert acts.artifact.manifest.counts["dtype"] == "bfloat16"


def test_auto_is_what_this_processor_computes_fast_and_the_artifact_says_which(
    contexts: Path, subject: LocalModel, tmp_path: Path
) -> None:
    made = [
        collect(contexts, subject, HOOKPOINT, replace(SETTINGS, dtype=dtype, splits=("select",)), tmp_path / dtype)
        for dtype in ("auto", definite_dtype("auto", "cpu"))
    ]
    auto, named = (open_artifact(path, "activations").manifest for path in made)
    assert auto.settings["dtype"] == auto.counts["dtype"] in ("bfloat16", "float32")
    assert auto.files == named.files and auto.settings == named.settings


def test_shards_hold_whole_batches_and_all_contexts_once(contexts: Path) -> None:
    reader = Contexts(contexts)
    plan = plan_shards(reader, SETTINGS)
    numbers = np.concatenate([batch for shard in plan for batch in shard.batches])
    assert numbers.tolist() == list(range(reader.n_contexts))
    assert [len(batch) for shard in plan for batch in shard.batches][:-1] == [4] * (
        len(numbers) // 4 - (len(numbers) % 4 == 0)
    )
    # A batch that is larger than a shard is a shard of its own.
    assert all(len(shard.batches) == 1 for shard in plan_shards(reader, replace(SETTINGS, shard_tokens=1)))


COLLECT = """
import sys
from pathlib import Path
from latentese.stages.collect import collect
from latentese.subject.settings import CaptureSettings
from latentese.weights.local import LocalModel
settings = CaptureSettings(("explain", "test"), "float32", 1, 1)
collect(Path(sys.argv[1]), LocalModel(sys.argv[2]), "layers.23.mlp_out", settings, Path(sys.argv[3]))
"""


def test_killed_in_the_middle_it_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    # Deep, one context per shard: slow enough to be caught in the middle. Its tokenizer is the contexts' own.
    deep = LocalModel(make_tiny_llama(tmp_path / "deep", num_hidden_layers=24))
    contexts = tokenize(SOURCES, deep, CONTEXT_SETTINGS, tmp_path / "contexts")
    settings = CaptureSettings(("explain", "test"), "float32", 1, 1)
    undisturbed = collect(contexts, deep, "layers.23.mlp_out", settings, tmp_path / "undisturbed")
    command = [sys.executable, "-c", COLLECT, str(contexts), str(deep.path), str(tmp_path / "killed")]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": "src"}, stderr=subprocess.DEVNULL)
    scratch = tmp_path / ".scratch" / "killed"
    wait_for_shard(scratch, 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in scratch.glob("*/shard-*.safetensors")}
    assert len(kept) >= 3
    assert not (tmp_path / "killed").exists()
    killed = collect(contexts, deep, "layers.23.mlp_out", settings, tmp_path / "killed")
    again, whole = open_artifact(killed, "activations"), open_artifact(undisturbed, "activations")
    assert again.sha256 == whole.sha256
    assert len(kept) < whole.manifest.counts["n_shards"]
    assert {name: (killed / name).stat().st_mtime_ns for name in kept} == kept  # not written again


def wait_for_shard(scratch: Path, shard: int) -> None:
    for _ in range(12000):
        if list(scratch.glob(f"*/{shard_name(shard)}")):
            return
        time.sleep(0.005)
    raise AssertionError("no shard after a minute")


def test_settings_are_refused_before_the_weights_are_read(contexts: Path, tmp_path: Path) -> None:
    folder = make_tiny_llama(tmp_path / "tiny")
    (folder / "model.safetensors").write_bytes(b"reading this would fail")
    broken = LocalModel(folder)
    with pytest.raises(SettingError, match=r"hookpoint='layers\.7\.mlp_act' is not allowed: layers\.<0\.\.1>"):
        collect(contexts, broken, "layers.7.mlp_act", SETTINGS, tmp_path / "acts")
    with pytest.raises(SettingError, match=r"subject='tiny@.*the contexts were cut with the tokenizer of tiny@"):
        collect(contexts, broken, HOOKPOINT, SETTINGS, tmp_path / "acts")


def test_contexts_longer_than_the_models_are_refused(contexts: Path, tmp_path: Path) -> None:
    short = LocalModel(make_tiny_llama(tmp_path / "tiny", max_position_embeddings=8))
    with pytest.raises(SettingError, match="ctx_len=16 is not allowed: at most 8"):
        collect(contexts, short, HOOKPOINT, SETTINGS, tmp_path / "acts")
    with pytest.raises(AssetError, match="no model here"):
        collect(contexts, LocalModel(tmp_path / "absent"), HOOKPOINT, SETTINGS, tmp_path / "acts")


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("dtype", "float16", "one of bfloat16, float32, auto"),
        ("splits", [], "one or more of train"),
        ("splits", ["dev"], "one or more of train"),
        ("batch_contexts", 0, "at least 1"),
        ("shard_tokens", 0, "at least 1"),
    ],
)
def test_capture_settings_that_cannot_work_are_refused(setting: str, value: object, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        replace(SETTINGS, **{setting: value})
