"""Expect a unit to fire on words whose embedding is close to the explanation's: no prompt, milliseconds per context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentese.errors import SettingError
from latentese.lm.protocol import Embedder
from latentese.records import Context, Explanation, Simulation
from latentese.simulators.words import phrases_of, words_of


@dataclass(frozen=True)
class EmbeddingSimulator:
    """Similarity of each word with the nearest phrase of the explanation, clipped at 0 and sharpened.

        expected(token) = max(0, max over phrases cos(word of the token, phrase)) ** power

    A phrase is the whole explanation, something it quotes or an item it lists. It reads words alone, so it is blind to
    structure, position and white space.
    """

    embedder: Embedder
    """It keeps what it embedded: the same words come with every explanation."""
    power: float = 3.0
    """Sharpens: unrelated words have cosines around .2, and there are many of them."""
    name: str = "embedding"

    def __post_init__(self) -> None:
        if self.power <= 0:
            raise SettingError("power", self.power, "above 0")

    def reads(self, explanation: Explanation) -> bool:
        """Any explanation in words."""
        return explanation.is_in_words

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        """Simulate each context from the words in it."""
        words = [words_of(context.tokens) for context in contexts]
        vocabulary = sorted({word for context_words in words for word in context_words if word})
        similarity = await self._similarity(vocabulary, phrases_of(explanation.text or ""))
        return [
            Simulation(context.context, tuple(similarity.get(word, 0.0) for word in context_words))
            for context, context_words in zip(contexts, words, strict=True)
        ]

    async def _similarity(self, words: Sequence[str], phrases: Sequence[str]) -> dict[str, float]:
        if not words:
            return {}
        vectors = await self.embedder.embed([*words, *phrases])
        cosines = vectors[: len(words)] @ vectors[len(words) :].T  # [n_words, n_phrases]
        expected = np.clip(cosines.max(axis=1), 0.0, None).astype(np.float64) ** self.power
        # Rounded: the last bits of a matrix product may depend on how many words it has.
        return dict(zip(words, np.round(expected, 6).tolist(), strict=True))
