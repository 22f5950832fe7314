"""What a run asked of a language model: for side files of timings and costs, never for artifacts."""

from __future__ import annotations

from dataclasses import dataclass

from latentese.errors import AnswerError
from latentese.records import Usage


class SpentError(AnswerError):
    """No usable answer, although something was answered and paid for: `usage`."""

    def __init__(self, problem: str, usage: Usage) -> None:
        super().__init__(problem)
        self.usage = usage


def spent_on(failure: AnswerError) -> Usage:
    """Return what was paid before a question failed, as far as the failure tells."""
    return failure.usage if isinstance(failure, SpentError) else Usage()


@dataclass
class Ledger:
    """Running counts. Tokens are those spent in this run: kept answers cost none."""

    n_requests: int = 0
    n_cached: int = 0
    """Requests answered from the cache, or by an identical request that was under way."""
    n_failed: int = 0
    """Requests that ended without a usable answer; a rerun asks them again."""
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

    def add_failed(self) -> None:
        """Count a request without a usable answer."""
        self.n_requests += 1
        self.n_failed += 1


@dataclass
class Meter:
    """Running counts of what went to a served model, failures and repetitions included."""

    n_attempts: int = 0
    n_failed_attempts: int = 0
    charged_prompt_tokens: int = 0
    """What the server may charge for: as it says, or the most it can be where it does not say."""
    charged_completion_tokens: int = 0
    money: float | None = None
    """At the listed price; None where the model has none."""

    def add(self, charged: Usage, money: float | None, is_failed: bool) -> None:
        """Count one attempt."""
        self.n_attempts += 1
        self.n_failed_attempts += is_failed
        self.charged_prompt_tokens += charged.prompt_tokens
        self.charged_completion_tokens += charged.completion_tokens
        if money is not None:
            self.money = (self.money or 0.0) + money
