"""From simulations to scores: one row per explanation, simulator, control, split and choice of contexts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from latentese import schemas
from latentese.metrics.correlation import Floats, Metric, document_sums, pearson, token_sums
from latentese.metrics.intervals import Bootstrap, document_interval
from latentese.records import Explanation

KINDS_OF: Mapping[str, tuple[str, ...]] = {"top_and_random": ("top", "random"), "random_only": ("random",)}
"""Which kinds of examples each score is over. Random contexts alone show a unit as it is met in text; a rare unit
fires in none of them and then has no random-only score."""

KEY = ["explanation", "unit", "simulator", "control", "split"]


def correlation_scores(
    simulations: pl.DataFrame, explanations: Iterable[Explanation], bootstrap: Bootstrap
) -> pl.DataFrame:
    """Pearson correlation over the concatenated tokens, with an interval over documents (schema SCORES).

    simulations: schema SIMULATIONS. A context without an answer is counted in `n_failed` and enters no value.
    """
    written = {explanation.explanation: explanation for explanation in explanations}
    rows = []
    for key, group in simulations.group_by(KEY, maintain_order=True):
        named = dict(zip(KEY, key, strict=True))
        explanation = written[str(named["explanation"])]
        for contexts, kinds in KINDS_OF.items():
            scored = group.filter(pl.col("kind").is_in(kinds))
            if scored.height:
                rows.append(
                    named
                    | {"explainer": explanation.explainer, "revision": explanation.revision, "contexts": contexts}
                    | _score(scored, "correlation", pearson, bootstrap)
                )
    return pl.DataFrame([{column: row[column] for column in schemas.SCORES} for row in rows], schema=schemas.SCORES)


def sums_by_document(simulations: pl.DataFrame) -> tuple[list[int], Floats]:
    """Documents with an answer, ascending, and their token sums [n_documents, 6]."""
    judged = simulations.filter(pl.col("expected_acts").is_not_null())
    pairs = zip(judged["true_acts"].to_list(), judged["expected_acts"].to_list(), strict=True)
    documents = judged["document"].to_list()
    return sorted(set(documents)), document_sums(documents, (token_sums(true, expected) for true, expected in pairs))


def _score(scored: pl.DataFrame, name: str, metric: Metric, bootstrap: Bootstrap) -> dict[str, object]:
    documents, sums = sums_by_document(scored)
    value, low, high = document_interval(sums, metric, bootstrap)
    n_failed = scored["expected_acts"].null_count()
    return {
        "metric": name,
        "value": value,
        "low": low,
        "high": high,
        "n_documents": len(documents),
        "n_judged": scored.height - n_failed,
        "n_failed": n_failed,
    }
