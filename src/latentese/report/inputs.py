"""What the report reads: the published artifacts of each target, opened, checked and put side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from latentese import schemas
from latentese.errors import ArtifactError, SettingError
from latentese.metrics.scores import KINDS_OF
from latentese.records import Explanation
from latentese.store.artifact import Artifact, open_artifact
from latentese.store.tables import read_explanations, read_table


@dataclass(frozen=True)
class TargetArtifacts:
    """Folders of one target's published artifacts."""

    examples: Path
    explanations: Path
    scores: Path
    refined: Path
    evaluation: Path
    dictionary: Path


@dataclass(frozen=True)
class ReportSettings:
    """Which of many scores leads, and how much a unit's page shows."""

    primary_simulator: str
    """Its scores lead every table; those of other simulators stand on the units' pages."""
    primary_explainer: str
    """Its explanations are the ones refined and listed."""
    title: str = "latentese"
    contexts: str = "top_and_random"
    """Which contexts a score is taken over: `top_and_random` or `random_only`."""
    n_examples: int = 12
    """Contexts shown per section of a unit's page."""
    n_boot: int = 1000
    """Resamples of an interval."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_examples < 1:
            raise SettingError("report.n_examples", self.n_examples, "at least 1")
        if self.contexts not in KINDS_OF:
            raise SettingError("report.contexts", self.contexts, f"one of {sorted(KINDS_OF)}")


@dataclass(frozen=True)
class Target:
    """Every table of one target that the report reads. Scores and simulations are those on `test`."""

    name: str
    units: pl.DataFrame
    """schemas.UNITS: all units of the dictionary."""
    examples: pl.DataFrame
    pool: pl.DataFrame
    """Firings on the contexts that refinement mines."""
    explanations: Mapping[str, Explanation]
    """First explanations and refined ones, by id, in the order written."""
    scores: pl.DataFrame
    simulations: pl.DataFrame
    decisions: pl.DataFrame
    finals: pl.DataFrame
    train_log: pl.DataFrame
    evaluation: Mapping[str, Any]
    example_counts: Mapping[str, Any]
    level: float
    """Of every interval: what the scores were computed with."""
    score_counts: Mapping[str, Any] = field(default_factory=dict)
    """Of the manifest of the scores: what every judge was asked."""
    sentences: pl.DataFrame = field(default_factory=schemas.SENTENCES.to_frame)
    """Sentences that refinement had written, with what the units did on them."""
    refine_counts: Mapping[str, Any] = field(default_factory=dict)
    """Of the manifest of the refined explanations: what every arm cost."""
    dictionary: str = ""
    """Class of the dictionary, by which units are called latents, neurons or directions."""
    hookpoint: str = ""
    """Where the units are; empty where it was not told."""


def open_target(name: str, paths: TargetArtifacts, hookpoint: str = "") -> tuple[Target, dict[str, Artifact]]:
    """Open and check one target's artifacts; read what the report needs. Returns the artifacts, for the manifest."""
    artifacts = {kind: open_artifact(path, kind) for kind, path in asdict(paths).items()}
    examples, refined = artifacts["examples"], artifacts["refined"]
    scored = (artifacts["scores"], refined)
    first = read_explanations(artifacts["explanations"].file("explanations.jsonl"))
    later = read_explanations(refined.file("explanations.jsonl"))
    target = Target(
        name=name,
        units=read_table(examples.file("units.parquet"), schemas.UNITS),
        examples=read_table(examples.file("examples.parquet"), schemas.EXAMPLES),
        pool=read_table(examples.file("pool.parquet"), schemas.POOL),
        explanations={explanation.explanation: explanation for explanation in [*first, *later]},
        scores=_on_test(scored, "scores.parquet", schemas.SCORES),
        simulations=_on_test(scored, "simulations.parquet", schemas.SIMULATIONS),
        decisions=read_table(refined.file("decisions.parquet"), schemas.DECISIONS),
        finals=read_table(refined.file("finals.parquet"), schemas.FINALS),
        train_log=_if_there(artifacts["dictionary"], "train_log.parquet", schemas.TRAIN_LOG),
        evaluation=json.loads(artifacts["evaluation"].file("metrics.json").read_text(encoding="utf-8")),
        example_counts=examples.manifest.counts,
        level=artifacts["scores"].manifest.settings["level"],
        score_counts=artifacts["scores"].manifest.counts,
        sentences=_if_there(refined, "sentences.parquet", schemas.SENTENCES),
        refine_counts=refined.manifest.counts,
        dictionary=artifacts["dictionary"].manifest.settings.get("class", ""),
        hookpoint=hookpoint,
    )
    return target, artifacts


def _on_test(artifacts: tuple[Artifact, ...], name: str, schema: pl.Schema) -> pl.DataFrame:
    """Read rows of one table on `test`, from the first scores and the refined ones.

    An explanation may be scored twice over (the refinement stage may carry its parents' rows): the first row counts.
    """
    tables = [read_table(artifact.file(name), schema).filter(pl.col("split") == "test") for artifact in artifacts]
    key = [column for column in schema if column not in _VALUES]
    return pl.concat(tables).unique(key, keep="first", maintain_order=True)


_VALUES = {"value", "low", "high", "n_documents", "n_judged", "n_failed", "true_acts", "expected_acts", "error"}


def _if_there(artifact: Artifact, name: str, schema: pl.Schema) -> pl.DataFrame:
    """Read a table that an artifact may lack: a dictionary that needs no training has no log of it."""
    return read_table(artifact.file(name), schema) if name in artifact.manifest.files else schema.to_frame()


def require_primary(target: Target, settings: ReportSettings) -> None:
    """Stop when the explainer or simulator that should lead the report is not in the artifacts."""
    explainers = sorted({explanation.explainer for explanation in target.explanations.values()})
    if settings.primary_explainer not in explainers:
        raise SettingError("report.primary_explainer", settings.primary_explainer, f"one of {explainers}")
    simulators = sorted(target.scores["simulator"].unique())
    if target.scores.height and settings.primary_simulator not in simulators:
        raise SettingError("report.primary_simulator", settings.primary_simulator, f"one of {simulators}")
    unknown = set(target.finals["explanation"].drop_nulls()) - set(target.explanations)
    if unknown:
        raise ArtifactError(Path("finals.parquet"), f"target {target.name}: unknown explanations {sorted(unknown)[:3]}")
