"""What a scorer is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import polars as pl

from latentese.records import Example, Explanation, Verdict


@runtime_checkable
class Scorer(Protocol):
    """Answers a yes-or-no question about each example from an explanation, whose explainer never saw the example."""

    @property
    def name(self) -> str:
        """Name in the configuration."""
        ...

    @property
    def threshold(self) -> float | None:
        """Answers above this are a yes; None where answers only rank."""
        ...

    def reads(self, explanation: Explanation) -> bool:
        """Say whether this scorer can use this explanation."""
        ...

    def choose(self, examples: Sequence[Example]) -> list[Example]:
        """Choose, among all examples of one unit and split, those to be judged; the same whatever the explanation."""
        ...

    async def judge(self, explanation: Explanation, examples: Sequence[Example]) -> list[Verdict]:
        """Judge each chosen example, in the order given.

        A question without a usable answer is a verdict with `answer=None` and `error`, never an exception.
        """
        ...


@runtime_checkable
class CausalScorer(Protocol):
    """Puts simulations into the unit's place in the subject; it asks nobody, and runs when all simulators have."""

    @property
    def name(self) -> str:
        """Name in the configuration."""
        ...

    @property
    def simulators(self) -> Sequence[str]:
        """Names of the simulators whose simulations are scored."""
        ...

    def choose(self, examples: Sequence[Example]) -> list[Example]:
        """Choose, among all simulated examples of one unit and split, those to be scored."""
        ...

    def measure(self, simulations: pl.DataFrame) -> pl.DataFrame:
        """Measure simulations (schema SIMULATIONS): one row per scored context and scale (schema ABLATIONS).

        simulations: the chosen ones, under every control, and those of `calibrate`, on which scales are fitted.
        A context without a simulation is a row with `simulated=None` and `error`, never an exception.
        """
        ...
