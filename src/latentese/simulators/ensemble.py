"""Several simulators as one: the cheap and the strong, weighted by what each is worth on `calibrate` documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latentese.errors import SettingError
from latentese.records import Context, Explanation, Simulation

MAX_MEMBERS = 8
"""Every subset of the members is tried when weights are fitted."""


@dataclass(frozen=True)
class EnsembleSimulator:
    """A weighted sum of what its members expect.

        expected(token) = sum over members of weight * expected(token) by that member

    It asks nothing: stage `score` combines the members' own simulations, wherever all of them were asked, so their
    limits are its limits. The weights, 0 or more, are fitted over all units on `calibrate`; the manifest of the scores
    tells them.
    """

    members: Sequence[str]
    """Names of other simulators of the same study."""
    name: str = "ensemble"

    def __post_init__(self) -> None:
        if not 2 <= len(self.members) <= MAX_MEMBERS or len(set(self.members)) != len(self.members):
            raise SettingError(f"simulators.{self.name}.members", list(self.members), f"2 to {MAX_MEMBERS} simulators")

    def reads(self, explanation: Explanation) -> bool:
        """Nothing by itself: its members read."""
        return False

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        """Raise SettingError: an ensemble has weights after stage `score` only."""
        raise SettingError("simulator", self.name, "a simulator that asks; an ensemble combines what others answered")
