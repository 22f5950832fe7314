"""A toy target out to files of the release and back: what returns is what left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from toy_report import Toy, build_toy

from latentese import schemas
from latentese.errors import ArtifactError, LatenteseError, SettingError
from latentese.metrics.correlation import pearson
from latentese.metrics.scores import sums_by_document
from latentese.stages.exchange import (
    RECORDS,
    RESULTS,
    ExportInputs,
    Imported,
    ImportSettings,
    export_target,
    import_release,
)
from latentese.store.artifact import open_artifact
from latentese.store.tables import read_explanations, read_table

LAYER = 12


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return build_toy(tmp_path_factory.mktemp("exchanged"))


def inputs_of(toy: Toy) -> ExportInputs:
    paths = toy.targets["latents"]
    return ExportInputs(toy.contexts, paths.examples, paths.explanations, paths.scores)


@pytest.fixture(scope="module")
def exported(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    written = export_target(inputs_of(toy), LAYER, "similarity", out)
    assert (written.n_units, written.n_explanations) == (12, 23)  # one of 12 failed, and all have a token table
    simulations = pl.read_parquet(toy.targets["latents"].scores / "simulations.parquet")
    own = simulations.filter(simulator="similarity", control="none", split="test")
    assert written.n_failed == own["expected_acts"].null_count() > 0
    return out


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    return ((str(file), file.read_bytes()) for file in sorted(folder.rglob("*.json*")))


@pytest.fixture(scope="module")
def imported(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("in")
    settings = ImportSettings(n_boot=50)
    assert list(import_release([files(exported)], settings, out)) == [Imported(LAYER, 23, 0, 0)]
    return out / f"layer_{LAYER}"


def test_every_unit_has_two_files_where_the_release_has_them(exported: Path) -> None:
    for folder, end in ((RECORDS, "json"), (RESULTS, "jsonl")):
        assert len(list((exported / folder / str(LAYER)).glob(f"*.{end}"))) == 12
    for file in exported.rglob("*.jsonl"):
        assert file.read_text().count("\n") == 1, "a reader of JSON lines takes the first one"


def test_texts_return_by_unit(toy: Toy, imported: Path) -> None:
    first = read_explanations(toy.targets["latents"].explanations / "explanations.jsonl")
    again = read_explanations(open_artifact(imported / "explanations", "explanations").file("explanations.jsonl"))
    left = sorted((e.unit, e.text) for e in first if e.text is not None)
    assert sorted((e.unit, e.text) for e in again) == left


def test_scores_return_by_text(toy: Toy, imported: Path) -> None:
    """Every answered simulation leaves and returns: the correlation over all of them, found again, is the same."""
    first = read_explanations(toy.targets["latents"].explanations / "explanations.jsonl")
    again = {e.explanation: e for e in read_explanations(imported / "explanations" / "explanations.jsonl")}
    simulations = read_table(toy.targets["latents"].scores / "simulations.parquet", schemas.SIMULATIONS)
    own = simulations.filter(simulator="similarity", control="none", split="test")
    left = {
        (e.unit, e.text): pearson(sums_by_document(own.filter(explanation=e.explanation))[1].sum(axis=0))
        for e in first
        if e.text is not None
    }
    # Top, quantile and near misses are all "top" on their return.
    chosen = {"metric": "correlation", "contexts": "top_and_random"}
    rows = read_table(imported / "scores" / "scores.parquet", schemas.SCORES).filter(**chosen).to_dicts()
    assert len(rows) == len(left)
    for row in rows:
        value = left[row["unit"], again[row["explanation"]].text]
        assert row["value"] == (None if np.isnan(value) else pytest.approx(float(value), abs=1e-6))


def test_random_excerpts_return_as_random(toy: Toy, imported: Path) -> None:
    """So scores over random contexts alone return with them."""
    simulations = read_table(imported / "scores" / "simulations.parquet", schemas.SIMULATIONS)
    first = read_table(toy.targets["latents"].scores / "simulations.parquet", schemas.SIMULATIONS)
    own = first.filter(simulator="similarity", control="none", split="test").filter(
        pl.col("expected_acts").is_not_null()
    )
    n_random = own.filter(kind="random").height
    assert (simulations.height, simulations.filter(kind="random").height) == (own.height, n_random)
    assert simulations.filter(kind="random")["true_acts"].list.max().max() == 0, "the toy's random contexts are silent"
    chosen = {"metric": "correlation", "contexts": "random_only"}
    again, left = (
        read_table(folder / "scores.parquet", schemas.SCORES).filter(**chosen)
        for folder in (imported / "scores", toy.targets["latents"].scores)
    )
    left = left.filter(simulator="similarity", control="none", split="test")
    assert again.height == left.height == 23
    assert (
        again.select("unit", "n_judged").sort(pl.all()).rows() == left.select("unit", "n_judged").sort(pl.all()).rows()
    )


def test_excerpts_and_examples_come_with_them(imported: Path) -> None:
    artifact = open_artifact(imported / "explanations", "explanations")
    excerpts = read_table(artifact.file("excerpts.parquet"), schemas.CONTEXTS)
    examples = read_table(artifact.file("examples.parquet"), schemas.EXAMPLES)
    assert set(examples["context"]) <= set(excerpts["context"])
    assert set(examples["kind"]) == {"top", "quantile", "random"}
    assert excerpts["tokens"].list.join("\0").is_unique().all()


def test_the_same_files_give_the_same_bytes(exported: Path, imported: Path, tmp_path: Path) -> None:
    list(import_release([files(exported)], ImportSettings(n_boot=50), tmp_path))
    for name in ("explanations", "scores"):
        assert open_artifact(tmp_path / f"layer_{LAYER}" / name, name).sha256 == (
            open_artifact(imported / name, name).sha256
        )


def test_a_neuron_may_come_once_and_a_layer_in_one_group(exported: Path, tmp_path: Path) -> None:
    file = next((exported / RESULTS).rglob("*.jsonl"))
    twice = [("a/1.jsonl", file.read_bytes()), ("b/1.jsonl", file.read_bytes())]
    with pytest.raises(LatenteseError, match=r"b/1.jsonl: about the same neuron as a/1.jsonl"):
        list(import_release([iter(twice)], ImportSettings(), tmp_path))
    with pytest.raises(LatenteseError, match=r"layer 12: its files lie in folders of several numbers"):
        list(import_release([iter(twice[:1]), iter(twice[1:])], ImportSettings(n_boot=5), tmp_path))


def test_a_malformed_file_stops_the_import_and_leaves_nothing(tmp_path: Path) -> None:
    broken = ("9.jsonl", json.dumps({"scored_explanations": [], "neuron_id": 3}).encode())
    with pytest.raises(LatenteseError, match=r"^9.jsonl.neuron_id: should be an object, is 3$"):
        list(import_release([iter([broken])], ImportSettings(), tmp_path))
    assert not list(tmp_path.rglob("manifest.json"))


def test_an_unknown_simulator_or_scores_of_other_explanations_stop_with_one_line(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"--simulator='me' is not allowed: one of all_at_once, similarity"):
        export_target(inputs_of(toy), LAYER, "me", tmp_path)
    other = toy.targets["neurons"].explanations
    mixed = ExportInputs(toy.contexts, toy.targets["latents"].examples, other, toy.targets["latents"].scores)
    with pytest.raises(ArtifactError, match=r"not the scores of "):
        export_target(mixed, LAYER, "similarity", tmp_path)
    assert not list(tmp_path.iterdir())
