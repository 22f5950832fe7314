"""One version of a target's explanations: a text and the simulations of each unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from latentese import schemas
from latentese.errors import SettingError
from latentese.metrics.scores import KINDS_OF
from latentese.records import Explanation
from latentese.report.arms import REVISION
from latentese.store.artifact import open_artifact
from latentese.store.tables import read_explanations, read_table


@dataclass(frozen=True)
class SetChoice:
    """Which of a version's explanations and simulations are looked at."""

    explainer: str
    simulator: str
    final: bool = True
    """Whether those that refinement ended with, or the first ones."""
    contexts: str = "top_and_random"

    def __post_init__(self) -> None:
        if self.contexts not in KINDS_OF:
            raise SettingError("--contexts", self.contexts, f"one of {', '.join(sorted(KINDS_OF))}")


@dataclass(frozen=True)
class SetArtifacts:
    """Folders of one version's artifacts."""

    explanations: Path
    scores: Path
    refined: Path | None
    """None where only first explanations are looked at."""


@dataclass(frozen=True)
class ExplanationSet:
    """One explanation per unit, as it stands in one version."""

    name: str
    explanations: Mapping[int, Explanation]
    simulations: Mapping[int, pl.DataFrame]
    """Of each unit's explanation, on `test` (schema SIMULATIONS); units never simulated have none."""
    contexts_sha256: str | None
    """Identity of the contexts artifact; None where there is none, as in what was imported."""
    level: float
    """Of the version's own intervals."""


def read_set(name: str, paths: SetArtifacts, choice: SetChoice) -> ExplanationSet:
    """Read one version."""
    written, scored = open_artifact(paths.explanations, "explanations"), open_artifact(paths.scores, "scores")
    explanations = {e.explanation: e for e in read_explanations(written.file("explanations.jsonl"))}
    simulated = read_table(scored.file("simulations.parquet"), schemas.SIMULATIONS)
    simulators = simulated["simulator"].unique().sort()
    if choice.simulator not in simulators:
        raise SettingError("--simulator", choice.simulator, f"one of {name}: {', '.join(simulators)}")
    simulations = [_on_test(simulated, choice)]
    first = {e.unit: e for e in explanations.values() if e.explainer == choice.explainer and e.revision == 0}
    if not first:
        known = ", ".join(sorted({e.explainer for e in explanations.values()})) or "none"
        raise SettingError("--explainer", choice.explainer, f"one of {name}: {known}")
    chosen = dict(first)
    if paths.refined is not None:
        refined = open_artifact(paths.refined, "refined")
        later = {e.explanation: e for e in read_explanations(refined.file("explanations.jsonl"))}
        simulations.append(_on_test(read_table(refined.file("simulations.parquet"), schemas.SIMULATIONS), choice))
        ends = _ends(read_table(refined.file("finals.parquet"), schemas.FINALS))
        chosen = {unit: later.get(ends.get(e.explanation, ""), e) for unit, e in first.items()}
    by_explanation = pl.concat(simulations).unique(
        ["explanation", "context", "kind"], keep="first", maintain_order=True
    )
    tables = by_explanation.partition_by("explanation", as_dict=True)
    found = {unit: tables.get((e.explanation,)) for unit, e in chosen.items()}
    return ExplanationSet(
        name=name,
        explanations=chosen,
        simulations={unit: table for unit, table in found.items() if table is not None},
        contexts_sha256=scored.manifest.inputs.get("contexts"),
        level=scored.manifest.settings["level"],
    )


def _ends(finals: pl.DataFrame) -> dict[str, str]:
    """Give, by the first explanation, the one in use after refinement; those of other explainers are not refined."""
    starts, ends = (finals.filter(arm=arm).select("unit", "explanation") for arm in (schemas.INITIAL, REVISION))
    return dict(starts.join(ends, on="unit", suffix="_end").select("explanation", "explanation_end").iter_rows())


def _on_test(simulations: pl.DataFrame, choice: SetChoice) -> pl.DataFrame:
    own = simulations.filter(simulator=choice.simulator, control="none", split="test")
    return own.filter(pl.col("kind").is_in(KINDS_OF[choice.contexts]))
