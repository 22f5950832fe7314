"""Rank units as a costly simulator would, for a fraction of its contexts: cheap scores first, then the undecided."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tqdm import tqdm

from latentese import schemas
from latentese.corpus.contexts import Contexts
from latentese.errors import SettingError
from latentese.examples.store import Examples
from latentese.metrics.cascade import Partial, chances, estimate, misordered, reading_order, sizes
from latentese.metrics.correlation import Floats, context_sums, pearson_over
from latentese.records import Example, Explanation, Judgement, Split
from latentese.scorers.simulation import SimulationScorer, counted
from latentese.scorers.table import Question, simulation_rows
from latentese.simulators.base import Simulator
from latentese.stages.explain import EXPLANATIONS
from latentese.stages.judging import SplitExamples
from latentese.stages.running import run_async
from latentese.stages.scoring import SIMULATED_KINDS, draw_examples
from latentese.store.artifact import open_artifact, open_draft
from latentese.store.tables import read_explanations, read_table, write_table


@dataclass(frozen=True)
class CascadeSettings:
    """What is ranked, and for how much."""

    explainer: str
    cheap: Sequence[Sequence[str]]
    """Pairs of an explainer and a judge, scored already: what they say of a unit predicts its costly score."""
    n_units: int
    """The first so many of the study's units."""
    n_contexts: int | None
    """Per unit, that the costly score is over: half of them top, half random; None for all there are."""
    share: float
    """Of these contexts, how many may be read, on average over units."""
    n_first: int = 4
    """Contexts of every unit that are read at first."""
    n_together: int = 4
    """Units that are read on together, before it is asked anew which are undecided."""
    n_more: int = 2
    """Contexts of each of them."""
    split: Split = "test"
    compare: bool = False
    """Whether everything is read in the end, to see how well it was foretold."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise SettingError("cascade.settings.share", self.share, "above 0, at most 1")
        for name in ("n_units", "n_first", "n_together", "n_more"):
            if getattr(self, name) < 1:
                raise SettingError(f"cascade.settings.{name}", getattr(self, name), "at least 1")
        if self.split not in ("select", "test"):
            raise SettingError("cascade.settings.split", self.split, "select or test")
        if not self.cheap or any(len(pair) != 2 for pair in self.cheap):
            raise SettingError("cascade.settings.cheap", self.cheap, "pairs of an explainer and a judge, at least one")


@dataclass(frozen=True)
class CascadeInputs:
    """Artifacts that are read."""

    contexts: Path
    examples: Path
    explanations: Path
    scores: Path


def cascade(inputs: CascadeInputs, simulator: Simulator, settings: CascadeSettings, out: Path) -> Path:
    """Write the cascade artifact: one row per unit (schema CASCADE), and every simulation that was asked for.

    Counts: n_units, n_contexts that the costly score is over, and of the cascade n_read, n_failed and prompt_tokens.
    """
    reader = SplitExamples(Contexts(inputs.contexts), Examples(inputs.examples))
    explanations, scores = open_artifact(inputs.explanations, "explanations"), open_artifact(inputs.scores, "scores")
    sources = {"contexts": reader.contexts.artifact, "examples": reader.examples.artifact}
    described = {**asdict(settings), "simulator": simulator.name}
    with open_draft(out, "cascade", {**sources, "explanations": explanations, "scores": scores}, described) as draft:
        written = read_explanations(explanations.file(EXPLANATIONS))
        cheap = _cheap_scores(read_table(scores.file("scores.parquet"), schemas.SCORES), settings)
        units = _candidates(reader, written, cheap, simulator, settings)
        run_async(_run(units, SimulationScorer(simulator), settings))
        rows = _rows(units)
        if settings.compare:
            run_async(_read_all(units, SimulationScorer(simulator)))
            rows = [row | unit.full for row, unit in zip(rows, units, strict=True)]
        write_table(pl.DataFrame(rows, schema=schemas.CASCADE), schemas.CASCADE, draft.path / "cascade.parquet")
        simulations = pl.concat([schemas.SIMULATIONS.to_frame(), *(unit.simulations(simulator) for unit in units)])
        write_table(simulations, schemas.SIMULATIONS, draft.path / "simulations.parquet")
        draft.publish(_counts(rows, units))
    return out


@dataclass
class _Unit:
    """One explanation on its way through the cascade."""

    explanation: Explanation
    examples: list[Example]
    """In the order in which they are read."""
    size: Floats
    """How much each of them may move the score, [n_contexts]."""
    cheap: Floats
    judgements: list[Judgement] = field(default_factory=list)

    @property
    def answered(self) -> list[int]:
        return [i for i, one in enumerate(self.judgements) if one.expected_acts is not None]

    @property
    def sums(self) -> Floats:
        answered = [(one.true_acts, one.expected_acts) for one in self.judgements if one.expected_acts is not None]
        return context_sums(answered)

    @property
    def n_failed(self) -> int:
        return sum(one.expected_acts is None for one in self.judgements)

    @property
    def prompt_tokens(self) -> int:
        return sum(one.usage.prompt_tokens for one in self.judgements)

    @property
    def left(self) -> list[Example]:
        return self.examples[len(self.judgements) :]

    @property
    def partial(self) -> Partial:
        chance = chances(self.size, len(self.judgements))[self.answered]
        return Partial(self.cheap, self.sums, chance, len(self.examples))

    @property
    def full(self) -> dict[str, Any]:
        return {
            "full": _defined(pearson_over(self.sums)),
            "full_n_failed": self.n_failed,
            "full_prompt_tokens": self.prompt_tokens,
        }

    def simulations(self, simulator: Simulator) -> pl.DataFrame:
        explanation, split = self.explanation, self.examples[0].context.split
        question = Question(explanation.explanation, explanation.unit, simulator.name, "none", split)
        return simulation_rows(question, self.examples[: len(self.judgements)], self.judgements)


def _candidates(
    reader: SplitExamples,
    written: Sequence[Explanation],
    cheap: Mapping[int, Floats],
    simulator: Simulator,
    settings: CascadeSettings,
) -> list[_Unit]:
    """List the explanations that are ranked, with what is known of them for nothing."""
    readable = {e.unit: e for e in written if e.explainer == settings.explainer and simulator.reads(e)}
    drawn = [unit.unit for unit in reader.examples.study(settings.n_units) if unit.unit in readable]
    if len(drawn) < 3:
        raise SettingError(
            "cascade.settings.explainer", settings.explainer, "one that explained at least 3 of these units"
        )
    nothing = np.full(len(settings.cheap), np.nan)
    units = []
    for unit in drawn:
        examples = reader.of(unit, settings.split, SIMULATED_KINDS)
        if drawn_examples := draw_examples(examples, settings.n_contexts, settings.seed):
            size = sizes([counted(example.acts, example.context.keep) for example in drawn_examples])
            order = reading_order(size, np.random.default_rng([settings.seed, unit]))
            ordered = [drawn_examples[i] for i in order]
            units.append(_Unit(readable[unit], ordered, size[order], cheap.get(unit, nothing)))
    return units


def _cheap_scores(scores: pl.DataFrame, settings: CascadeSettings) -> dict[int, Floats]:
    """Read, for each unit, its cheap scores [n_cheap]; NaN where one is not defined.

    Of a judge that answers yes-or-no questions, its AUROC stands for the correlation.
    """
    known = scores.filter(
        pl.col("control") == "none",
        pl.col("split") == settings.split,
        pl.col("contexts").is_in(["top_and_random", "all_kinds"]),
        pl.col("metric").is_in(["correlation", "auroc"]),
    )
    found: dict[int, Floats] = {}
    for column, (explainer, judge) in enumerate(settings.cheap):
        own = known.filter(pl.col("explainer") == explainer, pl.col("simulator") == judge)
        if not own.height:
            raise SettingError(
                "cascade.settings.cheap", [explainer, judge], f"a pair that was scored on {settings.split}"
            )
        for unit, value in own.select("unit", "value").iter_rows():
            row = found.setdefault(unit, np.full(len(settings.cheap), np.nan))
            row[column] = np.nan if value is None else value
    return found


async def _run(units: Sequence[_Unit], scorer: SimulationScorer, settings: CascadeSettings) -> None:
    """Read as much as may be read."""
    budget = int(settings.share * sum(len(unit.examples) for unit in units))
    n_first = min(settings.n_first, budget // len(units))
    with tqdm(total=budget, desc=f"cascade of {scorer.name}", unit="context") as bar:
        await asyncio.gather(*(_read(unit, n_first, scorer, bar) for unit in units))
        while (left := budget - sum(len(unit.judgements) for unit in units)) > 0:
            chosen = _next(units, settings.n_together)[: max(left // settings.n_more, 1)]
            if not chosen:
                break
            await asyncio.gather(*(_read(unit, min(settings.n_more, left), scorer, bar) for unit in chosen))


def _next(units: Sequence[_Unit], n_together: int) -> list[_Unit]:
    """Choose the units that are most in doubt, of those of which something is left to read."""
    value, spread, _ = estimate([unit.partial for unit in units])
    doubt = misordered(value, spread)
    ordered = [units[i] for i in np.argsort(-doubt, kind="stable")]
    return [unit for unit in ordered if unit.left][:n_together]


async def _read_all(units: Sequence[_Unit], scorer: SimulationScorer) -> None:
    with tqdm(total=sum(len(unit.left) for unit in units), desc=f"all of {scorer.name}", unit="context") as bar:
        await asyncio.gather(*(_read(unit, len(unit.left), scorer, bar) for unit in units))


async def _read(unit: _Unit, n_contexts: int, scorer: SimulationScorer, bar: tqdm[Any]) -> None:
    examples = unit.left[:n_contexts]
    unit.judgements += await scorer.judge(unit.explanation, examples)
    bar.update(len(examples))


def _rows(units: Sequence[_Unit]) -> list[dict[str, Any]]:
    value, spread, predicted = estimate([unit.partial for unit in units])
    return [
        {
            "unit": unit.explanation.unit,
            "explanation": unit.explanation.explanation,
            "value": float(value[i]),
            "spread": float(spread[i]),
            "predicted": float(predicted[i]),
            "n_read": len(unit.judgements),
            "n_failed": unit.n_failed,
            "prompt_tokens": unit.prompt_tokens,
            "full": None,
            "full_n_failed": None,
            "full_prompt_tokens": None,
        }
        for i, unit in enumerate(units)
    ]


def _counts(rows: Sequence[Mapping[str, Any]], units: Sequence[_Unit]) -> dict[str, Any]:
    of_cascade = {name: sum(row[name] for row in rows) for name in ("n_read", "n_failed", "prompt_tokens")}
    return {"n_units": len(rows), "n_contexts": sum(len(unit.examples) for unit in units), **of_cascade}


def _defined(score: float) -> float | None:
    return float(score) if np.isfinite(score) else None
