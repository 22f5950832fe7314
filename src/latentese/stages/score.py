"""Stage `score`: judge explanations on held-out examples, beside another unit's explanation.

Simulators predict activations; their simulations of `calibrate` examples put their scale onto the unit's. Scorers
answer yes-or-no questions about texts, or put the simulations into the subject. Scores are of `select` and `test`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
from tqdm import tqdm

from latentese import schemas
from latentese.corpus.contexts import Contexts
from latentese.errors import SettingError
from latentese.examples.store import Examples
from latentese.metrics.ablation import ablation_scores
from latentese.metrics.calibrated import calibrated_scores, calibration_table, fit_calibrations
from latentese.metrics.classification import classification_scores
from latentese.metrics.scores import FITTED_ON, correlation_scores
from latentese.records import KINDS, Example, Explanation, Split
from latentese.scorers.base import CausalScorer, Scorer
from latentese.scorers.controls import wrong_explanations
from latentese.scorers.simulation import SimulationScorer
from latentese.scorers.table import judgement_rows, simulation_rows
from latentese.simulators.base import Simulator
from latentese.simulators.metered import MeteredSimulator
from latentese.stages.causal import check_causal, measure
from latentese.stages.ensembles import check_members, combine_members, without_ensembles
from latentese.stages.judging import SplitExamples
from latentese.stages.running import run_async
from latentese.stages.scoring import SIMULATED_KINDS, ScoreSettings, Task, draw_examples, tasks_of
from latentese.store.artifact import Artifact, Draft, open_artifact, open_draft
from latentese.store.tables import read_explanations, write_table

Judge = Simulator | Scorer | CausalScorer
Judges = Mapping[str, Judge]


def score(
    contexts: Path, examples: Path, explanations: Path, judges: Judges, settings: ScoreSettings, out: Path
) -> Path:
    """Write the scores artifact: one row per context judged, one score per explanation, judge, control and metric.

    judges: simulators and scorers, by name. Counts: n_explanations, n_without_text, per simulator and scorer n_judged
    and n_failed, per simulator prompt_tokens (of kept answers too), whose explanation was used as the wrong one, and
    what members of ensembles weigh.
    """
    check_judges(judges, settings)
    scorers = {name: judge for name, judge in judges.items() if isinstance(judge, Scorer)}
    causal, simulators = _causal(judges), _simulators(judges)
    reader = SplitExamples(Contexts(contexts), Examples(examples))
    source = open_artifact(explanations, "explanations")
    written = read_explanations(source.file("explanations.jsonl"))
    settings.check_explainers(_explainers(source, written))
    study = _Study(reader, written, settings)
    inputs = {"contexts": reader.contexts.artifact, "examples": reader.examples.artifact, "explanations": source}
    described = {**asdict(settings), "simulators": sorted(simulators), "scorers": sorted([*scorers, *causal])}
    with open_draft(out, "scores", inputs, described) as draft:
        counts = study.counts
        asking = without_ensembles(simulators)
        simulated = {name: run_async(_simulate(one, study.simulated(one))) for name, one in asking.items()}
        simulations = pl.concat([schemas.SIMULATIONS.to_frame(), *(table for table, _ in simulated.values())])
        combined, counts["ensembles"] = combine_members(simulations, simulators, counts["wrong_explanations"])
        simulations = pl.concat([simulations, combined])
        asked = [run_async(_ask(scorer, study.asked_of(scorer))) for scorer in scorers.values()]
        judgements = pl.concat([schemas.JUDGEMENTS.to_frame(), *asked])
        spent = {name: prompt_tokens for name, (_, prompt_tokens) in simulated.items()}
        counts["simulators"] = {
            name: _counted(simulations, name, "expected_acts") | {"prompt_tokens": spent.get(name, 0)}
            for name in simulators
        }
        counts["scorers"] = {name: _counted(judgements, name, "answer") for name in scorers}
        write_table(judgements, schemas.JUDGEMENTS, draft.path / "judgements.parquet")
        thresholds = {name: scorer.threshold for name, scorer in scorers.items()}
        answered = classification_scores(judgements, study.written, thresholds, settings.bootstrap)
        if causal:
            ablations, measured = measure(causal, simulations, reader, study.written, settings)
            counts["scorers"] |= measured
            write_table(ablations, schemas.ABLATIONS, draft.path / "ablations.parquet")
            answered = pl.concat([answered, ablation_scores(ablations, study.written, settings.bootstrap)])
        _write_scores(simulations, answered, study, draft)
        draft.publish(counts)
    return out


class _Study:
    """Lists what is asked of each judge, and remembers whose explanation stood in for whose."""

    def __init__(self, reader: SplitExamples, written: Sequence[Explanation], settings: ScoreSettings) -> None:
        self.reader, self.written, self.settings = reader, written, settings
        units = reader.examples.units
        self._densities = dict(zip(units["unit"].to_list(), units["density"].to_list(), strict=True))
        n_without = sum(explanation.text is None for explanation in written)
        self.counts: dict[str, Any] = {
            "n_explanations": len(written),
            "n_without_text": n_without,
            "wrong_explanations": {},
        }

    def simulated(self, simulator: Simulator) -> list[Task]:
        """List what a simulator is to simulate: top and random examples."""
        n_contexts = self.settings.limit_of(simulator.name).n_contexts

        def pick(unit: int, split: Split) -> list[Example]:
            return draw_examples(self.reader.of(unit, split, SIMULATED_KINDS), n_contexts, self.settings.seed)

        return list(tasks_of(simulator.name, self._read_by(simulator), self._wrong(simulator), pick, self.settings))

    def asked_of(self, scorer: Scorer) -> list[Task]:
        """List what a scorer is asked about: examples of its choice. There is nothing to fit on `calibrate`."""
        n_contexts = self.settings.limit_of(scorer.name).n_contexts

        def pick(unit: int, split: Split) -> list[Example]:
            return [] if split == FITTED_ON else scorer.choose(self.reader.of(unit, split, KINDS))[:n_contexts]

        return list(tasks_of(scorer.name, self._read_by(scorer), self._wrong(scorer), pick, self.settings))

    def _read_by(self, judge: Simulator | Scorer) -> list[Explanation]:
        return [explanation for explanation in self.written if judge.reads(explanation)]

    def _wrong(self, judge: Simulator | Scorer) -> dict[str, Explanation]:
        wrong = wrong_explanations(self.written, judge.reads, self._densities, self.settings.seed)
        stood_in = {own: other.explanation for own, other in sorted(wrong.items())}
        self.counts["wrong_explanations"][judge.name] = stood_in
        return wrong


def _counted(table: pl.DataFrame, judge: str, answer: str) -> dict[str, int]:
    own = table.filter(simulator=judge)
    n_failed = own[answer].null_count()
    return {"n_units": own["unit"].n_unique(), "n_judged": own.height - n_failed, "n_failed": n_failed}


def _write_scores(simulations: pl.DataFrame, answered: pl.DataFrame, study: _Study, draft: Draft) -> None:
    """Write simulations, what was fitted on them, and all scores; answered: scores of yes-or-no questions."""
    written, bootstrap = study.written, study.settings.bootstrap
    write_table(simulations, schemas.SIMULATIONS, draft.path / "simulations.parquet")
    fits = fit_calibrations(simulations)
    write_table(calibration_table(fits), schemas.CALIBRATIONS, draft.path / "calibrations.parquet")
    correlations = correlation_scores(simulations, written, bootstrap)
    calibrated = calibrated_scores(simulations, written, fits, bootstrap)
    write_table(pl.concat([correlations, calibrated, answered]), schemas.SCORES, draft.path / "scores.parquet")


def _explainers(source: Artifact, written: Sequence[Explanation]) -> set[str]:
    """Name who explained, those too who had nothing to say of any unit."""
    return {*source.manifest.settings.get("explainers", ()), *(explanation.explainer for explanation in written)}


def _causal(judges: Judges) -> dict[str, CausalScorer]:
    return {name: judge for name, judge in judges.items() if isinstance(judge, CausalScorer)}


def _simulators(judges: Judges) -> dict[str, Simulator]:
    return {name: judge for name, judge in judges.items() if not isinstance(judge, Scorer | CausalScorer)}


def check_judges(judges: Judges, settings: ScoreSettings) -> None:
    """Raise SettingError for judges that cannot work as they are set, alone or together."""
    _check_names(judges, settings)
    simulators = _simulators(judges)
    check_members(simulators, settings)
    check_causal(_causal(judges), list(simulators), settings)


def _check_names(judges: Judges, settings: ScoreSettings) -> None:
    for name, judge in judges.items():
        if judge.name != name:
            group = "scorers" if isinstance(judge, Scorer | CausalScorer) else "simulators"
            raise SettingError(f"{group}.{name}.name", judge.name, f"{name!r}, as it is called in the group")
    for name in settings.limits:
        if name not in judges:
            allowed = f"simulators and scorers are {', '.join(judges)}"
            raise SettingError(f"scoring.limits.{name}", settings.limits[name], allowed)
        splits = settings.limit_of(name).splits
        if splits and set(splits) == {FITTED_ON} and isinstance(judges[name], Scorer):
            raise SettingError(f"scoring.limits.{name}.splits", splits, "select or test: its answers are not fitted")


async def _simulate(simulator: Simulator, tasks: Sequence[Task]) -> tuple[pl.DataFrame, int]:
    """Simulate everything; beside the rows, the prompt tokens of all answers, kept ones too."""
    metered = MeteredSimulator(simulator)
    scorer = SimulationScorer(metered)

    async def rows(task: Task) -> pl.DataFrame:
        return simulation_rows(task.question, task.examples, await scorer.judge(task.words, task.examples))

    tables = await _all_at_once(simulator.name, tasks, rows)
    return pl.concat([schemas.SIMULATIONS.to_frame(), *tables]), metered.usage.prompt_tokens


async def _ask(scorer: Scorer, tasks: Sequence[Task]) -> pl.DataFrame:
    async def rows(task: Task) -> pl.DataFrame:
        return judgement_rows(task.question, task.examples, await scorer.judge(task.words, task.examples))

    return pl.concat([schemas.JUDGEMENTS.to_frame(), *await _all_at_once(scorer.name, tasks, rows)])


async def _all_at_once(
    judge: str, tasks: Sequence[Task], rows: Callable[[Task], Awaitable[pl.DataFrame]]
) -> list[pl.DataFrame]:
    """Do all tasks at once, so that a language model can batch them; tables come in the order of tasks."""
    with tqdm(total=len(tasks), desc=f"score by {judge}", unit="explanation") as bar:

        async def do(task: Task) -> pl.DataFrame:
            table = await rows(task)
            bar.update()
            return table

        return await asyncio.gather(*(do(task) for task in tasks))
