"""What a run asked of a language model: for side files of timings and costs, never for artifacts."""

from __future__ import annotations

from dataclasses import dataclass

from latentese.records import Usage


@dataclass
class Ledger:
    """Running counts. Tokens are those spent in this run: kept answers cost none."""

    n_requests: int = 0
    n_cached: int = 0
    """Requests answered from the cache, or by an identical request that was under way."""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add_asked(self, usage: Usage) -> None:
        """Count a request that the model answered."""
        self.n_requests += 1
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens

    def add_cached(self) -> None:
        """Count a request that cost nothing."""
        self.n_requests += 1
        self.n_cached += 1
