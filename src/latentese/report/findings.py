"""Scores by kind of unit, layer, density, explainer and judge: one table over all targets.

Means of first explanations on `test`, each with the control beside it. Intervals resample units, and within each unit
its documents where the simulations are stored; of other judges' scores the documents' share is taken from each unit's
own interval, as of a normal distribution.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl

from latentese.metrics.correlation import Floats, pearson
from latentese.metrics.intervals import Bootstrap, Interval, document_draws, mean_of_draws
from latentese.metrics.scores import KINDS_OF, sums_by_document
from latentese.report.inputs import Target
from latentese.report.tables import BOUNDS, METRIC

FINDINGS = pl.Schema(
    {
        "by": pl.String(),
        "group": pl.String(),
        "kind": pl.String(),
        "explainer": pl.String(),
        "simulator": pl.String(),
        "metric": pl.String(),
        "value": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "wrong": pl.Float64(),
        "wrong_low": pl.Float64(),
        "wrong_high": pl.Float64(),
        "n_units": pl.Int64(),
        "n_undefined": pl.Int64(),
        "n_judged": pl.Int64(),
        "n_failed": pl.Int64(),
    }
)
"""`by` is `target`, `kind`, `layer` or `density`, `group` which of them; units of several kinds are never pooled.
`value` is the mean over the `n_units` units whose score is defined, `wrong` that of another unit's explanation."""

KINDS = {"Neurons": "neuron", "PCA": "PCA direction", "RandomDirections": "random direction"}
"""What a unit is called, by the class of its dictionary; of any other it is a latent."""
BY = ("target", "kind", "layer", "density")
CONTEXTS = {"top_and_random": ("top_and_random", "all_kinds"), "random_only": ("random_only",)}
"""Contexts of the scores that stand together: yes-or-no questions are about examples of all kinds."""
KEY = ["kind", "explainer", "simulator", "metric"]


@dataclass(frozen=True)
class FindingsSettings:
    """What is averaged, and how intervals are computed."""

    contexts: str = "top_and_random"
    n_boot: int = 1000
    level: float = 0.95
    seed: int = 0

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are computed."""
        return Bootstrap(self.n_boot, self.level, self.seed)


def kind_of(dictionary: str) -> str:
    """Say what the units of a dictionary are called, from its class."""
    return KINDS.get(dictionary.rpartition(".")[2], "latent")


def layer_name(hookpoint: str) -> str:
    """Name the layer of a hookpoint, so that names sort by number."""
    found = re.match(r"layers\.(\d+)\.", hookpoint)
    return f"layer {int(found[1]):2d}" if found else hookpoint or "unknown"


def density_name(density: float) -> str:
    """Name the decade of a density, as a share of tokens."""
    if density <= 0:
        return "0 %"
    power = min(math.floor(round(math.log10(density), 9)), -1)
    return f"{100 * 10.0**power:g} % to {100 * 10.0 ** (power + 1):g} %"


def find(targets: Sequence[Target], settings: FindingsSettings) -> pl.DataFrame:
    """Average the scores of all targets (schema FINDINGS)."""
    scored = pl.concat([_scored(target, settings) for target in targets])
    if scored.is_empty():
        return FINDINGS.to_frame()
    scored = scored.with_columns(place=pl.int_range(pl.len()))
    draws = _Draws(targets, settings)
    rows = []
    for by in BY:
        named = scored.with_columns(by=pl.lit(by), group=pl.col(by))
        for key, group in named.group_by(["by", "group", *KEY], maintain_order=True):
            rows.append(dict(zip(["by", "group", *KEY], key, strict=True)) | _means(group, draws))
    return pl.DataFrame(sorted(rows, key=_place), schema=FINDINGS)


def _place(row: Mapping[str, Any]) -> tuple[object, ...]:
    """Order rows: correlation first, groups from the lowest layer and the rarest units on."""
    rate = float(row["group"].partition(" ")[0]) if row["by"] == "density" else 0.0
    metric = (row["metric"] != METRIC, row["metric"])
    return (BY.index(row["by"]), *metric, row["explainer"], row["simulator"], row["kind"], rate, row["group"])


def _scored(target: Target, settings: FindingsSettings) -> pl.DataFrame:
    """Scores of first explanations on `test`, with what is known of their units."""
    first = [e.explanation for e in target.explanations.values() if e.revision == 0]
    bounds = pl.any_horizontal(pl.col("metric").str.ends_with(end) for end in BOUNDS)
    rows = target.scores.filter(
        pl.col("explanation").is_in(first),
        pl.col("control").is_in(["none", "wrong_explanation"]),
        pl.col("contexts").is_in(CONTEXTS[settings.contexts]),
        ~bounds,
    )
    densities = target.units.select("unit", rate="density")
    known = rows.join(densities, on="unit", how="left", maintain_order="left").with_columns(
        target=pl.lit(target.name),
        kind=pl.lit(kind_of(target.dictionary)),
        layer=pl.lit(layer_name(target.hookpoint)),
        density=pl.col("rate").fill_null(0.0).map_elements(density_name, return_dtype=pl.String),
    )
    return known.with_columns(value=pl.when(pl.col("value").is_finite()).then("value"))


def _means(group: pl.DataFrame, draws: _Draws) -> dict[str, object]:
    right, wrong = (group.filter(pl.col("control") == control) for control in ("none", "wrong_explanation"))
    scored, control = right.drop_nulls("value"), wrong.drop_nulls("value")
    own, other = draws.mean(scored), draws.mean(control)
    return {
        "value": own.value,
        "low": own.low,
        "high": own.high,
        "wrong": other.value,
        "wrong_low": other.low,
        "wrong_high": other.high,
        "n_units": scored.height,
        "n_undefined": right.height - scored.height,
        "n_judged": right["n_judged"].sum(),
        "n_failed": right["n_failed"].sum(),
    }


class _Draws:
    """Resamples of scores, each made once."""

    def __init__(self, targets: Sequence[Target], settings: FindingsSettings) -> None:
        self.bootstrap = settings.bootstrap
        self.levels = {target.name: target.level for target in targets}
        key = ["explanation", "unit", "simulator", "control"]
        self._simulations = {
            (target.name, *names): table
            for target in targets
            for names, table in target.simulations.filter(pl.col("kind").is_in(KINDS_OF[settings.contexts]))
            .partition_by(key, as_dict=True)
            .items()
        }
        self._known: dict[tuple[object, ...], Floats] = {}

    def mean(self, scores: pl.DataFrame) -> Interval:
        """Average defined scores over units."""
        if scores.is_empty():
            return Interval(None, None, None)
        rows = scores.to_dicts()
        draws = np.stack([self._of(row) for row in rows])
        found = mean_of_draws(scores["value"].to_numpy(), draws, self.bootstrap)
        return found if len(rows) > 1 else Interval(found.value, rows[0]["low"], rows[0]["high"])

    def _of(self, row: Mapping[str, Any]) -> Floats:
        name = (row["target"], row["explanation"], row["unit"], row["simulator"], row["control"])
        key = (*name, row["metric"])
        if key not in self._known:
            stored = self._simulations.get(name) if row["metric"] == METRIC else None
            self._known[key] = self._near(row, len(self._known)) if stored is None else self._resampled(stored, row)
        return self._known[key]

    def _resampled(self, simulations: pl.DataFrame, row: Mapping[str, Any]) -> Floats:
        """Resample the documents that a correlation is over; the same ones for the control of the same unit."""
        return document_draws(sums_by_document(simulations)[1], pearson, self.bootstrap, stream=row["unit"])

    def _near(self, row: Mapping[str, Any], stream: int) -> Floats:
        """Draw around a score as its interval says; without one, the score itself."""
        n_boot = self.bootstrap.n_boot
        if row["low"] is None or row["high"] is None:
            return np.full(n_boot, float(row["value"]))
        width = 2 * NormalDist().inv_cdf((1 + self.levels[row["target"]]) / 2)
        rng = np.random.default_rng([self.bootstrap.seed, stream])
        spread = (row["high"] - row["low"]) / width
        return np.asarray(row["value"] + spread * rng.standard_normal(n_boot), dtype=np.float64)
