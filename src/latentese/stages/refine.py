"""Stage `refine`: improve low scorers with counterexamples, choosing on `select`, reporting on `test`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from latentese import schemas
from latentese.errors import SettingError
from latentese.metrics.scores import correlation_of, correlation_scores
from latentese.records import Explanation
from latentese.refinement.base import Arm, RandomControl
from latentese.refinement.gains import arm_gain, gain_at_cost
from latentese.refinement.loop import Course, Loop, Step
from latentese.refinement.rounds import WHY_BUDGET, run_rounds, spent
from latentese.scorers.simulation import SimulationScorer
from latentese.scorers.table import Question, simulation_rows
from latentese.simulators.base import Simulator
from latentese.stages.refining import RefineInputs, RefineSettings, RefineStudy, by_explanation
from latentese.stages.running import run_async
from latentese.store.artifact import open_draft
from latentese.store.tables import write_explanations, write_table


def refine(
    inputs: RefineInputs, simulator: Simulator, arms: Mapping[str, Arm], settings: RefineSettings, out: Path
) -> Path:
    """Write the refined artifact: new explanations, their `select` and `test` simulations, decisions, finals.

    A unit at or above the threshold keeps its first explanation in every arm. Units without a first explanation take
    no part. Counts: n_units, n_refined, and per arm those of `_counts`.
    """
    _check_names(arms)
    loop_settings = settings.loop
    study = RefineStudy(inputs, simulator, settings)
    described = {**asdict(settings), "simulator": simulator.name, "arms": sorted(arms)}
    with open_draft(out, "refined", study.artifacts, described) as draft:
        starts = study.starts()
        low = [start for start in starts if _is_low(correlation_of(start[2]), settings.threshold)]
        loop = Loop(simulator, arms, study, loop_settings)
        courses, steps = run_async(
            run_rounds(loop, [course for start in low for course in loop.start(*start)], settings.max_prompt_tokens)
        )
        new = [step.child for step in steps if step.child is not None]
        on_test = run_async(_test(study, courses))
        simulations = pl.concat([schemas.SIMULATIONS.to_frame(), *(step.simulations for step in steps), on_test])
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
        tested = study.simulated["test"] | by_explanation(on_test)
        costs = {arm: _counts(arm, steps) for arm in arms}
        gains = {arm: arm_gain(arm, schemas.INITIAL, finals, tested) for arm in arms}
        at_cost = {arm: gain_at_cost(gains[arm]["test_gain"], _spent(arm, steps)) for arm in arms}
        told = {name: costs[name] | gains[name] | at_cost[name] | _control_of(arm) for name, arm in arms.items()}
        draft.publish(counts | {"arms": told})
    return out


def _check_names(arms: Mapping[str, Arm]) -> None:
    for name, arm in arms.items():
        if arm.name != name or name == schemas.INITIAL:
            raise SettingError(f"refinement.arms.{name}.name", arm.name, f"the arm's own name, not {schemas.INITIAL!r}")


def _is_low(score: float | None, threshold: float) -> bool:
    return score is None or score < threshold


def _control_of(arm: Arm) -> dict[str, Any]:
    """Name the arm whose evidence a control replaces by random texts."""
    return {"control_of": arm.control_of} if isinstance(arm, RandomControl) else {}


async def _test(study: RefineStudy, courses: Sequence[Course]) -> pl.DataFrame:
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
        for arm in (schemas.INITIAL, *arms)
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
            "prompt_sha256": step.gathered.prompt_sha256,
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
