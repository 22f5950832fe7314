"""The loop: per unit and arm, find counterexamples, propose, score on `select`, keep what is better.

All units and arms go through a round together, so that a language model answers them in batches; a unit's course
depends on its own answers alone. Both arms follow the same rule, and neither sees a `test` document.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

import numpy as np
import polars as pl

from latentese import schemas
from latentese.errors import SettingError
from latentese.metrics.scores import correlation_of, paired_correlations
from latentese.records import Example, Explanation, Unit, Usage
from latentese.refinement.base import Arm, Counterexample, Evidence, Gathered, Gatherer, Material, Shown
from latentese.refinement.mine import MineSettings, draw_candidates, mine
from latentese.scorers.simulation import SimulationScorer
from latentese.scorers.table import Question, simulation_rows
from latentese.simulators.base import Simulator
from latentese.simulators.metered import MeteredSimulator


@dataclass(frozen=True)
class LoopSettings:
    """When the loop goes on and what it accepts."""

    n_rounds: int = 3
    patience: int = 2
    """Rejections in a row after which an arm gives up a unit."""
    min_gain: float = 0.01
    """A child is accepted when its `select` score is above its parent's by more than this."""
    mining: MineSettings = field(default_factory=MineSettings)

    def __post_init__(self) -> None:
        for name in ("n_rounds", "patience"):
            if getattr(self, name) < 1:
                raise SettingError(f"refinement.{name}", getattr(self, name), "at least 1")
        if self.min_gain < 0:
            raise SettingError("refinement.min_gain", self.min_gain, "0 or more")


class UnitExamples(Protocol):
    """Where the loop reads a unit's examples; a pool may be large, so it is read when needed."""

    def originals(self, explanation: Explanation) -> Sequence[Example]:
        """Return the `explain` examples that a first explanation was written from, strongest first."""
        ...

    def others(self, explanation: Explanation) -> Sequence[Example]:
        """Return the near misses and random contexts that it was written from."""
        ...

    def pool(self, unit: int) -> Sequence[Example]:
        """Return all pool contexts of `explain` documents with the unit's activations, silent ones included."""
        ...

    def select(self, unit: int) -> Sequence[Example]:
        """Return the unit's `select` examples."""
        ...


@dataclass(frozen=True)
class Course:
    """Where one unit stands in one arm."""

    unit: Unit
    arm: str
    initial: Explanation
    current: Explanation
    simulations: pl.DataFrame = field(repr=False)
    """The current explanation on `select`: rows of SIMULATIONS."""
    shown: frozenset[int]
    n_rejected: int = 0
    """Rejections in a row."""
    is_over: bool = False

    @property
    def score(self) -> float | None:
        """`select` score of the current explanation; None where it is not defined."""
        return correlation_of(self.simulations)


@dataclass(frozen=True)
class Step:
    """What one round did to one course."""

    course: Course
    """After the round."""
    child: Explanation | None
    decision: dict[str, object]
    """A row of DECISIONS."""
    simulations: pl.DataFrame
    """The child on `select`: rows of SIMULATIONS."""
    gathered: Gathered | None = None
    """What the arm went by; None where it had nothing to gather."""
    simulated: Usage = field(default_factory=Usage)
    """What the simulator read: the pool, what the arm compared, and the child on `select`."""


@dataclass(frozen=True)
class Loop:
    """Runs rounds over units; holds what they share."""

    simulator: Simulator
    arms: Mapping[str, Arm]
    examples: UnitExamples
    settings: LoopSettings

    def start(self, unit: Unit, initial: Explanation, simulations: pl.DataFrame) -> list[Course]:
        """Begin one course per arm, all from the first explanation, with its rows of SIMULATIONS on `select`."""
        shown = frozenset(initial.examples)
        return [Course(unit, arm, initial, initial, simulations, shown) for arm in self.arms]

    async def run_round(self, courses: Sequence[Course], round_idx: int) -> list[Step]:
        """Take every course that is not over one step further, concurrently; steps in the order of courses."""
        return list(await asyncio.gather(*(self._step(c, round_idx) for c in courses if not c.is_over)))

    async def _step(self, course: Course, round_idx: int) -> Step:
        metered = MeteredSimulator(self.simulator)
        step = await replace(self, simulator=metered)._take(course, round_idx)
        return replace(step, simulated=metered.usage)

    async def _take(self, course: Course, round_idx: int) -> Step:
        gathered = await self._gather(course, round_idx)
        evidence = gathered.evidence
        if not evidence.counterexamples:
            step = stop(course, round_idx, _why_nothing(gathered))
        else:
            step = await self._propose(course, evidence, round_idx)
        return replace(step, gathered=gathered)

    async def _propose(self, course: Course, evidence: Evidence, round_idx: int) -> Step:
        arm = self.arms[course.arm]
        shown = arm.shows(evidence)
        child = await arm.propose(course.unit, course.current, evidence, revision=round_idx)
        if child.text is None:
            return self._decide(course, child, shown, None, f"no usable answer: {child.error}")
        if _content(child) == _content(course.current):
            return self._decide(course, child, shown, None, "the same words as its parent")
        examples = self.examples.select(course.unit.unit)
        judgements = await SimulationScorer(self.simulator).judge(child, examples)
        question = Question(child.explanation, course.unit.unit, self.simulator.name, "none", "select")
        return self._decide(course, child, shown, simulation_rows(question, examples, judgements))

    async def _gather(self, course: Course, round_idx: int) -> Gathered:
        """Counterexamples to the current explanation, and as many ordinary examples; nothing shown before."""
        arm, pool = self.arms[course.arm], self.examples.pool(course.unit.unit)
        wants_mined = not isinstance(arm, Gatherer) or arm.wants_mined
        counterexamples = await self._mine(course, pool) if wants_mined else ()
        extras = draw_extras(pool, course.shown, len(counterexamples), [self.settings.mining.seed, round_idx])
        evidence = Evidence(
            tuple(self.examples.originals(course.initial)), counterexamples, tuple(extras), self._earlier(course, pool)
        )
        if not isinstance(arm, Gatherer):
            return Gathered(evidence)
        fresh = tuple(example for example in pool if example.context.context not in course.shown)
        seed = (self.settings.mining.seed, round_idx, course.unit.unit)
        return await arm.gather(
            Material(course.unit, course.current, evidence, fresh, course.shown, self.simulator, seed)
        )

    async def _mine(self, course: Course, pool: Sequence[Example]) -> tuple[Counterexample, ...]:
        candidates = draw_candidates(pool, course.shown, self.settings.mining)
        simulations = await self.simulator.simulate(course.current, [example.context for example in candidates])
        return mine(candidates, simulations, self.settings.mining)

    def _earlier(self, course: Course, pool: Sequence[Example]) -> tuple[Example, ...]:
        """Collect what was shown before, beside the originals."""
        first = set(course.initial.examples)
        later = [e for e in pool if e.context.context in course.shown and e.context.context not in first]
        return (*self.examples.others(course.initial), *later)

    def _decide(
        self, course: Course, child: Explanation, shown: Shown, simulations: pl.DataFrame | None, why: str = ""
    ) -> Step:
        before, after = (
            (course.score, None) if simulations is None else paired_correlations(course.simulations, simulations)
        )
        # A parent without a score predicts nothing, as a correlation of 0 would.
        gain = None if after is None else after - (before or 0.0)
        accepted = gain is not None and gain > self.settings.min_gain
        if gain is not None:
            why = f"gain {gain:+.3f} on select, {'above' if accepted else 'not above'} {self.settings.min_gain}"
        n_rejected = 0 if accepted else course.n_rejected + 1
        simulated = schemas.SIMULATIONS.to_frame() if simulations is None else simulations
        ahead = replace(
            course,
            current=child if accepted else course.current,
            simulations=simulated if accepted else course.simulations,
            shown=course.shown | shown.contexts,
            n_rejected=n_rejected,
            is_over=n_rejected >= self.settings.patience,
        )
        decision = _decision(course, child.revision, why or "no score on select") | {
            "child": child.explanation,
            "select_parent": before,
            "select_child": after,
            "accepted": accepted,
            **_columns(shown),
        }
        return Step(ahead, child, decision, simulated)


def _content(explanation: Explanation) -> tuple[object, ...]:
    """Return what simulators read."""
    return explanation.text, explanation.table, explanation.patterns


def draw_extras(pool: Sequence[Example], shown: frozenset[int], n_extras: int, seed: Sequence[int]) -> list[Example]:
    """Draw ordinary examples in which the unit fires, not shown before, one per document; strongest first."""
    firing = [example for example in pool if example.max_act > 0 and example.context.context not in shown]
    drawn: dict[int, Example] = {}
    for i in np.random.default_rng([*seed, pool[0].unit if pool else 0]).permutation(len(firing)):
        drawn.setdefault(firing[i].context.document, firing[i])
    chosen = list(drawn.values())[:n_extras]
    return sorted(chosen, key=lambda example: (-example.max_act, example.context.context))


def _decision(course: Course, round_idx: int, why: str) -> dict[str, object]:
    """Give a row of DECISIONS by which nothing was proposed."""
    return {
        "unit": course.unit.unit,
        "arm": course.arm,
        "round": round_idx,
        "parent": course.current.explanation,
        "child": None,
        "select_parent": course.score,
        "select_child": None,
        "accepted": False,
        "why": why,
        **_columns(Shown()),
    }


def _columns(shown: Shown) -> dict[str, list[int]]:
    return {name: list(contexts) for name, contexts in asdict(shown).items()}


def _why_nothing(gathered: Gathered) -> str:
    if gathered.error is not None:
        return f"no sentence: {gathered.error}"
    if not gathered.sentences:
        return "no counterexample left in the pool"
    is_any_silent = any(sentence.max_act <= 0 for sentence in gathered.sentences)
    return "no silent sentence that was not shown" if is_any_silent else "the unit fires on every sentence"


def stop(course: Course, round_idx: int, why: str) -> Step:
    """End a course with a decision that says why; nothing was asked."""
    return Step(replace(course, is_over=True), None, _decision(course, round_idx, why), schemas.SIMULATIONS.to_frame())
