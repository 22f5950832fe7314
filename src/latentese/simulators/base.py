"""What a simulator is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from latentese.errors import SettingError
from latentese.records import Context, Explanation, Simulation


class Simulator(Protocol):
    """Predicts activations from an explanation. It is shown texts, never activations of these texts."""

    @property
    def name(self) -> str:
        """Name in the configuration; a column of every simulation."""
        ...

    def reads(self, explanation: Explanation) -> bool:
        """Say whether this simulator can use this explanation."""
        ...

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        """Simulate each context, in the order given: one expected activation per token, on the simulator's own scale.

        A question without a usable answer is a simulation with `expected=None` and `error`, never an exception.
        """
        ...


def require_probabilities(setting: str, lm: object, method: str) -> None:
    """Refuse a language model that does not tell the probabilities that `method` asks for, before anything is asked."""
    if not hasattr(lm, method):
        raise SettingError(setting, type(lm).__name__, "a language model that tells probabilities")
