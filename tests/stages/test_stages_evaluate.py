import json
from pathlib import Path

import polars as pl
import pytest
from toy_artifacts import Planted, ToyText, write_activations, write_contexts

from latentese.dictionaries.base import Dictionary
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_settings import TrainSettings
from latentese.errors import ArtifactError, SettingError
from latentese.evaluation.densities import HISTOGRAM
from latentese.evaluation.reconstruction import DENSITIES, EvaluateSettings
from latentese.stages.evaluate import evaluate
from latentese.stages.train import train
from latentese.store.artifact import open_artifact
from latentese.store.tables import read_table

TRAINING = TrainSettings(n_tokens=60 * 66, batch_tokens=66, lr=1e-2, decay=0.3, dead_after_tokens=300)


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    contexts = write_contexts(tmp_path / "contexts")
    return contexts, write_activations(tmp_path / "activations", contexts)


def metrics_of(inputs: tuple[Path, Path], dictionary: Dictionary, folder: Path) -> dict[str, float]:
    fitted = train(inputs[1], dictionary, TRAINING, folder / "dictionary", lambda _: None)
    out = evaluate(*inputs, fitted, EvaluateSettings(), folder / "evaluation")
    return json.loads((out / "metrics.json").read_text())


def test_latents_of_planted_tokens_generalise_to_test_documents(inputs, tmp_path):
    metrics = metrics_of(inputs, TopK(16, 24, 1), tmp_path)
    assert metrics["fvu"] < 0.2
    assert metrics["l0"] <= 1.0
    assert 0 <= metrics["dead_share"] < 1


def test_neurons_reconstruct_exactly(inputs, tmp_path):
    metrics = metrics_of(inputs, Neurons(16), tmp_path)
    assert (metrics["fvu"], metrics["l0"], metrics["signed"]) == (0.0, 16.0, True)
    # Signed units fire above a threshold that is not known here.
    assert not {"density", "dead_share"} & set(metrics)


def test_tables_have_a_row_per_unit_and_count_every_active_one(inputs, tmp_path):
    metrics_of(inputs, TopK(16, 24, 2), tmp_path)
    artifact = open_artifact(tmp_path / "evaluation", "evaluation")
    densities = read_table(artifact.file("densities.parquet"), DENSITIES)
    histogram = read_table(artifact.file("density_histogram.parquet"), HISTOGRAM)
    assert densities["unit"].to_list() == list(range(24))
    assert histogram["n_units"].sum() == densities.filter(pl.col("n_active") > 0).height
    assert artifact.manifest.counts["n_tokens"] == 106


def test_activations_of_other_contexts_are_refused(inputs, tmp_path):
    fitted = train(inputs[1], Neurons(16), TRAINING, tmp_path / "d", lambda _: None)
    other = write_contexts(tmp_path / "other", text=ToyText(seed=9))
    with pytest.raises(ArtifactError, match="not collected from"):
        evaluate(other, inputs[1], fitted, EvaluateSettings(), tmp_path / "evaluation")


def test_a_dictionary_of_another_width_stops_before_any_work(inputs, tmp_path):
    wide = write_activations(tmp_path / "wide", inputs[0], Planted(width=20))
    fitted = train(wide, Neurons(20), TRAINING, tmp_path / "d", lambda _: None)
    with pytest.raises(SettingError, match=r"dictionary.d_model=20 is not allowed"):
        evaluate(*inputs, fitted, EvaluateSettings(), tmp_path / "evaluation")
