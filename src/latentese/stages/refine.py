"""Stage `refine`: improve low scorers with counterexamples, choosing on `select`, reporting on `test`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from latentese import schemas
from latentese.corpus.contexts import Contexts
from latentese.errors import ArtifactError, SettingError
from latentese.examples.store import Examples, join_contexts
from latentese.metrics.intervals import Bootstrap
from latentese.metrics.scores import KINDS_OF, correlation_scores
from latentese.records import Context, Example, Explanation, Kind, Unit
from latentese.refinement.base import Arm
from latentese.refinement.gains import arm_gain, gain_at_cost, values_on_test
from latentese.refinement.loop import Course, Loop, LoopSettings, Step
from latentese.refinement.mine import MineSettings
from latentese.refinement.rounds import WHY_BUDGET, run_rounds, spent
from latentese.scorers.simulation import SimulationScorer
from latentese.scorers.table import Question, simulation_rows
from latentese.simulators.base import Simulator
from latentese.stages.judging import SplitExamples
from latentese.stages.running import run_async
from latentese.store.artifact import Artifact, open_artifact, open_draft
from latentese.store.tables import read_explanations, read_table, write_explanations, write_table

INITIAL = "initial"
CONTEXTS = "top_and_random"


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


def refine(
    inputs: RefineInputs, simulator: Simulator, arms: Mapping[str, Arm], settings: RefineSettings, out: Path
) -> Path:
    """Write the refined artifact: new explanations, their `select` and `test` simulations, decisions, finals.

    A unit at or above the threshold keeps its first explanation in every arm. Units without a first explanation take
    no part. Counts: n_units, n_refined, and per arm those of `_counts`.
    """
    _check_names(arms)
    loop_settings = settings.loop
    study = _Study(inputs, simulator, settings)
    described = {**asdict(settings), "simulator": simulator.name, "arms": sorted(arms)}
    with open_draft(out, "refined", study.artifacts, described) as draft:
        starts = study.starts()
        low = [(unit, first, score) for unit, first, score in starts if score is None or score < settings.threshold]
        loop = Loop(simulator, arms, study, loop_settings)
        courses, steps = run_async(
            run_rounds(loop, [course for start in low for course in loop.start(*start)], settings.max_prompt_tokens)
        )
        new = [step.child for step in steps if step.child is not None]
        simulations = pl.concat(
            [schemas.SIMULATIONS.to_frame(), *(step.simulations for step in steps), run_async(_test(study, courses))]
        )
        write_explanations(new, draft.path / "explanations.jsonl")
        write_table(simulations, schemas.SIMULATIONS, draft.path / "simulations.parquet")
        scores = correlation_scores(simulations, new, settings.bootstrap)
        write_table(scores, schemas.SCORES, draft.path / "scores.parquet")
        decisions = pl.DataFrame([step.decision for step in steps], schema=schemas.DECISIONS)
        write_table(decisions, schemas.DECISIONS, draft.path / "decisions.parquet")
        write_table(_sentences(steps), schemas.SENTENCES, draft.path / "sentences.parquet")
        finals = _finals([first for _, first, _ in starts], courses, list(arms))
        write_table(finals, schemas.FINALS, draft.path / "finals.parquet")
        counts = {"n_units": len(starts), "n_refined": len(low)}
        values = values_on_test(pl.concat([study.scores, scores]), simulator.name, CONTEXTS)
        costs = {arm: _counts(arm, steps) for arm in arms}
        gains = {arm: arm_gain(arm, INITIAL, finals, values) for arm in arms}
        at_cost = {arm: gain_at_cost(gains[arm]["test_gain"], _spent(arm, steps)) for arm in arms}
        draft.publish(counts | {"arms": {arm: costs[arm] | gains[arm] | at_cost[arm] for arm in arms}})
    return out


class _Study:
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
        self.scores = read_table(scores.file("scores.parquet"), schemas.SCORES)
        examples = self.reader.examples.artifact
        self._pool = read_table(examples.file("pool.parquet"), schemas.POOL)
        numbers = read_table(examples.file("pool_contexts.parquet"), schemas.POOL_CONTEXTS)["context"]
        self._pool_contexts: list[Context] = self.reader.contexts.get(numbers.to_list())
        if any(context.split != "explain" for context in self._pool_contexts):
            raise ArtifactError(examples.path, "its pool is not of explain documents; sample again from these contexts")

    def starts(self) -> list[tuple[Unit, Explanation, float | None]]:
        """Units with a first explanation that the simulator reads, in the order of units, and their `select` score."""
        fields = ("unit", "density", "max_act", "mean_act", "threshold")
        units = {row["unit"]: Unit(**row) for row in self.reader.examples.units.select(fields).iter_rows(named=True)}
        readable = [e for e in self.first if e.text is not None and self.simulator.reads(e)]
        return [(units[e.unit], e, self._select_score(e)) for e in sorted(readable, key=lambda e: e.unit)]

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
        """Return the unit's `select` examples."""
        return self.reader.of(unit, "select", KINDS_OF[CONTEXTS])

    def test(self, unit: int) -> list[Example]:
        """Return the unit's `test` examples."""
        return self.reader.of(unit, "test", KINDS_OF[CONTEXTS])

    def _shown(self, explanation: Explanation, kinds: Sequence[Kind]) -> list[Example]:
        shown = set(explanation.examples)
        read = self.reader.of(explanation.unit, "explain", kinds)
        return [example for example in read if example.context.context in shown]

    def _select_score(self, explanation: Explanation) -> float | None:
        found = self.scores.filter(
            explanation=explanation.explanation,
            simulator=self.simulator.name,
            control="none",
            split="select",
            contexts=CONTEXTS,
            metric="correlation",
        )
        if found.height != 1:
            problem = f"{explanation.explanation} has no select score by {self.simulator.name}"
            raise ArtifactError(self.artifacts["scores"].path, f"{problem}; score with it, without a limit")
        value: float | None = found["value"].item()
        return value


def _check_names(arms: Mapping[str, Arm]) -> None:
    for name, arm in arms.items():
        if arm.name != name or name == INITIAL:
            raise SettingError(f"refinement.arms.{name}.name", arm.name, f"the arm's own name, not {INITIAL!r}")


async def _test(study: _Study, courses: Sequence[Course]) -> pl.DataFrame:
    """Simulate the explanations that arms end with on `test`; first explanations are in the scores artifact."""
    scorer = SimulationScorer(study.simulator)
    tables = [schemas.SIMULATIONS.to_frame()]
    for course in courses:
        if course.current is not course.initial:
            examples = study.test(course.unit.unit)
            question = Question(course.current.explanation, course.unit.unit, study.simulator.name, "none", "test")
            tables.append(simulation_rows(question, examples, await scorer.judge(course.current, examples)))
    return pl.concat(tables)


def _finals(first: Sequence[Explanation], courses: Sequence[Course], arms: Sequence[str]) -> pl.DataFrame:
    """List what every arm ends with, for every unit that has a first explanation."""
    ends = {(course.unit.unit, course.arm): course.current.explanation for course in courses}
    rows = [
        {
            "unit": explanation.unit,
            "arm": arm,
            "explanation": ends.get((explanation.unit, arm), explanation.explanation),
            "refined": any((explanation.unit, other) in ends for other in arms),
        }
        for explanation in first
        for arm in (INITIAL, *arms)
    ]
    return pl.DataFrame(rows, schema=schemas.FINALS)


def _sentences(steps: Sequence[Step]) -> pl.DataFrame:
    """List every sentence that the subject read."""
    rows = [
        {
            **{name: step.decision[name] for name in ("unit", "arm", "round", "parent")},
            "sentence": sentence.context.context,
            "tokens": sentence.context.tokens,
            "keep": sentence.context.keep,
            "acts": sentence.acts,
        }
        for step in steps
        if step.gathered is not None
        for sentence in step.gathered.sentences
    ]
    return pl.DataFrame(rows, schema=schemas.SENTENCES)


def _counts(arm: str, steps: Sequence[Step]) -> dict[str, int | float | None]:
    own = [step for step in steps if step.course.arm == arm]
    written = [step.child for step in own if step.child is not None]
    gathered = [step.gathered for step in own if step.gathered is not None]
    n_accepted = sum(bool(step.decision["accepted"]) for step in own)
    return {
        "n_proposed": len(written),
        "n_failed": sum(explanation.text is None for explanation in written),
        "n_accepted": n_accepted,
        "share_accepted": n_accepted / len(written) if written else None,
        "n_over_budget": sum(step.decision["why"] == WHY_BUDGET for step in own),
        "n_sentences": sum(len(found.sentences) for found in gathered),
        "n_silent_sentences": sum(sentence.max_act <= 0 for found in gathered for sentence in found.sentences),
        "n_failed_sentences": sum(found.error is not None for found in gathered),
        "prompt_tokens": _spent(arm, steps),
        "simulator_prompt_tokens": sum(step.simulated.prompt_tokens for step in own),
        "completion_tokens": sum(spent(step).completion_tokens for step in own),
    }


def _spent(arm: str, steps: Sequence[Step]) -> int:
    return sum(spent(step).prompt_tokens for step in steps if step.course.arm == arm)
