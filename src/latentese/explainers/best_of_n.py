"""Draw several explanations of a unit and keep the one that predicts held-out `explain` examples best."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from latentese.errors import SettingError
from latentese.explainers.base import Explainer, explanation_id
from latentese.metrics.correlation import N_SUMS, pearson, token_sums
from latentese.records import Candidate, Context, Example, Explanation, Simulation, Unit, Usage

JUDGED_KINDS = ("top", "random")
"""What scores are over."""


class Sampled(Protocol):
    """An explainer whose answers can be drawn."""

    def sample(self, sample_idx: int, temperature: float) -> Explainer:
        """Give the same explainer drawing its sample of this number."""
        ...


class Simulates(Protocol):
    """What is needed of the simulator that chooses."""

    def reads(self, explanation: Explanation) -> bool:
        """Say whether it can use this explanation."""
        ...

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        """Simulate each context."""
        ...


class Judged(NamedTuple):
    """What the simulator made of a text."""

    value: float | None = None
    usage: Usage = Usage()


@dataclass(frozen=True)
class BestOfN:
    """The likeliest answer and n - 1 drawn ones, judged by a simulator on examples that no answer was made from.

    Examples whose document was shown are left out, and `select` and `test` are never seen: `select` decides
    in refinement, and a choice made on it here would make its scores look better than they are. Judged by Pearson
    correlation over the tokens of the top and random examples that are left and were simulated for every candidate.
    Equal candidates: the first is kept; where no candidate has a value, the first with a text. Where nothing is left
    there is nothing to compare by, and the likeliest answer, if usable, is the only candidate.
    """

    explainer: Sampled
    simulator: Simulates
    name: str = "best_of_n"
    n: int = 3
    temperature: float = 0.8
    """Of all but the first answer, which is the likeliest: where the plain explainer has asked for it, it is kept."""

    def __post_init__(self) -> None:
        if self.n < 2:
            raise SettingError("n", self.n, "at least 2: the likeliest answer, and one that is drawn")
        if self.temperature <= 0:
            raise SettingError("temperature", self.temperature, "above 0, or all answers are the same")

    async def explain(self, unit: Unit, examples: Sequence[Example]) -> Explanation:
        """Explain `unit`; without any usable answer, `text=None` and the first answer's `error`."""
        drawn = await self._draw(unit, examples)
        held_out = hold_out(examples, {context for explanation in drawn for context in explanation.examples})
        judged = await self._judge(drawn, held_out)
        best = max(range(len(drawn)), key=lambda i: (drawn[i].text is not None, _rank(judged[drawn[i].text].value), -i))
        spent = [each.usage for each in drawn] + [each.usage for each in judged.values()]
        return replace(
            drawn[best],
            explanation=explanation_id(unit.unit, self.name, 0),
            explainer=self.name,
            candidates=tuple(Candidate(each.text, judged[each.text].value, each.error) for each in drawn),
            chosen_on=tuple(example.context.context for example in held_out),
            usage=sum(spent, Usage()),
        )

    async def _draw(self, unit: Unit, examples: Sequence[Example]) -> list[Explanation]:
        """Ask for the likeliest answer; for the others where it is unusable, or there is something to choose by."""
        likeliest, *others = (self.explainer.sample(i, self.temperature if i else 0.0) for i in range(self.n))
        first = await likeliest.explain(unit, examples)
        if first.text is not None and not hold_out(examples, set(first.examples)):
            return [first]
        return [first, *await asyncio.gather(*(explainer.explain(unit, examples) for explainer in others))]

    async def _judge(self, drawn: Sequence[Explanation], held_out: Sequence[Example]) -> dict[str | None, Judged]:
        """Judge each text once: small models often draw what they have said before."""
        by_text = {explanation.text: explanation for explanation in drawn}
        simulated = await asyncio.gather(*(self._simulate(explanation, held_out) for explanation in by_text.values()))
        # Only contexts that all have an answer to: on others of its own a text would look better or worse.
        of_all = zip(*filter(None, simulated), strict=True)
        answered = [all(told.expected is not None for told in of_context) for of_context in of_all]
        return {text: _judged(held_out, found, answered) for text, found in zip(by_text, simulated, strict=True)}

    async def _simulate(self, explanation: Explanation, held_out: Sequence[Example]) -> list[Simulation]:
        if explanation.text is None or not held_out or not self.simulator.reads(explanation):
            return []
        return await self.simulator.simulate(explanation, [example.context for example in held_out])


def _judged(held_out: Sequence[Example], simulated: Sequence[Simulation], answered: Sequence[bool]) -> Judged:
    if not simulated:
        return Judged()
    sums = np.zeros(N_SUMS)
    for example, simulation, is_compared in zip(held_out, simulated, answered, strict=True):
        if is_compared and simulation.expected is not None:
            keep = np.array(example.context.keep)
            sums += token_sums(np.array(example.acts)[keep].tolist(), np.array(simulation.expected)[keep].tolist())
    value = float(pearson(sums))
    return Judged(None if np.isnan(value) else value, sum((told.usage for told in simulated), Usage()))


def hold_out(examples: Sequence[Example], shown: set[int]) -> list[Example]:
    """Top and random examples of documents of which no context was shown."""
    documents = {example.context.document for example in examples if example.context.context in shown}
    return [e for e in examples if e.kind in JUDGED_KINDS and e.context.document not in documents]


def _rank(value: float | None) -> float:
    return -np.inf if value is None else value
