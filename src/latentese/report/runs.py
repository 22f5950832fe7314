"""Findings of several runs side by side: every run's means, under its own name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from latentese import schemas
from latentese.errors import ArtifactError, LatenteseError
from latentese.report.findings import FINDINGS, FindingsSettings, find
from latentese.report.inputs import Target
from latentese.report.tables import METRIC
from latentese.store.artifact import MANIFEST, open_artifact
from latentese.store.tables import read_explanations, read_table

RUN_FINDINGS = pl.Schema({"run": pl.String(), **FINDINGS})
"""Rows of FINDINGS, each with the run that it is of."""


@dataclass(frozen=True)
class ScoredArtifacts:
    """What is read of a target whose scores are averaged."""

    examples: Path
    explanations: Path
    scores: Path
    dictionary: Path
    """The dictionary's manifest alone: its weights are not needed."""


@dataclass(frozen=True)
class RunFindings:
    """What one run found, and on what."""

    name: str
    explainer: str
    """Whose explanations lead the run's report."""
    simulator: str
    """Whose scores lead it."""
    targets: Mapping[str, str]
    """Of each target, what its units are and where, such as `latent at layers.12.resid_post`."""
    level: float
    found: pl.DataFrame
    """Schema FINDINGS."""

    @property
    def lead(self) -> pl.DataFrame:
        """Correlations of the leading explainer and simulator, where there is a mean."""
        chosen = {"explainer": self.explainer, "simulator": self.simulator, "metric": METRIC}
        return self.found.filter(**chosen).drop_nulls("value")


def open_scored(name: str, paths: ScoredArtifacts, hookpoint: str) -> Target:
    """Read first explanations and their scores on `test`; of refinement, evaluation and weights nothing is read."""
    examples, explanations, scores = (
        open_artifact(getattr(paths, kind), kind) for kind in ("examples", "explanations", "scores")
    )
    written = read_explanations(explanations.file("explanations.jsonl"))
    return Target(
        name=name,
        units=read_table(examples.file("units.parquet"), schemas.UNITS),
        examples=schemas.EXAMPLES.to_frame(),
        pool=schemas.POOL.to_frame(),
        explanations={explanation.explanation: explanation for explanation in written},
        scores=read_table(scores.file("scores.parquet"), schemas.SCORES).filter(split="test"),
        simulations=read_table(scores.file("simulations.parquet"), schemas.SIMULATIONS).filter(split="test"),
        decisions=schemas.DECISIONS.to_frame(),
        finals=schemas.FINALS.to_frame(),
        train_log=schemas.TRAIN_LOG.to_frame(),
        evaluation={},
        example_counts={},
        level=scores.manifest.settings["level"],
        dictionary=_class_of(paths.dictionary),
        hookpoint=hookpoint,
    )


def _class_of(manifest: Path) -> str:
    try:
        return str(json.loads(manifest.read_text(encoding="utf-8"))["settings"].get("class", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(manifest, f"not the {MANIFEST} of a dictionary ({error!r})") from error


def findings_of(name: str, targets: Sequence[Target], settings: FindingsSettings) -> pl.DataFrame:
    """Average a run's scores (schema FINDINGS); stop where there are none."""
    found = find(targets, settings)
    if found.is_empty():
        raise LatenteseError(f"{name}: no first explanation has a score on test over contexts {settings.contexts}")
    return found


def side_by_side(runs: Sequence[RunFindings]) -> pl.DataFrame:
    """Put the runs' rows under each other, in the order of the runs (schema RUN_FINDINGS)."""
    tables = [run.found.with_columns(run=pl.lit(run.name)).select(RUN_FINDINGS.names()) for run in runs]
    return pl.concat([RUN_FINDINGS.to_frame(), *tables])
