"""Ablation score: does the simulation do in the subject what the unit does there? After Bills et al. 2023.

The unit's activation is replaced by what is expected of it, on its own scale, and by its mean: an explanation is worth
as much as the first leaves the subject's predictions nearer to its own than the second (`metrics.ablation`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import numpy as np
import polars as pl
from tqdm import tqdm

from latentese import schemas
from latentese.errors import SettingError
from latentese.metrics.calibrated import OWNER
from latentese.metrics.calibration import Calibration, fit_linear, fit_percentile
from latentese.metrics.correlation import Floats
from latentese.metrics.scores import FITTED_ON, KINDS_OF
from latentese.reading.base import Reader, needed
from latentese.reading.replacing import Replacing, UnitInTexts
from latentese.records import KINDS, Example
from latentese.scorers.choice import KindCounts

FITS: Mapping[str, Callable[[Floats, Floats], Calibration | None]] = {
    "linear": fit_linear,
    "percentile": fit_percentile,
}
_Scales = Mapping[str, Calibration | None]
NO_SCALE = f"no simulation of {FITTED_ON} contexts to fit a scale on"


@dataclass(frozen=True)
class AblationScorer:
    """Replaces a unit by its simulation, and by its mean over the scored contexts, and compares next-token predictions.

    A scale is fitted to the unit's activations on `calibrate` as the subject has them, below its threshold too: it is
    all of its activation that is replaced. Position 0 and padding stay as they are and do not count.
    """

    simulators: Sequence[str]
    """Whose simulations are scored, ensembles too."""
    name: str = "ablation"
    examples: KindCounts = field(default_factory=lambda: KindCounts(quantile=0, near_miss=0))
    calibrations: Sequence[str] = ("linear",)
    """How simulations come onto the unit's scale: `linear`, `percentile`; each is a run of the subject."""
    batch_contexts: int = 5
    """Contexts in memory at once, with all their logits, twice."""
    dtype: str = "float32"
    """bfloat16 or float32: in bfloat16 the effect of one unit is lost in rounding."""
    reader: Reader | None = None

    def __post_init__(self) -> None:
        if not self.simulators:
            raise SettingError(f"scorers.{self.name}.simulators", [], "at least one simulator")
        if not self.calibrations or not set(self.calibrations) <= set(FITS):
            raise SettingError(
                f"scorers.{self.name}.calibrations", list(self.calibrations), f"some of {', '.join(FITS)}"
            )
        if self.batch_contexts < 1:
            raise SettingError(f"scorers.{self.name}.batch_contexts", self.batch_contexts, "at least 1")
        simulated = KINDS_OF["top_and_random"]
        for kind in KINDS:
            if kind not in simulated and (n := getattr(self.examples, kind)):
                allowed = f"0: only {' and '.join(simulated)} examples are simulated"
                raise SettingError(f"scorers.{self.name}.examples.{kind}", n, allowed)

    def with_reader(self, reader: Reader) -> Self:
        """Run the subject of this reader."""
        return replace(self, reader=reader)

    def choose(self, examples: Sequence[Example]) -> list[Example]:
        """Draw so many of each kind."""
        return self.examples.of(examples)

    def measure(self, simulations: pl.DataFrame) -> pl.DataFrame:
        """Measure one unit after another, all explanations and simulators of a unit in the same reading."""
        if simulations.is_empty():
            return schemas.ABLATIONS.to_frame()
        reader = needed(self.reader, self.name)
        replacing = Replacing.of(reader.loaded, self.dtype, self.batch_contexts)
        units = simulations.partition_by("unit", maintain_order=True)
        rows: list[dict[str, object]] = []
        for of_unit in tqdm(units, desc=f"score by {self.name}", unit="unit", disable=None):
            rows += self._measure_unit(reader, replacing, of_unit)
        return pl.DataFrame(rows, schema=schemas.ABLATIONS)

    def _measure_unit(
        self, reader: Reader, replacing: Replacing, simulations: pl.DataFrame
    ) -> Iterator[dict[str, object]]:
        unit, fitted_on = simulations["unit"][0], pl.col("split") == FITTED_ON
        fits = self._fit(reader, replacing, simulations.filter(fitted_on))
        for of_split in simulations.filter(~fitted_on).partition_by("split", maintain_order=True):
            contexts = of_split["context"].unique(maintain_order=True).to_list()
            read = replacing.read(unit, reader.token_ids(contexts))
            yield from measured(contexts, read, [
                Replacement(group, name, fits.get(key, {}).get(name))
                for key, group in of_split.group_by(OWNER, maintain_order=True)
                for name in self.calibrations
            ])  # fmt: skip

    def _fit(
        self, reader: Reader, replacing: Replacing, simulations: pl.DataFrame
    ) -> dict[tuple[object, ...], _Scales]:
        """Fit the scale of each explanation's simulations, under every control, to the unit's own activations."""
        judged = simulations.drop_nulls("expected_acts")
        if judged.is_empty():
            return {}
        contexts = judged["context"].unique(maintain_order=True).to_list()
        acts = replacing.acts(judged["unit"][0], reader.token_ids(contexts))
        true = dict(zip(contexts, acts, strict=True))
        fits: dict[tuple[object, ...], _Scales] = {}
        for key, group in judged.group_by(OWNER, maintain_order=True):
            own = np.concatenate([true[context] for context in group["context"].to_list()]).astype(np.float64)
            expected = np.concatenate(group["expected_acts"].to_list()).astype(np.float64)
            fits[key] = {name: FITS[name](own, expected) for name in self.calibrations}
        return fits


class Replacement(NamedTuple):
    """Simulations of one explanation on one split, and how they come onto the unit's scale."""

    simulations: pl.DataFrame
    """Schema SIMULATIONS."""
    calibration: str
    scale: Calibration | None
    """None where there was nothing to fit it on."""

    def values(self) -> dict[int, Floats]:
        """Give what takes the unit's place, for each context that has a simulation."""
        judged = self.simulations.drop_nulls("expected_acts")
        if self.scale is None:
            return {}
        expected = [np.asarray(acts, dtype=np.float64) for acts in judged["expected_acts"].to_list()]
        return dict(zip(judged["context"].to_list(), map(self.scale, expected), strict=True))


def measured(
    contexts: Sequence[int], read: UnitInTexts, replacements: Sequence[Replacement]
) -> Iterator[dict[str, object]]:
    """Give a row (schema ABLATIONS) per replacement and context of its simulations; contexts are in the order read."""
    acts = read.acts
    mean = np.concatenate(acts).astype(np.float64).mean()
    means = [np.full(len(own), mean) for own in acts]
    values = [replacement.values() for replacement in replacements]
    wanted = [[of.get(number, own) for number, own in zip(contexts, acts, strict=True)] for of in values]
    ablated, *simulated = read.divergences([means, *wanted])
    place = {number: i for i, number in enumerate(contexts)}
    for replacement, known, sums in zip(replacements, values, simulated, strict=True):
        for row in replacement.simulations.drop("true_acts", "expected_acts").iter_rows(named=True):
            i, judged = place[row["context"]], row["context"] in known
            yield row | {
                "calibration": replacement.calibration,
                "n_positions": len(acts[i]),
                "simulated": float(sums[i]) if judged else None,
                "ablated": float(ablated[i]),
                "error": None if judged else row["error"] or NO_SCALE,
            }
