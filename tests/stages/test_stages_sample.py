from pathlib import Path

import polars as pl
import pytest
from toy_artifacts import ToyText, write_activations, write_contexts

from latentese.dictionaries.base import Dictionary
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_settings import TrainSettings
from latentese.errors import ArtifactError, SettingError
from latentese.examples.settings import SampleSettings
from latentese.schemas import EXAMPLES, POOL, POOL_CONTEXTS, UNITS
from latentese.stages.sample import sample
from latentese.stages.train import train
from latentese.store.artifact import open_artifact
from latentese.store.tables import read_table

TRAINING = TrainSettings(n_tokens=40 * 66, batch_tokens=66, lr=3e-3, dead_after_tokens=300)
SETTINGS = SampleSettings(n_top=3, n_quantile=1, n_random=3, n_near_miss=2, n_pool_contexts=10, min_documents=2)


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    contexts = write_contexts(tmp_path / "contexts")
    return contexts, write_activations(tmp_path / "activations", contexts)


def fit(activations: Path, dictionary: Dictionary, out: Path) -> Path:
    return train(activations, dictionary, TRAINING, out, lambda _: None)


@pytest.mark.parametrize("dictionary", [TopK(16, 24, 2), Neurons(16)])
def test_sample_writes_tables_of_the_right_schema(inputs, tmp_path, dictionary):
    contexts, activations = inputs
    out = sample(contexts, activations, fit(activations, dictionary, tmp_path / "d"), SETTINGS, tmp_path / "examples")
    artifact = open_artifact(out, "examples")
    assert set(artifact.manifest.inputs) == {"contexts", "activations", "dictionary"}
    units = read_table(artifact.file("units.parquet"), UNITS)
    examples = read_table(artifact.file("examples.parquet"), EXAMPLES)
    pool = read_table(artifact.file("pool.parquet"), POOL)
    pool_contexts = read_table(artifact.file("pool_contexts.parquet"), POOL_CONTEXTS)
    counts = artifact.manifest.counts
    assert counts["n_units"] == units.height == dictionary.n_units
    assert counts["n_live"] == units["draw"].count() > 0
    assert sorted(units["draw"].drop_nulls()) == list(range(counts["n_live"]))
    assert set(examples["unit"]) == set(units.filter(pl.col("draw").is_not_null())["unit"])
    assert set(pool["context"]) <= set(pool_contexts["context"])
    assert len(counts["histogram_edges"]) == len(units["histogram"][0]) + 1
    assert counts["n_contexts"] == {"explain": 40, "calibrate": 8, "select": 16, "test": 16}


def test_the_same_inputs_and_settings_give_the_same_bytes(inputs, tmp_path):
    contexts, activations = inputs
    dictionary = fit(activations, TopK(16, 24, 2), tmp_path / "d")
    one, other = (
        open_artifact(sample(contexts, activations, dictionary, SETTINGS, tmp_path / name), "examples")
        for name in ("one", "other")
    )
    assert one.sha256 == other.sha256


def test_examples_of_a_split_come_from_its_documents_alone(inputs, tmp_path):
    contexts, activations = inputs
    out = sample(contexts, activations, fit(activations, Neurons(16), tmp_path / "d"), SETTINGS, tmp_path / "examples")
    table = pl.read_parquet(contexts / "contexts.parquet").select("context", "document", of_context="split")
    examples = pl.read_parquet(out / "examples.parquet").join(table, on="context")
    assert (examples["split"] == examples["of_context"]).all()
    per_document = examples.group_by("document").agg(pl.col("split").n_unique())
    assert per_document["split"].max() == 1


def test_activations_of_other_contexts_are_refused(inputs, tmp_path):
    _, activations = inputs
    dictionary = fit(activations, Neurons(16), tmp_path / "d")
    other = write_contexts(tmp_path / "other", text=ToyText(seed=9))
    with pytest.raises(ArtifactError, match="not collected from"):
        sample(other, activations, dictionary, SETTINGS, tmp_path / "examples")


def test_a_dictionary_of_another_width_stops_before_any_work(inputs, tmp_path):
    from toy_artifacts import Planted

    contexts, activations = inputs
    wide = write_activations(tmp_path / "wide", contexts, Planted(width=20))
    dictionary = fit(wide, Neurons(20), tmp_path / "d")
    with pytest.raises(SettingError, match=r"dictionary.d_model=20 is not allowed: 16, the width of"):
        sample(contexts, activations, dictionary, SETTINGS, tmp_path / "examples")
