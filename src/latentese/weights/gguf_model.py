"""Turn a GGUF model of the llama or qwen2 family into a folder that transformers reads, in seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentese.errors import AssetError, SettingError
from latentese.store.files import write_json
from latentese.store.tensors import TensorSpec, write_tensors
from latentese.weights.gguf import GGUFFile, open_gguf
from latentese.weights.gguf_tokenizer import end_token_ids, write_tokenizer

CONVERTER = 1
"""Raised when the converter writes other files from the same model: part of the cache folder's name."""

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
ROWS_AT_ONCE = 1 << 14

_OUTSIDE_BLOCKS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_IN_BLOCK = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}


def convert_gguf(path: Path, folder: Path, dtype: str) -> None:
    """Write config, weights (stored as `dtype`) and tokenizer of a GGUF model into `folder`.

    Tensor by tensor, so memory stays near the largest block of rows. Raises AssetError for a family, tensor or
    tokenizer that is not known, SettingError for another dtype.
    """
    if dtype not in DTYPES:
        raise SettingError("dtype", dtype, f"one of {', '.join(DTYPES)}")
    gguf = open_gguf(path)
    try:
        sources = _sources(gguf)
        config = _config(gguf, tied="lm_head.weight" not in sources, dtype=dtype)
        specs = {name: TensorSpec(DTYPES[dtype], gguf.tensors[source].shape) for name, source in sources.items()}
        write_tokenizer(gguf.metadata, folder)
    except KeyError as error:
        raise AssetError(f"{path.name}: metadata {error} is missing") from error
    write_tensors(specs, _pieces(gguf, sources, config, DTYPES[dtype]), folder / "model.safetensors")
    write_json(
        {key: config[key] for key in ("bos_token_id", "pad_token_id")} | {"eos_token_id": end_token_ids(gguf.metadata)},
        folder / "generation_config.json",
    )
    write_json(config, folder / "config.json")


def _config(gguf: GGUFFile, tied: bool, dtype: str) -> dict[str, Any]:
    """Build the transformers configuration that the metadata describes."""
    metadata = gguf.metadata
    family = metadata["general.architecture"]
    if family not in ARCHITECTURES:
        raise AssetError(f"{gguf.path.name}: family {family!r} is not read; known: {', '.join(ARCHITECTURES)}")
    if metadata.get(f"{family}.rope.scaling.type", "none") != "none":
        raise AssetError(f"{gguf.path.name}: scaled rotary positions are not read")
    n_heads = metadata[f"{family}.attention.head_count"]
    d_model = metadata[f"{family}.embedding_length"]
    return {
        "architectures": [ARCHITECTURES[family]],
        "model_type": family,
        "vocab_size": gguf.tensors["token_embd.weight"].shape[0],
        "hidden_size": d_model,
        "intermediate_size": metadata[f"{family}.feed_forward_length"],
        "num_hidden_layers": metadata[f"{family}.block_count"],
        "num_attention_heads": n_heads,
        "num_key_value_heads": metadata.get(f"{family}.attention.head_count_kv", n_heads),
        "head_dim": metadata.get(f"{family}.attention.key_length", d_model // n_heads),
        "hidden_act": "silu",
        # float32 in the file: 9.9999997e-06 is 1e-5.
        "rms_norm_eps": float(np.float32(metadata[f"{family}.attention.layer_norm_rms_epsilon"]).astype(str)),
        "max_position_embeddings": metadata[f"{family}.context_length"],
        "rope_parameters": {"rope_type": "default", "rope_theta": metadata.get(f"{family}.rope.freq_base", 10000.0)},
        "tie_word_embeddings": tied,
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "pad_token_id": metadata.get("tokenizer.ggml.padding_token_id"),
        "dtype": dtype,
    }


def _sources(gguf: GGUFFile) -> dict[str, str]:
    """Name in the transformers model -> name in the GGUF file."""
    sources = {_new_name(gguf, name): name for name in gguf.tensors}
    if "lm_head.weight" in sources and _same_matrix(gguf, "output.weight", "token_embd.weight"):
        # Quantisers store tied embeddings twice, the output more finely: keep that one for both.
        sources["model.embed_tokens.weight"] = sources.pop("lm_head.weight")
    return sources


def _new_name(gguf: GGUFFile, name: str) -> str:
    if name in _OUTSIDE_BLOCKS:
        return _OUTSIDE_BLOCKS[name]
    match name.split("."):
        case ["blk", layer, part, end] if part in _IN_BLOCK:
            return f"model.layers.{layer}.{_IN_BLOCK[part]}.{end}"
    raise AssetError(f"{gguf.path.name}: tensor {name} is not one of the llama or qwen2 family")


def _same_matrix(gguf: GGUFFile, a: str, b: str) -> bool:
    """Whether two tensors differ by quantisation alone, judged on their first rows."""
    if gguf.tensors[a].shape != gguf.tensors[b].shape:
        return False
    rows_a, rows_b = gguf.read(a, slice(0, 256)), gguf.read(b, slice(0, 256))
    return bool(np.linalg.norm(rows_a - rows_b) < 0.2 * np.linalg.norm(rows_b))


def _pieces(
    gguf: GGUFFile, sources: Mapping[str, str], config: Mapping[str, Any], dtype: torch.dtype
) -> Iterator[tuple[str, torch.Tensor]]:
    """Rows of every tensor in the order of `sources`."""
    n_heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for name, source in sources.items():
        part = source.split(".")[-2]
        if config["model_type"] == "llama" and part in n_heads:
            yield name, torch.from_numpy(_unpermute(gguf.read(source), n_heads[part])).to(dtype)
            continue
        for start in range(0, gguf.tensors[source].shape[0], ROWS_AT_ONCE):
            yield name, torch.from_numpy(gguf.read(source, slice(start, start + ROWS_AT_ONCE))).to(dtype)


def _unpermute(rows: np.ndarray, n_heads: int) -> np.ndarray:
    """Undo llama.cpp's order of query and key rows: it pairs neighbours for rotation, transformers pairs halves.

    rows [n_heads * d_head, ...] -> the same shape.
    """
    d_head = rows.shape[0] // n_heads
    pairs = rows.reshape(n_heads, d_head // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows.shape))
