"""How well yes-or-no answers follow the truth: accuracy at a threshold, and the ranking without one.

A metric is a function of counts that add up over documents, so that documents can be resampled (`metrics.intervals`):
how many judged contexts are true, and how many are not, at each answer that occurs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from latentese import schemas
from latentese.metrics.correlation import Floats, Metric
from latentese.metrics.firing import base_rate, f1, precision, recall
from latentese.metrics.intervals import Bootstrap, document_interval
from latentese.metrics.scores import KEY
from latentese.records import KINDS, Explanation

CONTEXTS: Mapping[str, tuple[str, ...]] = {"all_kinds": KINDS, "random_only": ("random",)}
"""Which kinds of examples each score is over: `all_kinds` as they were drawn, and texts as they are met."""

FAILURES: Mapping[str, float] = {"worst": -1.0, "best": 1.0}
"""Bounds when some questions have no answer: all of them wrong, or all right."""


def classification_scores(
    judgements: pl.DataFrame,
    explanations: Iterable[Explanation],
    thresholds: Mapping[str, float | None],
    bootstrap: Bootstrap,
) -> pl.DataFrame:
    """Scores of yes-or-no answers, with intervals over documents (schema SCORES).

    judgements: schema JUDGEMENTS. thresholds: by scorer; an answer above it is a yes, and a scorer without one has only
    `auroc` and `base_rate`. A question without an answer is counted in `n_failed` and enters no value; where there are
    any, `<metric>.worst` and `<metric>.best` bound what the value would be with answers.
    """
    written = {explanation.explanation: explanation for explanation in explanations}
    rows: list[dict[str, object]] = []
    for key, group in judgements.group_by(KEY, maintain_order=True):
        named = dict(zip(KEY, key, strict=True))
        explanation = written[str(named["explanation"])]
        named |= {"explainer": explanation.explainer, "revision": explanation.revision}
        for contexts, kinds in CONTEXTS.items():
            judged = group.filter(pl.col("kind").is_in(kinds))
            if judged.height:
                scored = _scores(judged, thresholds[str(named["simulator"])], bootstrap)
                rows += [named | {"contexts": contexts} | row for row in scored]
    return pl.DataFrame([{column: row[column] for column in schemas.SCORES} for row in rows], schema=schemas.SCORES)


def _scores(judged: pl.DataFrame, threshold: float | None, bootstrap: Bootstrap) -> Iterator[dict[str, object]]:
    n_failed = judged["answer"].null_count()
    versions = {"": judged.drop_nulls("answer")}
    if n_failed:
        versions |= {f".{name}": _filled(judged, side) for name, side in FAILURES.items()}
    for suffix, version in versions.items():
        counts = counts_by_document(version)
        answers = np.unique(version["answer"].to_numpy())
        for name, metric in _metrics(answers, threshold).items():
            if suffix and name == "base_rate":
                continue  # the truth is known without an answer
            value, low, high = document_interval(counts, metric, bootstrap)
            yield {
                "metric": f"{name}{suffix}",
                "value": value,
                "low": low,
                "high": high,
                "n_documents": len(counts),
                "n_judged": judged.height - n_failed,
                "n_failed": n_failed,
            }


def _filled(judged: pl.DataFrame, side: float) -> pl.DataFrame:
    """Answer failed questions with certainty: rightly if `side` is 1, wrongly if it is -1."""
    certain = pl.when("truth").then(pl.lit(side * np.inf)).otherwise(pl.lit(-side * np.inf))
    return judged.with_columns(pl.col("answer").fill_null(certain))


def counts_by_document(judged: pl.DataFrame) -> Floats:
    """Count contexts that are not true, and that are, at each answer, ascending: [n_documents, 2, n_answers].

    judged: rows with an answer; documents ascend.
    """
    documents, document = np.unique(judged["document"].to_numpy(), return_inverse=True)
    answers, answer = np.unique(judged["answer"].to_numpy(), return_inverse=True)
    counts = np.zeros((len(documents), 2, len(answers)))
    np.add.at(counts, (document, judged["truth"].to_numpy().astype(int), answer), 1.0)
    return counts


def _metrics(answers: Floats, threshold: float | None) -> dict[str, Metric]:
    metrics: dict[str, Metric] = {
        "auroc": auroc,
        "base_rate": lambda counts: base_rate(decided(counts, np.isnan(answers))),
    }
    if threshold is None:
        return metrics
    yes = answers > threshold

    def at(metric: Metric) -> Metric:
        return lambda counts: metric(decided(counts, yes))

    accuracies = {"balanced_accuracy": balanced_accuracy, "precision": precision, "recall": recall, "f1": f1}
    return metrics | {name: at(metric) for name, metric in accuracies.items()}


def auroc(counts: Floats) -> Floats:
    """Chance that a true context has a higher answer than one that is not, equal answers counting half.

    counts [..., 2, n_answers] -> [...]; NaN where a side is empty.
    """
    silent, firing = counts[..., 0, :], counts[..., 1, :]
    below = silent.cumsum(axis=-1) - silent / 2
    return _ratio((firing * below).sum(axis=-1), firing.sum(axis=-1) * silent.sum(axis=-1))


def auroc_of(truths: Sequence[bool], answers: Sequence[float]) -> float | None:
    """`auroc` of single answers; None where a side is empty."""
    values, place = np.unique(answers, return_inverse=True)
    counts = np.zeros((2, len(values)))
    np.add.at(counts, (np.asarray(truths, dtype=int), place), 1.0)
    value = float(auroc(counts))
    return None if np.isnan(value) else value


def decided(counts: Floats, yes: np.ndarray) -> Floats:
    """Sum as `metrics.firing` does, contexts in the place of tokens: [..., 4].

    counts [..., 2, n_answers]; yes [n_answers] booleans, which answers are a yes.
    """
    firing = counts[..., 1, :]
    parts = (firing[..., yes], counts[..., yes].sum(axis=-2), firing, counts.sum(axis=-2))
    return np.stack([part.sum(axis=-1) for part in parts], axis=-1)


def balanced_accuracy(sums: Floats) -> Floats:
    """Mean of the shares of true contexts, and of others, that are decided rightly, from [..., 4].

    .5 is what always the same answer gets, whatever the base rate; NaN where a side is empty.
    """
    both, predicted, fires, n = np.moveaxis(sums, -1, 0)
    return (_ratio(both, fires) + _ratio(n - fires - predicted + both, n - fires)) / 2


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Divide, NaN where there is nothing to divide by."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan)
