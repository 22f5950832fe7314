"""Whoever judges explanations, seen alike: an explanation and contexts in, an answer per context and one value out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from latentese.metrics.classification import auroc_of
from latentese.metrics.correlation import pearson, token_sums
from latentese.records import Example, Explanation
from latentese.scorers.simulation import SimulationScorer
from latentese.simulators.base import Simulator


class Answer(NamedTuple):
    """What was said of one context."""

    truth: tuple[float, ...]
    said: tuple[float, ...] | None
    """As many numbers as `truth`; None when there is no usable answer."""


class Judge(Protocol):
    """Tells how well an explanation fits what a unit does."""

    @property
    def name(self) -> str:
        """Name of the simulator or scorer in the configuration."""
        ...

    @property
    def measure(self) -> str:
        """What its value is."""
        ...

    def reads(self, explanation: Explanation) -> bool:
        """Say whether this judge can use this explanation."""
        ...

    async def answer(self, explanation: Explanation, examples: Sequence[Example]) -> list[Answer]:
        """Answer for contexts of its choice, the same ones in the same order whatever the explanation."""
        ...

    def value(self, answers: Sequence[Answer]) -> float | None:
        """Sum up answers, none of which failed; None where that is not defined."""
        ...


@dataclass(frozen=True)
class SimulatorJudge:
    """Correlates a simulation with the truth over all counted tokens."""

    simulator: Simulator
    measure: str = "correlation"

    @property
    def name(self) -> str:
        """Name of the simulator."""
        return self.simulator.name

    def reads(self, explanation: Explanation) -> bool:
        """Say whether the simulator can use this explanation."""
        return self.simulator.reads(explanation)

    async def answer(self, explanation: Explanation, examples: Sequence[Example]) -> list[Answer]:
        """Simulate every example."""
        judgements = await SimulationScorer(self.simulator).judge(explanation, examples)
        return [Answer(judgement.true_acts, judgement.expected_acts) for judgement in judgements]

    def value(self, answers: Sequence[Answer]) -> float | None:
        """Pearson correlation over the concatenated tokens."""
        return correlation([(answer.truth, answer.said or ()) for answer in answers])


class YesOrNo(Protocol):
    """One answer of a scorer."""

    @property
    def truth(self) -> bool:
        """What a perfect explanation would have answered."""
        ...

    @property
    def answer(self) -> float | None:
        """How far it is a yes; None when there is no usable answer."""
        ...


class AsksYesOrNo(Protocol):
    """What is needed of a scorer."""

    @property
    def name(self) -> str:
        """Name in the configuration."""
        ...

    def reads(self, explanation: Explanation) -> bool:
        """Say whether this scorer can use this explanation."""
        ...

    def choose(self, examples: Sequence[Example]) -> list[Example]:
        """Choose the examples to be judged, the same whatever the explanation."""
        ...

    async def judge(self, explanation: Explanation, examples: Sequence[Example]) -> Sequence[YesOrNo]:
        """Judge each chosen example."""
        ...


@dataclass(frozen=True)
class ScorerJudge:
    """Ranks a scorer's answers against the truth: the area under the curve needs no threshold."""

    scorer: AsksYesOrNo
    measure: str = "auroc"

    @property
    def name(self) -> str:
        """Name of the scorer."""
        return self.scorer.name

    def reads(self, explanation: Explanation) -> bool:
        """Say whether the scorer can use this explanation."""
        return self.scorer.reads(explanation)

    async def answer(self, explanation: Explanation, examples: Sequence[Example]) -> list[Answer]:
        """Judge the examples that the scorer chooses."""
        verdicts = await self.scorer.judge(explanation, self.scorer.choose(examples))
        return [Answer((float(v.truth),), None if v.answer is None else (v.answer,)) for v in verdicts]

    def value(self, answers: Sequence[Answer]) -> float | None:
        """Chance that a true one has a higher answer than one that is not, equal answers counting half."""
        told = [(answer.truth[0] > 0, said) for answer in answers for said in answer.said or ()]
        return auroc_of([truth for truth, _ in told], [said for _, said in told])


def answered_by_all(answered: Sequence[Sequence[Answer]]) -> tuple[list[list[Answer]], int]:
    """Keep, of several explanations' answers about the same contexts, those contexts of which all have one.

    Explanations are compared on the same contexts only; also returns how many answers failed.
    """
    usable = [all(answer.said is not None for answer in of_context) for of_context in zip(*answered, strict=True)]
    n_failed = sum(answer.said is None for answers in answered for answer in answers)
    kept = [[answer for answer, use in zip(answers, usable, strict=True) if use] for answers in answered]
    return kept, n_failed


def correlation(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> float | None:
    """Pearson correlation of two sides, context by context, over all their numbers; None where a side is constant."""
    if not pairs:
        return None
    value = float(pearson(sum(token_sums(one, other) for one, other in pairs)))  # type: ignore[arg-type]
    return None if value != value else value  # noqa: PLR0124  (NaN)
