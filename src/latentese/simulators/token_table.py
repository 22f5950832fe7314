"""Look each token up in the explanation's table: needs no language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latentese.patterns.n2g import Pattern, PatternTrie
from latentese.patterns.token_table import TokenTable
from latentese.records import Context, Explanation, Simulation


@dataclass(frozen=True)
class TokenTableSimulator:
    """Expects of a token what the explanation's table says, and 0 of tokens that are not in it.

    Where the explanation carries patterns as well, they are conditions of its table, as refinement writes them.
    """

    name: str = "token_table"

    def reads(self, explanation: Explanation) -> bool:
        """Only explanations that carry a table."""
        return bool(explanation.table)

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        """Simulate each context by look-up."""
        conditions = PatternTrie(tuple(Pattern(tokens, act) for tokens, act in explanation.patterns))
        table = TokenTable(explanation.table, conditions)
        return [Simulation(context.context, table.expected(context.tokens)) for context in contexts]
