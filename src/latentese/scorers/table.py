"""Judgements as rows of the simulations table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from latentese import schemas
from latentese.records import Example, Judgement, Split, Verdict


class Question(NamedTuple):
    """Which explanation is judged, by what, on which split; `control` is `none` or how the explanation is wrong."""

    explanation: str
    unit: int
    simulator: str
    control: str
    split: Split


def simulation_rows(question: Question, examples: Sequence[Example], judgements: Sequence[Judgement]) -> pl.DataFrame:
    """One row per example judged (schema SIMULATIONS); a failed one has no expected activations and says why."""
    rows = [
        question._asdict()
        | {
            "context": example.context.context,
            "document": example.context.document,
            "kind": example.kind,
            "true_acts": list(judgement.true_acts),
            "expected_acts": None if judgement.expected_acts is None else list(judgement.expected_acts),
            "error": judgement.error,
        }
        for example, judgement in zip(examples, judgements, strict=True)
    ]
    return pl.DataFrame(rows, schema=schemas.SIMULATIONS)


def judgement_rows(question: Question, examples: Sequence[Example], verdicts: Sequence[Verdict]) -> pl.DataFrame:
    """One row per example asked about (schema JUDGEMENTS); a failed question has no answer and says why."""
    rows = [
        question._asdict()
        | {
            "context": example.context.context,
            "document": example.context.document,
            "kind": example.kind,
            "answer": verdict.answer,
            "truth": verdict.truth,
            "error": verdict.error,
        }
        for example, verdict in zip(examples, verdicts, strict=True)
    ]
    return pl.DataFrame(rows, schema=schemas.JUDGEMENTS)
