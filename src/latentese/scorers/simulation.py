"""Truth beside simulation, at the positions that count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from latentese.records import Context, Example, Explanation, Judgement, Simulation


class Simulates(Protocol):
    """What a scorer needs of a simulator."""

    @property
    def name(self) -> str:
        """Name in the configuration."""
        ...

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        """Simulate each context."""
        ...


@dataclass(frozen=True)
class SimulationScorer:
    """Shows the simulator each example's text and puts what it expects beside what the unit does."""

    simulator: Simulates

    @property
    def name(self) -> str:
        """Name of the simulator."""
        return self.simulator.name

    async def judge(self, explanation: Explanation, examples: Sequence[Example]) -> list[Judgement]:
        """Judge each example: one true and one expected activation per counted position."""
        simulations = await self.simulator.simulate(explanation, [example.context for example in examples])
        return [_judge(example, simulation) for example, simulation in zip(examples, simulations, strict=True)]


def _judge(example: Example, simulation: Simulation) -> Judgement:
    context = example.context
    if simulation.context != context.context:
        raise ValueError(f"simulation of context {simulation.context} given for context {context.context}")
    true_acts = counted(example.acts, context.keep)
    if simulation.expected is None:
        return Judgement(context.context, true_acts, None, simulation.error or "no answer", simulation.usage)
    if len(simulation.expected) != len(context.tokens):
        error = f"{len(simulation.expected)} expected activations for {len(context.tokens)} tokens"
        return Judgement(context.context, true_acts, None, error, simulation.usage)
    expected_acts = counted(simulation.expected, context.keep)
    return Judgement(context.context, true_acts, expected_acts, usage=simulation.usage)


def counted(values: Sequence[float], keep: Sequence[bool]) -> tuple[float, ...]:
    """Take the values of the positions that count."""
    return tuple(value for value, counts in zip(values, keep, strict=True) if counts)
