"""What the loop hands to its arms, and what an arm is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from latentese.records import Example, Explanation, Unit, Usage
from latentese.simulators.base import Simulator

CounterexampleKind = Literal["false_positive", "false_negative"]


@dataclass(frozen=True)
class Counterexample:
    """A context in which a simulation and the unit disagree."""

    example: Example
    expected: tuple[float, ...]
    """What the simulator expects at each token, on its own scale."""
    kind: CounterexampleKind
    """`false_positive`: expected to fire, silent; `false_negative`: fires, expected to be silent."""


@dataclass(frozen=True)
class Evidence:
    """What an arm may show its language model in one round; all of it from `explain` documents."""

    originals: tuple[Example, ...]
    """What the first explanation was written from, strongest first."""
    counterexamples: tuple[Counterexample, ...]
    """Where the arm's current explanation is wrong."""
    extras: tuple[Example, ...]
    """As many ordinary examples, not shown before."""
    earlier: tuple[Example, ...] = ()
    """Whatever else was shown before: to the first explainer, near misses and random contexts; to this arm, the
    evidence of its earlier rounds."""


@dataclass(frozen=True)
class Shown:
    """Contexts that an arm shows in one round, beside the originals."""

    false_positives: tuple[int, ...] = ()
    false_negatives: tuple[int, ...] = ()
    extra_examples: tuple[int, ...] = ()
    sentences: tuple[int, ...] = ()
    """Written sentences, see SENTENCES."""
    random_examples: tuple[int, ...] = ()

    @property
    def contexts(self) -> frozenset[int]:
        """All of them."""
        in_study = self.false_positives + self.false_negatives + self.extra_examples + self.random_examples
        return frozenset(in_study + self.sentences)


class Arm(Protocol):
    """One way to write another explanation: a revision, or a control of it."""

    @property
    def name(self) -> str:
        """Name in every table."""
        ...

    def shows(self, evidence: Evidence) -> Shown:
        """Say which part of the evidence this arm uses."""
        ...

    async def propose(self, unit: Unit, parent: Explanation, evidence: Evidence, revision: int) -> Explanation:
        """Write explanation number `revision` of this arm; `text=None` and `error` when there is no usable answer."""
        ...


@dataclass(frozen=True)
class Material:
    """Where an arm may look for evidence of its own; all texts are of `explain` documents."""

    unit: Unit
    parent: Explanation
    evidence: Evidence
    """What was mined, if the arm wants it."""
    fresh: tuple[Example, ...]
    """Pool contexts that were not shown before, silent ones included."""
    shown: frozenset[int]
    simulator: Simulator
    seed: tuple[int, ...]


@dataclass(frozen=True)
class Gathered:
    """The evidence of one round, and what was written to find it."""

    evidence: Evidence
    sentences: tuple[Example, ...] = ()
    """All sentences that the subject read, with what the unit did on them."""
    error: str | None = None
    """Why no sentence could be used."""
    usage: Usage = field(default_factory=Usage)
    prompt_sha256: str = ""
    """Of the prompt by which sentences were written."""


@runtime_checkable
class Gatherer(Protocol):
    """An arm that looks for evidence of its own."""

    @property
    def wants_mined(self) -> bool:
        """Whether it goes by counterexamples of the pool; where it does not, none are mined."""
        ...

    async def gather(self, material: Material) -> Gathered:
        """Gather the evidence of one round."""
        ...


@runtime_checkable
class RandomControl(Protocol):
    """An arm that shows random texts in the place of what another one shows, and is else the same."""

    @property
    def control_of(self) -> str:
        """Name of the other arm."""
        ...


def contexts_of(counterexamples: tuple[Counterexample, ...], kind: CounterexampleKind) -> tuple[int, ...]:
    """Context numbers of one kind of counterexample, in the order given."""
    return tuple(item.example.context.context for item in counterexamples if item.kind == kind)
