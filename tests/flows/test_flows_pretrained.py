"""Somebody else's autoencoder, by configuration alone: no training, and its units' examples are what it fires on."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from omegaconf import OmegaConf
from toy_artifacts import Planted, write_activations, write_contexts

from flows.config import Params, build, compose
from latentese.dictionaries import checkpoints
from latentese.dictionaries.formats.load import write_checkpoint
from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_settings import TrainSettings
from latentese.errors import SettingError
from latentese.evaluation.reconstruction import Reconstruction, measure_reconstruction
from latentese.examples.settings import SampleSettings
from latentese.schemas import EXAMPLES, TRAIN_LOG
from latentese.stages.sample import sample
from latentese.stages.train import train
from latentese.store.artifact import open_artifact
from latentese.store.shards import Activations
from latentese.store.tables import read_table

PLANTED = Planted(splits=("explain", "calibrate", "select", "test"))  # no train: nothing is trained


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An SAELens folder whose latents are the planted directions: the truth."""
    truth = TopK(PLANTED.width, PLANTED.n_planted, k=1, norm="none")
    directions = PLANTED.directions()
    weights = {"W_enc": directions.t(), "W_dec": directions, "b_enc": torch.zeros(PLANTED.n_planted)}
    truth.load_state_dict({**weights, "b_dec": torch.zeros(PLANTED.width), "variance": torch.ones(())})
    write_checkpoint("sae_lens", truth, tmp_path / "their_sae")
    return tmp_path / "their_sae"


def params_of(*overrides: str) -> Params:
    return OmegaConf.to_container(OmegaConf.create(compose(overrides)))  # type: ignore[return-value]


def test_a_named_checkpoint_is_explained_without_training(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Path
) -> None:
    monkeypatch.chdir(root)
    target = params_of("dictionary=pretrained", f"dictionary.path={checkpoint}")["targets"]["latents"]
    assert target["dictionary_path"] == str(checkpoint)  # what DVC watches
    dictionary = build(target["dictionary"], "dictionary", d_model=PLANTED.width)
    contexts = write_contexts(tmp_path / "contexts")
    activations = write_activations(tmp_path / "activations", contexts, PLANTED)
    trained = train(activations, dictionary, TrainSettings(1, 1), tmp_path / "dictionary", lambda _: None)
    artifact = open_artifact(trained, "dictionary")
    assert artifact.manifest.counts["n_steps"] == 0
    assert artifact.manifest.settings["args"]["meaning"]["format"] == "sae_lens"
    assert read_table(artifact.file("train_log.parquet"), TRAIN_LOG).height == 0

    settings = SampleSettings(n_top=3, n_quantile=1, n_random=3, n_near_miss=2, n_pool_contexts=10, min_documents=2)
    examples = open_artifact(sample(contexts, activations, trained, settings, tmp_path / "examples"), "examples")
    rows = read_table(examples.file("examples.parquet"), EXAMPLES)
    tokens = pl.read_parquet(contexts / "contexts.parquet").select("context", "tokens")
    fired = (
        rows.join(tokens, on="context").explode("positions", "acts").drop_nulls("positions").filter(pl.col("acts") > 0)
    )
    said = fired.with_columns(token=pl.col("tokens").list.get(pl.col("positions").cast(pl.Int64)))
    words = said["token"].str.strip_prefix(" w").cast(pl.Int64)
    assert said.height > 50
    assert (words % PLANTED.n_planted == said["unit"]).all()

    loaded = checkpoints.load(trained)
    measured = measure_reconstruction(loaded, Activations(activations), Reconstruction(batch_tokens=64), lambda _: None)
    assert measured.l0 == 1.0
    assert measured.fvu < 0.02  # what is left is the planted noise


def test_dictionaries_that_are_read_from_nothing_watch_a_file_that_never_changes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    targets = params_of()["targets"]
    assert {target["dictionary_path"] for target in targets.values()} == {"artifacts/checked.txt"}


def test_a_checkpoint_of_another_width_stops_where_it_is_built(
    root: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path
) -> None:
    monkeypatch.chdir(root)
    spec = params_of("dictionary=pretrained", f"dictionary.path={checkpoint}")["dictionary"]
    with pytest.raises(
        SettingError, match="a dictionary of width 576, as the hookpoint's activations; this one's is 16"
    ):
        build(spec, "dictionary", d_model=576)
