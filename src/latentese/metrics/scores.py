"""From simulations to scores: rows per explanation, simulator, control, split and choice of contexts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from latentese import schemas
from latentese.metrics.calibration import Calibration
from latentese.metrics.completion import Range
from latentese.metrics.correlation import Floats, document_sums, pearson_over, token_sums
from latentese.metrics.intervals import Bootstrap, document_interval
from latentese.metrics.measures import CORRELATION, Complete, Measure
from latentese.records import Explanation

KINDS_OF: Mapping[str, tuple[str, ...]] = {"top_and_random": ("top", "random"), "random_only": ("random",)}
"""Which kinds of examples each score is over. Random contexts alone show a unit as it is met in text; a rare unit
fires in none of them and then has no random-only score."""

KEY = ["explanation", "unit", "simulator", "control", "split"]
FITTED_ON = "calibrate"
"""No score is of this split: what a scale is fitted on says nothing of the fit."""


@dataclass(frozen=True)
class Answers:
    """Some contexts of one unit: the truth, and what was simulated."""

    documents: Sequence[int]
    true: Sequence[Floats]
    """Of each context, [n_tokens]."""
    simulated: Sequence[Floats | None]
    """None where there is no answer."""

    @classmethod
    def of(cls, simulations: pl.DataFrame) -> Answers:
        """Read rows of the simulations table."""
        true = [np.asarray(acts, dtype=np.float64) for acts in simulations["true_acts"].to_list()]
        expected = simulations["expected_acts"].to_list()
        simulated = [None if acts is None else np.asarray(acts, dtype=np.float64) for acts in expected]
        return cls(simulations["document"].to_list(), true, simulated)

    @property
    def judged(self) -> tuple[Floats, Floats]:
        """Truth and answers over all tokens that have one, concatenated: [n_tokens] each."""
        pairs = [(y, s) for y, s in zip(self.true, self.simulated, strict=True) if s is not None]
        empty = np.empty(0)
        return np.concatenate([empty, *(y for y, _ in pairs)]), np.concatenate([empty, *(s for _, s in pairs)])

    @property
    def n_failed(self) -> int:
        """Contexts without an answer."""
        return sum(s is None for s in self.simulated)

    def calibrated(self, calibration: Calibration) -> Answers:
        """Return the answers on another scale."""
        return replace(self, simulated=[None if s is None else calibration(s) for s in self.simulated])

    def completed(self, complete: Complete) -> Answers:
        """Give every context without an answer one: in the range of the others, as `complete` chooses."""
        true, simulated = self.judged
        missing = [y for y, s in zip(self.true, self.simulated, strict=True) if s is None]
        answers = Range(float(simulated.min()), float(simulated.max()))
        chosen = complete(true, simulated, np.concatenate(missing), answers)
        left = iter(np.split(chosen, np.cumsum([len(y) for y in missing])[:-1]))
        return replace(self, simulated=[next(left) if s is None else s for s in self.simulated])

    def sums(self, measure: Measure) -> tuple[list[int], Floats]:
        """Documents with an answer, ascending, and their sums [n_documents, n_sums]."""
        answered = [
            (document, measure.sums(y, s))
            for document, y, s in zip(self.documents, self.true, self.simulated, strict=True)
            if s is not None
        ]
        documents = [document for document, _ in answered]
        return sorted(set(documents)), document_sums(documents, (sums for _, sums in answered))


def correlation_scores(
    simulations: pl.DataFrame, explanations: Iterable[Explanation], bootstrap: Bootstrap
) -> pl.DataFrame:
    """Pearson correlation over the concatenated tokens, with an interval over documents (schema SCORES).

    simulations: schema SIMULATIONS. A context without an answer is counted in `n_failed` and enters no value; where
    there are such, rows `correlation.worst` and `correlation.best` say what any answers could have made of it.
    """
    rows = [
        named | row
        for named, group in scored_groups(simulations)
        for row in measured(Answers.of(group), CORRELATION, CORRELATION.name, bootstrap)
    ]
    return score_table(rows, explanations)


def scored_groups(simulations: pl.DataFrame) -> Iterator[tuple[dict[str, object], pl.DataFrame]]:
    """Give what each score is over: the columns that name it, and its simulations."""
    scored = simulations.filter(pl.col("split") != FITTED_ON)
    for key, group in scored.group_by(KEY, maintain_order=True):
        for contexts, kinds in KINDS_OF.items():
            chosen = group.filter(pl.col("kind").is_in(kinds))
            if chosen.height:
                yield dict(zip(KEY, key, strict=True)) | {"contexts": contexts}, chosen


def measured(answers: Answers, measure: Measure, name: str, bootstrap: Bootstrap) -> Iterator[dict[str, object]]:
    """One row of a measure; where answers are missing, also its lowest and highest value over all they could be.

    The intervals of these two resample the documents of such answers. Without any answer there is no range to take
    the missing ones from, and no bound.
    """
    counts: dict[str, object] = {"n_judged": len(answers.true) - answers.n_failed, "n_failed": answers.n_failed}
    bounds = {"worst": measure.worst, "best": measure.best} if answers.n_failed and counts["n_judged"] else {}
    completed = {f"{name}.{bound}": answers.completed(complete) for bound, complete in bounds.items()}
    for metric, values in ({name: answers} | completed).items():
        documents, sums = values.sums(measure)
        value, low, high = document_interval(sums, measure.metric, bootstrap)
        yield counts | {"metric": metric, "value": value, "low": low, "high": high, "n_documents": len(documents)}


def score_table(rows: Iterable[Mapping[str, object]], explanations: Iterable[Explanation]) -> pl.DataFrame:
    """Complete rows by who wrote the explanation (schema SCORES)."""
    written = {explanation.explanation: explanation for explanation in explanations}
    complete = []
    for row in rows:
        explanation = written[str(row["explanation"])]
        known = dict(row) | {"explainer": explanation.explainer, "revision": explanation.revision}
        complete.append({column: known[column] for column in schemas.SCORES})
    return pl.DataFrame(complete, schema=schemas.SCORES)


def sums_by_document(simulations: pl.DataFrame) -> tuple[list[int], Floats]:
    """Documents with an answer, ascending, and their token sums [n_documents, 6]."""
    judged = simulations.filter(pl.col("expected_acts").is_not_null())
    pairs = zip(judged["true_acts"].to_list(), judged["expected_acts"].to_list(), strict=True)
    documents = judged["document"].to_list()
    return sorted(set(documents)), document_sums(documents, (token_sums(true, expected) for true, expected in pairs))


def same_contexts(before: pl.DataFrame, after: pl.DataFrame) -> tuple[Floats, Floats]:
    """Add up token sums [n_documents, 6] of two explanations over the contexts that both answered.

    A context that one of them failed on would make a difference that is none: the other's score is then over easier or
    harder texts.
    """
    answered = [side.filter(pl.col("expected_acts").is_not_null()) for side in (before, after)]
    both = list(set(answered[0]["context"]) & set(answered[1]["context"]))
    first, second = (sums_by_document(side.filter(pl.col("context").is_in(both)))[1] for side in answered)
    return first, second


def correlation_of(simulations: pl.DataFrame) -> float | None:
    """Correlation over all contexts with an answer; None where it is not defined."""
    return _defined(sums_by_document(simulations)[1])


def paired_correlations(before: pl.DataFrame, after: pl.DataFrame) -> tuple[float | None, float | None]:
    """Correlations of two explanations over the contexts that both answered; None where one is not defined."""
    first, second = same_contexts(before, after)
    return _defined(first), _defined(second)


def _defined(sums: Floats) -> float | None:
    value = pearson_over(sums)
    return value if np.isfinite(value) else None
