"""A tiny Llama whose first MLP neurons respond to known words, and text that uses them.

Attention of the first layer is silenced. The embedding of a planted word points in its class's direction, and
neuron j of layer 0 reads direction j through both its gate and its up projection, so `layers.0.mlp_act` of neuron j
is large on the words of class j and near 0 elsewhere. What explains neuron j is therefore known: its words.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tiny_models import make_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

CLASSES: dict[str, tuple[str, ...]] = {
    "animals": ("cat", "dog", "horse", "sheep", "tiger"),
    "colours": ("red", "green", "blue", "white", "black"),
    "numbers": ("one", "two", "three", "four", "five"),
    "cities": ("paris", "london", "rome", "berlin", "madrid"),
    "metals": ("iron", "gold", "silver", "copper", "zinc"),
    "months": ("april", "may", "june", "july", "august"),
}
FILLERS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "that",
    "it",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
    "they",
    "at",
    "be",
    "this",
    "from",
    "have",
    "or",
    "by",
    "but",
    "not",
    "what",
    "all",
    "were",
    "when",
    "we",
    "there",
    "can",
    "an",
    "your",
    "which",
    "their",
    "said",
    "if",
    "do",
    "will",
    "each",
    "about",
    "how",
    "up",
    "out",
    "them",
    "then",
    "she",
    "many",
    "some",
    "so",
    "these",
    "would",
]
D_MODEL = 32
N_NEURONS = 12


def write_text(folder: Path, n_documents: int = 260, n_words: int = 60, seed: int = 0) -> Path:
    """Write one .txt per document: fillers, and one word in five from a class."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, document in enumerate(_documents(n_documents, n_words, seed)):
        (folder / f"{i:04d}.txt").write_text(document, encoding="utf-8")
    return folder


def write_model(folder: Path, seed: int = 0) -> Path:
    """Save the planted model and its tokenizer, in which every word is one token."""
    tokenizer = make_tokenizer(600, "\n".join(_documents(400, 60, seed=1)))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=D_MODEL,
                intermediate_size=N_NEURONS,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=64,
                bos_token_id=0,
                eos_token_id=0,
                pad_token_id=0,
                tie_word_embeddings=False,
            )
        )
        _plant_(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@torch.no_grad()
def _plant_(model: LlamaForCausalLM, tokenizer: object) -> None:
    directions = torch.linalg.qr(torch.randn(D_MODEL, D_MODEL)).Q[: len(CLASSES)]
    embedding, layer = model.model.embed_tokens.weight, model.model.layers[0]
    embedding.normal_(std=0.1)
    for direction, words in zip(directions, CLASSES.values(), strict=True):
        for word in words:
            (token,) = tokenizer.encode(f" {word}", add_special_tokens=False)  # type: ignore[attr-defined]
            embedding[token] += 3 * direction
    layer.self_attn.o_proj.weight.zero_()
    layer.mlp.gate_proj.weight[: len(CLASSES)] = directions
    layer.mlp.up_proj.weight[: len(CLASSES)] = directions
    layer.mlp.down_proj.weight.mul_(0.1)


def _documents(n_documents: int, n_words: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    words = [word for group in CLASSES.values() for word in group]
    return [
        " " + " ".join(draw.choice(words) if draw.random() < 0.2 else draw.choice(FILLERS) for _ in range(n_words))
        for _ in range(n_documents)
    ]
