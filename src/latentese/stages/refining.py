"""What stage `refine` reads, which explanations it refines, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from latentese import schemas
from latentese.corpus.contexts import Contexts
from latentese.errors import ArtifactError, SettingError
from latentese.examples.store import Examples, join_contexts
from latentese.metrics.intervals import Bootstrap
from latentese.metrics.scores import KINDS_OF
from latentese.records import Context, Example, Explanation, Kind, Split, Unit
from latentese.refinement.loop import LoopSettings
from latentese.refinement.mine import MineSettings
from latentese.simulators.base import Simulator
from latentese.stages.judging import SplitExamples
from latentese.store.artifact import Artifact, open_artifact
from latentese.store.tables import read_explanations, read_table

CONTEXTS = "top_and_random"
REPORTED: tuple[Split, ...] = ("select", "test")
"""Splits on which explanations are compared."""


@dataclass(frozen=True)
class RefineInputs:
    """Folders of the artifacts that refinement reads."""

    contexts: Path
    examples: Path
    explanations: Path
    scores: Path


@dataclass(frozen=True)
class RefineSettings:
    """Which explanations are refined, and for how long."""

    explainer: str
    """Whose first explanations are refined."""
    threshold: float = 0.5
    """Units whose `select` score is below this take part, and those without a score."""
    n_rounds: int = 3
    patience: int = 2
    """Rejections in a row after which an arm gives up a unit."""
    min_gain: float = 0.01
    n_false_positives: int = 4
    n_false_negatives: int = 4
    n_candidates: int = 400
    """Contexts of the pool that are simulated per unit and round."""
    expected_high: float = 0.9
    n_boot: int = 1000
    level: float = 0.95
    seed: int = 0
    max_prompt_tokens: int | None = None
    """Prompt tokens of all arms together, simulations included, after which nothing more is asked.

    See `refinement.rounds`. The last simulations, on `test`, come on top.
    """

    def __post_init__(self) -> None:
        if self.max_prompt_tokens is not None and self.max_prompt_tokens < 0:
            raise SettingError("max_prompt_tokens", self.max_prompt_tokens, "0 or more, or null for no limit")
        self.loop, self.bootstrap  # noqa: B018  (check their fields before anything is asked)

    @property
    def loop(self) -> LoopSettings:
        """Settings of the loop."""
        mining = MineSettings(
            self.n_false_positives, self.n_false_negatives, self.n_candidates, self.expected_high, self.seed
        )
        return LoopSettings(self.n_rounds, self.patience, self.min_gain, mining)

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are computed."""
        return Bootstrap(self.n_boot, self.level, self.seed)


class RefineStudy:
    """Reads what the loop asks for; each pool context is read once."""

    def __init__(self, inputs: RefineInputs, simulator: Simulator, settings: RefineSettings) -> None:
        self.simulator, self.settings = simulator, settings
        self.reader = SplitExamples(Contexts(inputs.contexts), Examples(inputs.examples))
        explanations, scores = (
            open_artifact(inputs.explanations, "explanations"),
            open_artifact(inputs.scores, "scores"),
        )
        self.artifacts: dict[str, Artifact] = {
            "contexts": self.reader.contexts.artifact,
            "examples": self.reader.examples.artifact,
            "explanations": explanations,
            "scores": scores,
        }
        written = read_explanations(explanations.file("explanations.jsonl"))
        self.first = [e for e in written if e.explainer == settings.explainer]
        if not self.first:
            known = ", ".join(sorted({e.explainer for e in written})) or "none"
            raise SettingError(
                "refinement.explainer", settings.explainer, f"an explainer of {inputs.explanations}: {known}"
            )
        simulations = read_table(scores.file("simulations.parquet"), schemas.SIMULATIONS)
        self.simulated = {split: self._simulated(simulations, split) for split in REPORTED}
        """Of first explanations, by split and explanation: rows of SIMULATIONS."""
        examples = self.reader.examples.artifact
        self._pool = read_table(examples.file("pool.parquet"), schemas.POOL)
        numbers = read_table(examples.file("pool_contexts.parquet"), schemas.POOL_CONTEXTS)["context"]
        self._pool_contexts: list[Context] = self.reader.contexts.get(numbers.to_list())
        if any(context.split != "explain" for context in self._pool_contexts):
            raise ArtifactError(examples.path, "its pool is not of explain documents; sample again from these contexts")

    def starts(self) -> list[tuple[Unit, Explanation, pl.DataFrame]]:
        """Units with a first explanation that the simulator reads, in the order of units, and its `select` simulations.

        Raises ArtifactError where it has none, SettingError where the simulator reads none of the explanations.
        """
        fields = ("unit", "density", "max_act", "mean_act", "threshold")
        units = {row["unit"]: Unit(**row) for row in self.reader.examples.units.select(fields).iter_rows(named=True)}
        written = [e for e in self.first if e.text is not None]
        readable = [e for e in written if self.simulator.reads(e)]
        if written and not readable:
            allowed = f"a simulator that reads what {self.settings.explainer} says"
            raise SettingError("refinement.simulator", self.simulator.name, allowed)
        return [(units[e.unit], e, self._on_select(e)) for e in sorted(readable, key=lambda e: e.unit)]

    def originals(self, explanation: Explanation) -> list[Example]:
        """Examples that the explanation was written from, strongest first."""
        return self._shown(explanation, ("top", "quantile"))

    def others(self, explanation: Explanation) -> list[Example]:
        """Near misses and random contexts that it was written from."""
        return self._shown(explanation, ("random", "near_miss"))

    def pool(self, unit: int) -> list[Example]:
        """Return all pool contexts with the unit's activations."""
        rows = self._pool.filter(pl.col("unit") == unit).with_columns(kind=pl.lit("random"))
        contexts = {context.context: context for context in self._pool_contexts}
        firing = join_contexts(rows, [contexts.pop(number) for number in rows["context"].to_list()])
        silent = [Example(unit, context, "random", (0.0,) * len(context.tokens)) for context in contexts.values()]
        return sorted(firing + silent, key=lambda example: example.context.context)

    def select(self, unit: int) -> list[Example]:
        """Return the unit's `select` examples on which its first explanation was simulated."""
        return self._simulated_on(unit, "select")

    def test(self, unit: int) -> list[Example]:
        """Return the unit's `test` examples on which its first explanation was simulated."""
        return self._simulated_on(unit, "test")

    def _shown(self, explanation: Explanation, kinds: Sequence[Kind]) -> list[Example]:
        shown = set(explanation.examples)
        read = self.reader.of(explanation.unit, "explain", kinds)
        return [example for example in read if example.context.context in shown]

    def _on_select(self, explanation: Explanation) -> pl.DataFrame:
        found = self.simulated["select"].get(explanation.explanation)
        if found is None:
            problem = f"{explanation.explanation} has no select score by {self.simulator.name}"
            raise ArtifactError(self.artifacts["scores"].path, f"{problem}; score with it, all units and `select`")
        return found

    def _simulated_on(self, unit: int, split: Split) -> list[Example]:
        """Fewer than there are where the simulator is limited: what is compared is judged on the same contexts."""
        first = next(e.explanation for e in self.first if e.unit == unit)
        simulated = self.simulated[split].get(first, schemas.SIMULATIONS.to_frame())
        contexts = set(simulated["context"].to_list())
        examples = self.reader.of(unit, split, KINDS_OF[CONTEXTS])
        return [example for example in examples if example.context.context in contexts]

    def _simulated(self, simulations: pl.DataFrame, split: Split) -> dict[str, pl.DataFrame]:
        first = [explanation.explanation for explanation in self.first]
        own = simulations.filter(
            pl.col("explanation").is_in(first), simulator=self.simulator.name, control="none", split=split
        ).filter(pl.col("kind").is_in(KINDS_OF[CONTEXTS]))
        return by_explanation(own)


def by_explanation(simulations: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Give each explanation its rows of SIMULATIONS."""
    return {str(key): rows for (key,), rows in simulations.partition_by("explanation", as_dict=True).items()}
