"""Tiny random models in folders, with a real byte-level BPE tokenizer: no download, same seed same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEXT = """
The river ran past the old mill, and in the evening the miller's daughter counted the boats that came home.
There were seven of them, and the last one carried a lantern. "Who is there?" she called, but nobody answered.
Numbers such as 12, 345 and 2026 appear here, with words in other languages: Fluß, niño, straße, één, 日本.
def count_boats(boats: list[str]) -> int:
    return len([boat for boat in boats if boat != "gone"])
In the north the winters are long; in the south the summers are. Every government has a capital, and every capital
has a river, or so the teacher said. The president and the minister spoke of trade, of war, and of the harvest.
"""
END = "<|endoftext|>"


def make_tokenizer(n_vocab: int = 400, text: str = TEXT) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer: every string round-trips, emoji split over several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=n_vocab, special_tokens=[END], initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END)


def make_tiny_llama(folder: Path, n_vocab: int = 400, seed: int = 0, **config: Any) -> Path:
    """Save a random Llama (2 layers, d_model 16, MLP 24, contexts up to 64) and its tokenizer in `folder`."""
    defaults = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
    }
    return _save(LlamaForCausalLM, LlamaConfig, folder, n_vocab, seed, defaults | config)


def make_tiny_gpt2(folder: Path, n_vocab: int = 400, seed: int = 0, **config: Any) -> Path:
    """Save a random GPT-2 (2 layers, d_model 16, MLP 64, contexts up to 64) and its tokenizer in `folder`."""
    defaults = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    return _save(GPT2LMHeadModel, GPT2Config, folder, n_vocab, seed, defaults | config)


def _save(model: Any, config: Any, folder: Path, n_vocab: int, seed: int, settings: dict[str, Any]) -> Path:
    tokenizer = make_tokenizer(n_vocab)
    n_tokens = len(tokenizer)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = model(config(vocab_size=n_tokens, bos_token_id=0, eos_token_id=0, pad_token_id=0, **settings))
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
