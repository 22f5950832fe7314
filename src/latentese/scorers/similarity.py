"""Embedding similarity: texts in which the unit fires should be nearer to the explanation than others (delphi)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from latentese.lm.protocol import Embedder
from latentese.records import Example, Explanation, Verdict
from latentese.scorers.choice import KindCounts, fires


@dataclass(frozen=True)
class SimilarityScorer:
    """Cosine of the explanation's embedding with the text's: it ranks texts and decides nothing."""

    embedder: Embedder
    name: str = "similarity"
    examples: KindCounts = field(default_factory=KindCounts)
    threshold: None = None

    def reads(self, explanation: Explanation) -> bool:
        """Any explanation in words."""
        return explanation.is_in_words

    def choose(self, examples: Sequence[Example]) -> list[Example]:
        """Draw so many of each kind."""
        return self.examples.of(examples)

    async def judge(self, explanation: Explanation, examples: Sequence[Example]) -> list[Verdict]:
        """Embed the explanation and every text."""
        if not examples:
            return []
        about, *texts = await self.embedder.embed([explanation.text or "", *(e.context.text for e in examples)])
        return [
            Verdict(example.context.context, fires(example), round(float(about @ text), 6))
            for example, text in zip(examples, texts, strict=True)
        ]
