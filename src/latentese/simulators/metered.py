"""A simulator that counts what it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from latentese.records import Context, Explanation, Simulation, Usage
from latentese.simulators.base import Simulator


@dataclass
class MeteredSimulator:
    """Simulates as `inner` does, and adds up the tokens of all its answers, kept ones too."""

    inner: Simulator
    usage: Usage = field(default_factory=Usage)

    @property
    def name(self) -> str:
        """Name of the simulator inside."""
        return self.inner.name

    def reads(self, explanation: Explanation) -> bool:
        """Say whether the simulator inside can use this explanation."""
        return self.inner.reads(explanation)

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        """Simulate each context."""
        simulations = await self.inner.simulate(explanation, contexts)
        self.usage = sum((simulation.usage for simulation in simulations), self.usage)
        return simulations
