"""The tokenizer inside a GGUF file, rebuilt for transformers: byte-level BPE families only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from latentese.errors import AssetError
from latentese.store.files import write_json, write_text

CONTROL, USER_DEFINED = 3, 4  # token types of the format

_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_END_TOKENS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>")
"""Ends of a turn or of a text in chat models: whichever of them a vocabulary has ends generation."""


def write_tokenizer(metadata: Mapping[str, Any], folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json (special tokens, chat template) into `folder`."""
    tokens = metadata["tokenizer.ggml.tokens"]
    special = {
        f"{role}_token": tokens[metadata[f"tokenizer.ggml.{key}_token_id"]]
        for role, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
        if f"tokenizer.ggml.{key}_token_id" in metadata
    }
    config = {
        # The class that takes tokenizer.json as it is, without a model family's own ideas.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": bool(metadata.get("tokenizer.ggml.add_bos_token", False)),
        "chat_template": metadata.get("tokenizer.chat_template"),
        "clean_up_tokenization_spaces": False,
        "model_max_length": metadata[f"{metadata['general.architecture']}.context_length"],
        **special,
    }
    write_text(build_tokenizer(metadata).to_str(), folder / "tokenizer.json")
    write_json(config, folder / "tokenizer_config.json")


def end_token_ids(metadata: Mapping[str, Any]) -> list[int]:
    """Tokens that end generation: the file's own first."""
    tokens, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    ends = [
        i for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True)) if kind == CONTROL and token in _END_TOKENS
    ]
    first = metadata["tokenizer.ggml.eos_token_id"]
    return [first, *(end for end in sorted(ends) if end != first)]


def build_tokenizer(metadata: Mapping[str, Any]) -> Tokenizer:
    """Rebuild the tokenizer; raises AssetError when its kind or its word splitting is not known."""
    if metadata["tokenizer.ggml.model"] != "gpt2":
        raise AssetError(f"tokenizer {metadata['tokenizer.ggml.model']!r} is not read; known: 'gpt2' (byte-level BPE)")
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = _words(metadata.get("tokenizer.ggml.pre", "default"))
    if metadata.get("tokenizer.ggml.pre") == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    kinds = metadata["tokenizer.ggml.token_type"]
    added = [(token, kind) for token, kind in zip(tokens, kinds, strict=True) if kind in (CONTROL, USER_DEFINED)]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in added if k == CONTROL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t, k in added if k == USER_DEFINED])
    return tokenizer


def _words(name: str) -> pre_tokenizers.PreTokenizer:
    """How text is split into words before merging, by llama.cpp's name for it."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words: dict[str, list[pre_tokenizers.PreTokenizer]] = {
        "default": [byte_level],
        "gpt-2": [byte_level],
        "smollm": [pre_tokenizers.Digits(individual_digits=True), byte_level],
        "qwen2": [pre_tokenizers.Split(Regex(_QWEN2_WORDS), "isolated"), bytes_only],
    }
    if name not in words:
        raise AssetError(f"word splitting {name!r} of a GGUF tokenizer is not read; known: {', '.join(words)}")
    return pre_tokenizers.Sequence(words[name])
