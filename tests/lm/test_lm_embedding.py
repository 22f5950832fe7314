"""The embedder against a plain pass, and vectors that depend on their own text alone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import make_tokenizer
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from latentese.lm.embedding import MeanPoolEmbedder

TEXTS = [
    "river",
    "the old mill and the river",
    "12, 345",
    "日本 niño",
    "",
    "boats " * 300,
    *(f"word {i}" for i in range(40)),
]


@dataclass(frozen=True)
class Folder:
    """A model source that is a folder."""

    path: Path
    name: str = "tiny-bert"

    def folder(self) -> Path:
        return self.path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    path = tmp_path_factory.mktemp("bert")
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(tokenizer), initializer_range=0.2, **shape)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return Folder(path)


def embed(embedder: MeanPoolEmbedder, texts: list[str]) -> np.ndarray:
    return asyncio.run(embedder.embed(texts))


def test_a_vector_is_the_mean_over_the_tokens_of_unit_norm(tiny: Folder) -> None:
    model, tokenizer = AutoModel.from_pretrained(tiny.path), AutoTokenizer.from_pretrained(tiny.path)
    with torch.inference_mode():
        hidden = model(**tokenizer(TEXTS[1], return_tensors="pt")).last_hidden_state[0]
    mean = hidden.mean(0)
    [vector] = embed(MeanPoolEmbedder(tiny), [TEXTS[1]])
    np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-6)


def test_vectors_do_not_depend_on_their_company(tiny: Folder) -> None:
    whole = [text for text in TEXTS if text]
    together = embed(MeanPoolEmbedder(tiny), whole)
    np.testing.assert_array_equal(embed(MeanPoolEmbedder(tiny), whole[::-1])[::-1], together)
    alone = np.concatenate([embed(MeanPoolEmbedder(tiny), [text]) for text in whole[:8]])
    np.testing.assert_array_equal(alone, together[:8])


def test_rows_follow_the_question_repeats_included(tiny: Folder) -> None:
    vectors = embed(MeanPoolEmbedder(tiny), ["river", "12, 345", "river"])
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert not np.allclose(vectors[0], vectors[1])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_text_without_tokens_is_zeros(tiny: Folder) -> None:
    np.testing.assert_array_equal(embed(MeanPoolEmbedder(tiny), [""]), np.zeros((1, 32), np.float32))
