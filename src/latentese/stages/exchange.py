"""Export a target's explanations as files of the 2023 release, and import such files into our tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from latentese import schemas
from latentese.corpus.contexts import Contexts
from latentese.errors import ArtifactError, LatenteseError, SettingError
from latentese.examples.store import Examples
from latentese.exchange.exporting import TOP_SPLITS, UnitExamples, record_of, results_of, scored_text
from latentese.exchange.importing import RELEASED, LayerTables, n_disagreeing
from latentese.exchange.release import Neuron, NeuronRecord, NeuronResults, read_release, record_json, results_json
from latentese.metrics.intervals import Bootstrap
from latentese.records import Explanation
from latentese.stages.judging import SplitExamples
from latentese.store.artifact import open_artifact, open_draft
from latentese.store.files import write_text
from latentese.store.tables import read_explanations, read_table, write_explanations, write_table

RECORDS, RESULTS = "collated-activations", "explanations"
"""Folders of the release."""
KINDS = ("top", "quantile", "random")


@dataclass(frozen=True)
class ExportInputs:
    """Folders of the artifacts that an export reads."""

    contexts: Path
    examples: Path
    explanations: Path
    scores: Path


@dataclass(frozen=True)
class Exported:
    """What an export wrote, and what the format has no place for."""

    n_units: int
    n_explanations: int
    n_failed: int
    """Simulations without an answer: left out."""


def export_target(inputs: ExportInputs, layer: int, simulator: str, out: Path) -> Exported:
    """Write two files per explained unit: its excerpts, and its explanations with `simulator`'s `test` simulations."""
    source = _Exported(inputs, layer, simulator)
    for unit, explanations in source.explanations.items():
        _write_json(record_json(source.record(unit)), out / RECORDS / str(layer) / f"{unit}.json")
        _write_json(results_json(source.results(unit, explanations)), out / RESULTS / str(layer) / f"{unit}.jsonl")
    n_explanations = sum(map(len, source.explanations.values()))
    return Exported(len(source.explanations), n_explanations, source.simulations["expected_acts"].null_count())


class _Exported:
    """Reads one target unit by unit."""

    def __init__(self, inputs: ExportInputs, layer: int, simulator: str) -> None:
        self.layer = layer
        self.reader = SplitExamples(Contexts(inputs.contexts), Examples(inputs.examples))
        written, scores = open_artifact(inputs.explanations, "explanations"), open_artifact(inputs.scores, "scores")
        if scores.manifest.inputs["explanations"] != written.sha256:
            raise ArtifactError(inputs.scores, f"not the scores of {inputs.explanations}; run `dvc repro`")
        simulations = read_table(scores.file("simulations.parquet"), schemas.SIMULATIONS)
        known = sorted(simulations["simulator"].unique())
        if simulator not in known:
            raise SettingError("--simulator", simulator, f"one of {', '.join(known)}")
        self.simulations = simulations.filter(simulator=simulator, control="none", split="test")
        self._of_explanation = self.simulations.partition_by("explanation", as_dict=True)
        self.explanations: dict[int, list[Explanation]] = {}
        for explanation in read_explanations(written.file("explanations.jsonl")):
            if explanation.text is not None:
                self.explanations.setdefault(explanation.unit, []).append(explanation)

    def record(self, unit: int) -> NeuronRecord:
        """Gather a unit's excerpts."""
        by_split = {split: self.reader.of(unit, split, KINDS) for split in TOP_SPLITS}
        rows = self.reader.examples.table.filter(pl.col("unit") == unit, pl.col("band").is_not_null())
        band_of = dict(rows.select("context", "band").iter_rows())
        statistics = self.reader.examples.units.filter(pl.col("unit") == unit)
        mean = statistics.select(pl.col("density") * pl.col("mean_act")).item()
        bands = self.reader.examples.artifact.manifest.settings["bands"]
        return record_of(Neuron(self.layer, unit), UnitExamples(by_split, band_of), bands, mean)

    def results(self, unit: int, explanations: Iterable[Explanation]) -> NeuronResults:
        """Gather a unit's explanations and their simulations."""
        scored = []
        for explanation in explanations:
            rows = self._of_explanation.get((explanation.explanation,), self.simulations.clear())
            numbers = rows["context"].to_list()
            contexts = {context.context: context for context in self.reader.contexts.get(numbers)} if numbers else {}
            scored.append(scored_text(explanation, rows, contexts))
        return results_of(Neuron(self.layer, unit), scored)


def _write_json(value: Mapping[str, Any], path: Path) -> None:
    write_text(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n", path)


@dataclass(frozen=True)
class ImportSettings:
    """What the files do not say, and how intervals are computed."""

    explainer: str = RELEASED
    simulator: str = RELEASED
    n_boot: int = 1000
    level: float = 0.95
    seed: int = 0

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are computed."""
        return Bootstrap(self.n_boot, self.level, self.seed)


@dataclass(frozen=True)
class Imported:
    """What an import found in one layer."""

    layer: int
    n_explanations: int
    n_disagreeing: int
    """Explanations whose stated correlation is not that of their simulations."""
    n_without_truth: int
    """Simulations left out because a true activation is not a number."""


def import_release(
    groups: Iterable[Iterable[tuple[str, bytes]]], settings: ImportSettings, out: Path
) -> Iterator[Imported]:
    """Write the artifacts `layer_<n>/explanations` and `layer_<n>/scores` for every layer that files are about.

    groups: name and bytes of files, all files of a layer in one group: memory holds one group at a time. The first
    malformed file stops with one line. Beside the tables of our own runs, the explanations artifact has the excerpts
    (`excerpts.parquet`, schema CONTEXTS) and, where records are given, `examples.parquet`.
    """
    done: set[int] = set()
    for group in groups:
        for layer, tables in sorted(_layers(group, settings).items()):
            if layer in done:
                raise LatenteseError(f"layer {layer}: its files lie in folders of several numbers; put them together")
            done.add(layer)
            yield _write_layer(layer, tables, settings, out / f"layer_{layer}")


def _layers(group: Iterable[tuple[str, bytes]], settings: ImportSettings) -> dict[int, LayerTables]:
    layers: dict[int, LayerTables] = {}
    seen: dict[tuple[type, Neuron], str] = {}
    for name, data in group:
        read = read_release(data, name)
        other = seen.setdefault((type(read), read.neuron), name)
        if other != name:
            raise LatenteseError(f"{name}: about the same neuron as {other}")
        layers.setdefault(read.neuron.layer, LayerTables(settings.explainer, settings.simulator)).add(read)
    return layers


def _write_layer(layer: int, tables: LayerTables, settings: ImportSettings, out: Path) -> Imported:
    described = {"layer": layer, "explainer": settings.explainer}
    with open_draft(out / "explanations", "explanations", {}, described) as draft:
        write_explanations(tables.explanations, draft.path / "explanations.jsonl")
        write_table(tables.excerpts, schemas.CONTEXTS, draft.path / "excerpts.parquet")
        write_table(tables.examples, schemas.EXAMPLES, draft.path / "examples.parquet")
        written = draft.publish({"n_explanations": len(tables.explanations), "n_excerpts": tables.excerpts.height})
    described |= {"simulator": settings.simulator, "level": settings.level, "n_boot": settings.n_boot}
    with open_draft(out / "scores", "scores", {"explanations": written}, described | {"seed": settings.seed}) as draft:
        scores = tables.scores(settings.bootstrap)
        write_table(tables.simulations, schemas.SIMULATIONS, draft.path / "simulations.parquet")
        write_table(scores, schemas.SCORES, draft.path / "scores.parquet")
        found = Imported(layer, len(tables.explanations), n_disagreeing(scores), tables.n_without_truth)
        draft.publish(asdict(found))
    return found
