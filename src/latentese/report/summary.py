"""The figures of a run, per target: means with intervals, their controls, counts. What `metrics.json` holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from latentese.metrics.correlation import Floats, pearson
from latentese.metrics.intervals import Bootstrap, Interval, mean_interval, paired_interval
from latentese.metrics.scores import KINDS_OF, same_contexts, sums_by_document
from latentese.report.arms import (
    RE_EXPLANATION,
    REVISION,
    arm_costs,
    arm_ends,
    arm_names,
    is_control,
    random_controls,
    tokens_per_point,
)
from latentese.report.inputs import ReportSettings, Target
from latentese.report.pairs import nested
from latentese.report.tables import baseline_explainer

Numbers = dict[str, Any]


def summarise(target: Target, study: pl.DataFrame, pairs: pl.DataFrame, settings: ReportSettings) -> Numbers:
    """Compute every figure of one target; what is not defined is left out, so that no number is NaN.

    `study` is the table of `tables.study_units`, `pairs` that of `pairs.pairs_of`. Means are over the units whose score
    is defined, `n_units` of them.
    """
    judged = _Judged(target, settings)
    on_random = _Judged(target, replace(settings, contexts="random_only"))
    summary = {
        **_counts(target, study),
        "score": judged.scores(study),
        "score_random_only": {
            "initial": on_random.mean(study, "initial"),
            "wrong_explanation": on_random.mean(study, "wrong"),
        },
        "gain": judged.gains(target, study),
        "refined_initial": judged.mean(study.filter("refined"), "initial"),
        "arms": judged.arms(target, study),
        "baseline": judged.baseline_name,
        "by_pair": nested(pairs.filter(target=target.name)),
        "dictionary": target.evaluation,
    }
    defined: Numbers = without_undefined(summary)
    return defined


def _counts(target: Target, study: pl.DataFrame) -> Numbers:
    status = dict(study["status"].value_counts().iter_rows())
    n_failed = status.get("failed", 0)
    n_unscored = study.filter(pl.col("status") != "failed")["final_score"].null_count()
    return {
        "n_units": target.example_counts.get("n_units", target.units.height),
        "n_live": target.example_counts.get("n_live", target.units["draw"].count()),
        "n_studied": study.height,
        "n_explained": study.height - n_failed,
        "n_failed": n_failed,
        "share_failed": n_failed / study.height if study.height else None,
        "n_unscored": n_unscored,
        "share_unscored": n_unscored / study.height if study.height else None,
        "n_apart": status.get("apart", 0),
        "n_refined": study["refined"].sum(),
        "n_improved": status.get("refined", 0),
        "n_re_explained": study.filter(pl.col("control") != pl.col("initial")).height,
    }


class _Judged:
    """Token sums per document of the explanations that lead the report."""

    def __init__(self, target: Target, settings: ReportSettings) -> None:
        self.bootstrap = Bootstrap(settings.n_boot, target.level, settings.seed)
        judged = target.simulations.filter(pl.col("kind").is_in(KINDS_OF[settings.contexts]))
        rows = judged.filter(pl.col("simulator") == settings.primary_simulator)
        right = rows.filter(pl.col("control") == "none")
        self.right = right.partition_by("unit", "explanation", as_dict=True)
        first = _ids(target, settings.primary_explainer)
        wrong = rows.filter(pl.col("control") == "wrong_explanation", pl.col("explanation").is_in(first))
        self.wrong = wrong.partition_by("unit", as_dict=True)
        self.baseline_name = baseline_explainer(target, settings)
        baseline = judged.filter(
            pl.col("simulator").eq_missing(pl.lit(self.baseline_name)),
            pl.col("control") == "none",
            pl.col("explanation").is_in(_ids(target, self.baseline_name)),
        )
        self.baseline = baseline.partition_by("unit", as_dict=True)
        self.empty = rows.clear()
        self.re_explained = RE_EXPLANATION in arm_names(target.finals)
        self.random = random_controls(target)

    def of(self, arm: str, row: Mapping[str, Any]) -> pl.DataFrame:
        """Return judged contexts of one unit: of its explanation in this arm, of another unit's, or of the baseline."""
        if arm == "wrong":
            return self.wrong.get((row["unit"],), self.empty)
        if arm == "baseline":
            return self.baseline.get((row["unit"],), self.empty)
        return self.right.get((row["unit"], row[arm]), self.empty)

    def scores(self, study: pl.DataFrame) -> Numbers:
        """Compute the mean score of each arm."""
        names = {"initial": "initial", "final": "final", "wrong_explanation": "wrong"}
        if self.re_explained:
            names["re_explanation"] = "control"
        if self.baseline_name is not None:
            names["baseline"] = "baseline"
        return {name: self.mean(study, arm) for name, arm in names.items()}

    def gains(self, target: Target, study: pl.DataFrame) -> Numbers:
        """Compute mean paired differences; those of refinement are over the units that took part.

        Those beside a control are there only where the control was run.
        """
        refined = study.filter("refined")
        found = {
            "right_over_wrong": self.paired(study, "wrong", "initial"),
            "refinement": self.paired(refined, "initial", "final"),
            "over_table_baseline": self.paired(study, "baseline", "initial"),
            **self.over_controls(target, refined, "final", REVISION),
        }
        return found | ({"re_explanation": self.paired(refined, "initial", "control")} if self.re_explained else {})

    def over_controls(self, target: Target, refined: pl.DataFrame, column: str, arm: str) -> Numbers:
        """Compare what a column of explanations, those of an arm, gains with what each control of it does."""
        found = {}
        if self.re_explained:
            found["over_re_explanation"] = self.paired(refined, "control", column)
        if arm in self.random:
            ends = arm_ends(target.finals, refined, self.random[arm], "random_end")
            found["over_random"] = self.paired(ends, "random_end", column)
        return found

    def arms(self, target: Target, study: pl.DataFrame) -> Numbers:
        """Compute what each arm of refinement gained over the first explanations, and what it cost.

        Over the units that took part; `over_re_explanation` and `over_random` are its gains beyond the controls.
        """
        found = {}
        for arm in arm_names(target.finals):
            ends = arm_ends(target.finals, study, arm)
            gain, costs = self.paired(ends, "initial", "arm_end"), arm_costs(target, arm)
            found[arm] = {
                **costs,
                "score": self.mean(ends, "arm_end"),
                "gain": gain,
                **({} if is_control(target, arm) else self.over_controls(target, ends, "arm_end", arm)),
                "tokens_per_point": tokens_per_point(costs["prompt_tokens"], gain),
            }
        return found

    def mean(self, study: pl.DataFrame, arm: str) -> Numbers:
        units = [sums_by_document(self.of(arm, row))[1] for row in study.to_dicts()]
        interval = mean_interval(units, pearson, self.bootstrap, study["unit"].to_list())
        return _estimate(interval, sum(_defined(sums) for sums in units))

    def paired(self, study: pl.DataFrame, before: str, after: str) -> Numbers:
        pairs = [same_contexts(self.of(before, row), self.of(after, row)) for row in study.to_dicts()]
        interval = paired_interval(pairs, pearson, self.bootstrap, study["unit"].to_list())
        return _estimate(interval, sum(_defined(first) and _defined(second) for first, second in pairs))


def _defined(sums: Floats) -> bool:
    return bool(len(sums)) and math.isfinite(float(pearson(sums.sum(axis=0))))


def _estimate(interval: Interval, n_units: int) -> Numbers:
    return {"mean": interval.value, "low": interval.low, "high": interval.high, "n_units": n_units}


def _ids(target: Target, explainer: str | None) -> list[str]:
    return [e.explanation for e in target.explanations.values() if e.explainer == explainer]


def without_undefined(value: Any) -> Any:
    """Return the same numbers without what is None, NaN or infinite."""
    if isinstance(value, Mapping):
        kept = {str(key): without_undefined(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not None}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
