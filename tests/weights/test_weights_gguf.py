from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize
from gguf_files import tiny_model, write_gguf
from tiny_models import END, make_tokenizer

from latentese.errors import AssetError, SettingError
from latentese.weights.gguf import open_gguf
from latentese.weights.gguf_model import convert_gguf
from latentese.weights.load import load_causal_lm, load_tokenizer


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_converted_model_computes_what_the_original_does(family: str, tied: bool, tmp_path: Path) -> None:
    model = tiny_model(family, tied)
    for name, parameter in model.named_parameters():  # zero biases would hide a lost bias
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    convert_gguf(write_gguf(model, tmp_path / "m.gguf", family), tmp_path / "out", "float32")
    converted = load_causal_lm(tmp_path / "out", "float32", "cpu")
    ids = torch.arange(1, 41).view(2, 20)
    with torch.no_grad():
        torch.testing.assert_close(converted(ids).logits, model(ids).logits, atol=1e-5, rtol=1e-5)
    assert converted.config.tie_word_embeddings is tied
    assert not converted.training


def test_embeddings_stored_twice_at_two_precisions_become_one_again(tmp_path: Path) -> None:
    model = tiny_model("qwen2", tied=True)
    model.config.tie_word_embeddings = False  # the writer then stores the output matrix as well
    with torch.no_grad():
        noise = torch.randn_like(model.lm_head.weight) * 0.05 * model.lm_head.weight.std()
        fine = model.lm_head.weight.clone()
        model.lm_head.weight = torch.nn.Parameter(fine)
        model.model.embed_tokens.weight = torch.nn.Parameter(fine + noise)
    convert_gguf(write_gguf(model, tmp_path / "m.gguf", "qwen2"), tmp_path / "out", "float32")
    converted = load_causal_lm(tmp_path / "out", "float32", "cpu")
    assert converted.config.tie_word_embeddings
    torch.testing.assert_close(converted.get_input_embeddings().weight, fine, atol=0, rtol=0)


def test_quantised_rows_are_read_whole_or_in_part(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)
    packed = quantize(values, GGMLQuantizationType.Q8_0)
    writer = GGUFWriter(tmp_path / "t.gguf", "llama")
    writer.add_tensor("a", values)
    writer.add_tensor("b", packed, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    gguf = open_gguf(tmp_path / "t.gguf")
    expected = dequantize(packed, GGMLQuantizationType.Q8_0)
    np.testing.assert_array_equal(gguf.read("a"), values)
    np.testing.assert_array_equal(gguf.read("b"), expected)
    np.testing.assert_array_equal(gguf.read("b", slice(4, 99)), expected[4:])
    assert gguf.tensors["b"].shape == (6, 64)


def test_bfloat16_is_the_rounded_model(tmp_path: Path) -> None:
    model = tiny_model("llama", tied=True)
    convert_gguf(write_gguf(model, tmp_path / "m.gguf", "llama"), tmp_path / "out", "bfloat16")
    converted = load_causal_lm(tmp_path / "out", "bfloat16", "cpu").state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(converted[name], weight.bfloat16()), name


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_one_line(kept: float, tmp_path: Path) -> None:
    whole = write_gguf(tiny_model("llama", tied=True), tmp_path / "m.gguf", "llama").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(AssetError, match=r"cut\.gguf: not a readable GGUF file") as error:
        open_gguf(tmp_path / "cut.gguf")
    assert "\n" not in str(error.value)


def test_damage_anywhere_in_the_header_never_escapes_as_another_error(tmp_path: Path) -> None:
    whole = bytearray(write_gguf(tiny_model("llama", tied=True), tmp_path / "m.gguf", "llama").read_bytes())
    path = tmp_path / "damaged.gguf"
    for at in range(0, 2000, 97):
        damaged = whole.copy()
        damaged[at : at + 8] = b"\xff" * 8
        path.write_bytes(damaged)
        try:
            convert_gguf(path, tmp_path / "out", "float32")
        except AssetError as error:
            assert "\n" not in str(error)


def test_unknown_families_and_word_splitting_are_named(tmp_path: Path) -> None:
    model = tiny_model("llama", tied=True)
    with pytest.raises(AssetError, match="family 'gemma' is not read; known: llama, qwen2"):
        convert_gguf(write_gguf(model, tmp_path / "a.gguf", "gemma"), tmp_path / "out", "float32")
    with pytest.raises(AssetError, match="word splitting 'mystery'"):
        convert_gguf(write_gguf(model, tmp_path / "b.gguf", "llama", pre="mystery"), tmp_path / "out", "float32")
    with pytest.raises(SettingError, match="dtype='int4' is not allowed: one of bfloat16, float32"):
        convert_gguf(tmp_path / "b.gguf", tmp_path / "out", "int4")


def test_the_tokenizer_comes_along(tmp_path: Path) -> None:
    convert_gguf(write_gguf(tiny_model("llama", tied=True), tmp_path / "m.gguf", "llama"), tmp_path, "float32")
    tokenizer, original = load_tokenizer(tmp_path), make_tokenizer()
    text = "The river Fluß 🙂 ran past 2026 boats."
    assert tokenizer(text)["input_ids"] == original(text)["input_ids"]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer(END)["input_ids"] == [0]
    assert tokenizer.eos_token == END
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False) == "hello"
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == [0]


def test_smollm_splits_digits(tmp_path: Path) -> None:
    path = write_gguf(tiny_model("llama", tied=True), tmp_path / "m.gguf", "llama", pre="smollm")
    convert_gguf(path, tmp_path, "float32")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.tokenize("2026") == ["2", "0", "2", "6"]
    # Without the rule the trained merges join digits.
    assert len(make_tokenizer(600, "2026 " * 50).tokenize("2026")) == 1
