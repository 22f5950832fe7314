"""How much of what a unit does to the subject's predictions its simulation does too: 1 is all, 0 no more than a mean.

    score = 1 - AvgJSD(simulated, true) / AvgJSD(mean, true)

over the positions of all contexts, with the unit's activation replaced by its simulation and by its mean. Bills et al.
2023 ("ablation scoring").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl

from latentese.metrics.correlation import Floats, Metric, document_sums
from latentese.metrics.intervals import Bootstrap, document_interval
from latentese.metrics.scores import KEY, score_table
from latentese.records import Explanation

MOST = float(np.log(2))
"""The largest Jensen-Shannon divergence, in nats."""
CHANGELESS = 1e-9
"""Nats per position below which mean ablation changes nothing: rounding to float32 alone makes up to 1e-10 of it."""
NAMES = {"linear": "ablation", "percentile": "ablation.percentile"}
"""Calibration of the simulation -> metric."""


def ablation_score(sums: Floats) -> Floats:
    """Score from sums [..., 3] of positions, simulated and mean divergences: [...].

    NaN where mean ablation changes nothing, for nothing is left to explain.
    """
    n, simulated, ablated = np.moveaxis(sums, -1, 0)
    defined = ablated > CHANGELESS * n
    return np.where(defined, 1 - simulated / np.where(defined, ablated, 1.0), np.nan)


def ablation_effect(sums: Floats) -> Floats:
    """Divergence that mean ablation makes, in nats per position, from sums [..., 3]: [...]."""
    n, _, ablated = np.moveaxis(sums, -1, 0)
    return np.where(n > 0, ablated / np.where(n > 0, n, 1.0), np.nan)


def ablation_scores(ablations: pl.DataFrame, explanations: Iterable[Explanation], bootstrap: Bootstrap) -> pl.DataFrame:
    """Scores with intervals over documents (schema SCORES), in the rows of the simulators that are scored.

    ablations: schema ABLATIONS. `ablation` is of the simulation with its scale fitted by a line, `ablation.percentile`
    by percentiles; `ablation_effect` is what the mean ablation does, in nats per position. A context without a
    simulation is counted in `n_failed` and enters no score; where there are some, `.worst` and `.best` bound it: a
    simulation can be as far off as `log 2` at every position, or not at all.
    """
    rows: list[dict[str, object]] = []
    for key, group in ablations.group_by(KEY, maintain_order=True):
        contexts = "top_and_random" if "top" in group["kind"] else "random_only"
        named = dict(zip(KEY, key, strict=True)) | {"contexts": contexts}
        calibrated = group.partition_by("calibration", maintain_order=True)
        for part in calibrated:
            rows += [named | row for row in _scores(part, NAMES[part["calibration"][0]], bootstrap)]
        # Whatever the simulation and its scale, its mean ablation is the same.
        rows.append(named | _row(calibrated[0], "ablation_effect", calibrated[0], ablation_effect, bootstrap))
    return score_table(rows, explanations)


def _scores(group: pl.DataFrame, name: str, bootstrap: Bootstrap) -> Iterator[dict[str, object]]:
    judged = group.drop_nulls("simulated")
    versions = {name: judged}
    if judged.height and judged.height < group.height:
        versions[f"{name}.worst"] = group.with_columns(pl.col("simulated").fill_null(MOST * pl.col("n_positions")))
        versions[f"{name}.best"] = group.with_columns(pl.col("simulated").fill_null(0.0))
    for metric, version in versions.items():
        yield _row(group, metric, version, ablation_score, bootstrap)


def _row(
    group: pl.DataFrame, metric: str, version: pl.DataFrame, measure: Metric, bootstrap: Bootstrap
) -> dict[str, object]:
    sums, n_failed = sums_of_documents(version), group["simulated"].null_count()
    value, low, high = document_interval(sums, measure, bootstrap)
    counts = {"n_documents": len(sums), "n_judged": group.height - n_failed, "n_failed": n_failed}
    return {"metric": metric, "value": value, "low": low, "high": high, **counts}


def sums_of_documents(ablations: pl.DataFrame) -> Floats:
    """Add up positions, simulated and mean divergences of each document, ascending: [n_documents, 3]."""
    columns = ablations.select("n_positions", pl.col("simulated").fill_null(0.0), "ablated").to_numpy()
    return document_sums(ablations["document"].to_list(), columns.astype(np.float64))
