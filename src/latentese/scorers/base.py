"""What a scorer is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from latentese.records import Example, Explanation, Judgement


class Scorer(Protocol):
    """Judges an explanation on examples that its explainer never saw."""

    @property
    def name(self) -> str:
        """Name in the configuration."""
        ...

    async def judge(self, explanation: Explanation, examples: Sequence[Example]) -> list[Judgement]:
        """Judge each example, in the order given. A question without a usable answer is a judgement with `error`."""
        ...
