"""Stage `score`: simulate explanations on held-out examples, beside another unit's explanation.

Simulations of `calibrate` examples put the simulator's scale onto the unit's; scores are of `select` and `test`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from tqdm import tqdm

from latentese import schemas
from latentese.corpus.contexts import Contexts
from latentese.errors import SettingError
from latentese.examples.store import Examples
from latentese.metrics.calibrated import calibrated_scores, calibration_table, fit_calibrations
from latentese.metrics.intervals import Bootstrap
from latentese.metrics.scores import KINDS_OF, correlation_scores
from latentese.records import Example, Explanation, Split
from latentese.scorers.controls import draw_wrong_explanations
from latentese.scorers.simulation import SimulationScorer
from latentese.scorers.table import Question, simulation_rows
from latentese.simulators.base import Simulator
from latentese.stages.ensembles import check_members, combine_members, without_ensembles
from latentese.stages.judging import SplitExamples
from latentese.stages.running import run_async
from latentese.store.artifact import Draft, open_artifact, open_draft
from latentese.store.tables import read_explanations, write_table

SIMULATED: tuple[Split, ...] = ("calibrate", "select", "test")
KINDS = KINDS_OF["top_and_random"]


@dataclass(frozen=True)
class Limit:
    """Where a costly simulator is spared; None means no limit."""

    n_units: int | None = None
    """A seeded draw among the units explained."""
    n_contexts: int | None = None
    """Per unit and split: a seeded draw, half of them top, half random."""
    splits: Sequence[str] | None = None
    explainers: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in ("n_units", "n_contexts"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise SettingError(f"scoring.limits.*.{name}", getattr(self, name), "at least 1, or null for no limit")


@dataclass(frozen=True)
class ScoreSettings:
    """What is scored."""

    splits: Sequence[str] = SIMULATED
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Simulator's name -> fields of `Limit`."""
    n_boot: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.splits or not set(self.splits) <= set(SIMULATED):
            raise SettingError("scoring.splits", list(self.splits), f"some of {', '.join(SIMULATED)}")
        for name in self.limits:
            self.limit_of(name)
        self.bootstrap  # noqa: B018  (checks its fields before anything is simulated)

    def limit_of(self, simulator: str) -> Limit:
        """Return the limit of one simulator."""
        return Limit(**self.limits.get(simulator, {}))

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are computed."""
        return Bootstrap(self.n_boot, self.level, self.seed)


class _Task(NamedTuple):
    """One explanation to be simulated on some examples; under a control its words are another unit's."""

    question: Question
    words: Explanation
    examples: list[Example]


def score(
    contexts: Path,
    examples: Path,
    explanations: Path,
    simulators: Mapping[str, Simulator],
    settings: ScoreSettings,
    out: Path,
) -> Path:
    """Write the scores artifact: one row per context simulated, one score per explanation, simulator and control.

    Counts: n_explanations, n_without_text, per simulator n_judged and n_failed, whose explanation was used as the wrong
    one, and what members of ensembles weigh.
    """
    _check_names(simulators, settings)
    check_members(simulators, settings.splits)
    reader = SplitExamples(Contexts(contexts), Examples(examples))
    source = open_artifact(explanations, "explanations")
    written = read_explanations(source.file("explanations.jsonl"))
    inputs = {"contexts": reader.contexts.artifact, "examples": reader.examples.artifact, "explanations": source}
    described = {**asdict(settings), "simulators": sorted(simulators)}
    with open_draft(out, "scores", inputs, described) as draft:
        counts: dict[str, Any] = {"wrong_explanations": {}}
        tables = [schemas.SIMULATIONS.to_frame()]
        for name, simulator in without_ensembles(simulators).items():
            wrong = _wrong_explanations(written, simulator, settings.seed)
            tasks = list(_tasks(name, [e for e in written if simulator.reads(e)], wrong, reader, settings))
            table = run_async(_simulate(simulator, tasks))
            tables.append(table)
            counts["wrong_explanations"][name] = {own: other.explanation for own, other in sorted(wrong.items())}
        combined, counts["ensembles"] = combine_members(pl.concat(tables), simulators, counts["wrong_explanations"])
        simulations = pl.concat([*tables, combined])
        counts["simulators"] = {name: _counted(simulations.filter(simulator=name)) for name in simulators}
        _write_scores(simulations, written, settings.bootstrap, draft)
        n_without = sum(explanation.text is None for explanation in written)
        draft.publish({"n_explanations": len(written), "n_without_text": n_without} | counts)
    return out


def _counted(table: pl.DataFrame) -> dict[str, int]:
    n_failed = table["expected_acts"].null_count()
    return {"n_units": table["unit"].n_unique(), "n_judged": table.height - n_failed, "n_failed": n_failed}


def _write_scores(
    simulations: pl.DataFrame, written: Sequence[Explanation], bootstrap: Bootstrap, draft: Draft
) -> None:
    write_table(simulations, schemas.SIMULATIONS, draft.path / "simulations.parquet")
    fits = fit_calibrations(simulations)
    write_table(calibration_table(fits), schemas.CALIBRATIONS, draft.path / "calibrations.parquet")
    correlations = correlation_scores(simulations, written, bootstrap)
    calibrated = calibrated_scores(simulations, written, fits, bootstrap)
    write_table(pl.concat([correlations, calibrated]), schemas.SCORES, draft.path / "scores.parquet")


def _check_names(simulators: Mapping[str, Simulator], settings: ScoreSettings) -> None:
    for name, simulator in simulators.items():
        if simulator.name != name:
            raise SettingError(f"simulators.{name}.name", simulator.name, f"{name!r}, as it is called in the group")
    for name in settings.limits:
        if name not in simulators:
            raise SettingError("scoring.limits", name, f"one of the simulators: {', '.join(simulators)}")


def _wrong_explanations(written: Sequence[Explanation], simulator: Simulator, seed: int) -> dict[str, Explanation]:
    """Another unit's explanation of the same explainer, for every explanation that the simulator reads."""
    wrong: dict[str, Explanation] = {}
    for explainer in sorted({explanation.explainer for explanation in written}):
        own = [e for e in written if e.explainer == explainer and simulator.reads(e)]
        wrong |= draw_wrong_explanations(own, seed)
    return wrong


def _tasks(
    simulator: str,
    explanations: Sequence[Explanation],
    wrong: Mapping[str, Explanation],
    reader: SplitExamples,
    settings: ScoreSettings,
) -> Iterator[_Task]:
    limit = settings.limit_of(simulator)
    allowed = [e for e in explanations if not limit.explainers or e.explainer in limit.explainers]
    units = _draw_units(allowed, limit, settings.seed)
    for explanation in allowed:
        if explanation.unit not in units:
            continue
        for split in SIMULATED:
            if split not in settings.splits or split not in (limit.splits or settings.splits):
                continue
            examples = draw_examples(reader.of(explanation.unit, split, KINDS), limit.n_contexts, settings.seed)
            question = Question(explanation.explanation, explanation.unit, simulator, "none", split)
            yield _Task(question, explanation, examples)
            if explanation.explanation in wrong:
                control = question._replace(control="wrong_explanation")
                yield _Task(control, wrong[explanation.explanation], examples)


def _draw_units(explanations: Sequence[Explanation], limit: Limit, seed: int) -> set[int]:
    units = sorted({explanation.unit for explanation in explanations})
    drawn = np.random.default_rng(seed).permutation(len(units))
    return {units[i] for i in drawn[: limit.n_units]}


def draw_examples(examples: Sequence[Example], n_contexts: int | None, seed: int) -> list[Example]:
    """Draw at most `n_contexts` examples, half top and half random as far as there are; the order is kept."""
    if n_contexts is None or len(examples) <= n_contexts:
        return list(examples)
    rng = np.random.default_rng([seed, examples[0].unit])
    order = {int(i): rank for rank, i in enumerate(rng.permutation(len(examples)))}
    of_kind = {
        kind: sorted((i for i, e in enumerate(examples) if e.kind == kind), key=order.__getitem__) for kind in KINDS
    }
    n_top = min(len(of_kind["top"]), max(n_contexts // 2, n_contexts - len(of_kind["random"])))
    chosen = of_kind["top"][:n_top] + of_kind["random"][: n_contexts - n_top]
    return [examples[i] for i in sorted(chosen)]


async def _simulate(simulator: Simulator, tasks: Sequence[_Task]) -> pl.DataFrame:
    """Simulate all tasks at once, so that a language model can batch them; rows come in the order of tasks."""
    scorer = SimulationScorer(simulator)
    with tqdm(total=len(tasks), desc=f"score by {simulator.name}", unit="explanation") as bar:

        async def simulate_one(task: _Task) -> pl.DataFrame:
            judgements = await scorer.judge(task.words, task.examples)
            bar.update()
            return simulation_rows(task.question, task.examples, judgements)

        tables = await asyncio.gather(*(simulate_one(task) for task in tasks))
    return pl.concat([schemas.SIMULATIONS.to_frame(), *tables])
