"""Explainers before units whose meaning is known: judges see what they wrote on contexts that they were not shown."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from latentese.explainers.base import Explainer
from latentese.puzzles.judges import Answer, Judge, answered_by_all, correlation
from latentese.puzzles.puzzle import Case
from latentese.records import Explanation


@dataclass(frozen=True)
class Written:
    """What an explainer wrote of a unit."""

    case: Case
    explanation: Explanation


@dataclass(frozen=True)
class Found:
    """What a judge makes of what an explainer wrote, on contexts that the explainer was not shown."""

    unit: str
    """Name of the puzzle, or of what was planted."""
    kind: str
    explainer: str
    judge: str
    value: float | None
    """Of the written explanation; None where not defined."""
    true: float | None
    """Of the true sentence, on the same contexts: what a perfect explainer would get, if this judge reads well."""
    wrong: float | None
    """Of what the explainer wrote of another unit: the control."""
    named: bool | None
    """Whether the judge's answers under the written explanation follow those under the true sentence more closely than
    those under each false one; None for a judge without a number per token."""
    n_answers: int
    n_failed: int


async def explain_cases(explainer: Explainer, cases: Sequence[Case]) -> list[Written]:
    """Explain every unit, all at once."""

    async def explain_one(case: Case) -> Written:
        return Written(case, await explainer.explain(case.unit, case.shown))

    return list(await asyncio.gather(*(explain_one(case) for case in cases)))


async def judge_written(judge: Judge, written: Sequence[Written]) -> list[Found]:
    """Judge on held-out contexts; what failed, or what the judge does not read, is left out.

    The control is the next unit's explanation, the first one's for the last.
    """
    read = [one for one in written if judge.reads(one.explanation)]
    others = [*read[1:], *read[:1]]
    pairs = zip(read, others, strict=True)
    return list(await asyncio.gather(*(_judge(judge, one, other.explanation) for one, other in pairs)))


async def _judge(judge: Judge, one: Written, other: Explanation) -> Found:
    sentences = one.case.sentences if judge.reads(one.case.sentences[0]) else ()
    explanations = [one.explanation, other, *sentences]
    answered = await asyncio.gather(*(judge.answer(explanation, one.case.held_out) for explanation in explanations))
    kept, n_failed = answered_by_all(answered)
    values = [judge.value(answers) if answers else None for answers in kept]
    return Found(
        unit=one.case.name,
        kind=one.case.kind,
        explainer=one.explanation.explainer,
        judge=judge.name,
        value=values[0],
        true=values[2] if sentences else None,
        wrong=values[1] if other != one.explanation else None,
        named=_names_the_first(kept[0], kept[2:]),
        n_answers=sum(map(len, answered)),
        n_failed=n_failed,
    )


def _names_the_first(own: Sequence[Answer], candidates: Sequence[Sequence[Answer]]) -> bool | None:
    """Whether some answers are closest, by correlation, to the first of several candidates' answers."""
    if not own or not candidates or all(len(answer.truth) == 1 for answer in own):
        return None
    first, *rest = (_agreement(own, candidate) for candidate in candidates)
    return first is not None and all(other is None or first > other for other in rest)


def _agreement(own: Sequence[Answer], other: Sequence[Answer]) -> float | None:
    return correlation([(one.said or (), two.said or ()) for one, two in zip(own, other, strict=True)])
