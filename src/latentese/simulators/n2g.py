"""Walk the explanation's token patterns backwards from each token: needs no language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latentese.patterns.n2g import Pattern, PatternTrie
from latentese.records import Context, Explanation, Simulation


@dataclass(frozen=True)
class N2GSimulator:
    """Expects of a token what the most particular pattern that ends there says, and 0 where none does."""

    name: str = "n2g"

    def reads(self, explanation: Explanation) -> bool:
        """Only explanations that carry patterns; beside a table they are no more than its conditions."""
        return bool(explanation.patterns) and not explanation.table

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        """Simulate each context."""
        trie = PatternTrie(tuple(Pattern(tokens, act) for tokens, act in explanation.patterns))
        return [Simulation(context.context, trie.expected(context.tokens)) for context in contexts]
