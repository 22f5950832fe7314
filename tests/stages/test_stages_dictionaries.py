"""Dictionaries whose tokens have different numbers of active units, or signed ones, take the same path as TopK."""

from pathlib import Path

import polars as pl
import pytest
from toy_artifacts import Planted, write_activations, write_contexts

from latentese.dictionaries.base import Dictionary, Trainable
from latentese.dictionaries.batch_topk import BatchTopK
from latentese.dictionaries.jumprelu import JumpReLU
from latentese.dictionaries.pca import PCA
from latentese.dictionaries.random import RandomDirections
from latentese.dictionaries.train_settings import TrainSettings
from latentese.errors import SettingError
from latentese.evaluation.reconstruction import Reconstruction, measure_reconstruction
from latentese.examples.settings import SampleSettings
from latentese.schemas import EXAMPLES, TRAIN_LOG, UNITS
from latentese.stages.sample import sample
from latentese.stages.train import train
from latentese.store.shards import Activations
from latentese.store.tables import read_table

TRAINING = TrainSettings(n_tokens=60 * 66, batch_tokens=66, lr=1e-2, decay=0.3, dead_after_tokens=300)
SETTINGS = SampleSettings(n_top=3, n_quantile=1, n_random=3, n_near_miss=2, n_pool_contexts=10, min_documents=2)


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    contexts = write_contexts(tmp_path / "contexts")
    return contexts, write_activations(tmp_path / "activations", contexts)


@pytest.mark.parametrize(
    ("dictionary", "fvu"),
    [
        (JumpReLU(16, 24, target_l0=1.5), 0.5),
        (BatchTopK(16, 24, 1), 0.5),
        (PCA(16, 12), 0.05),  # 12 directions are planted
        (RandomDirections(16), 1e-6),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Dictionary) else "",
)
def test_from_activations_to_examples(inputs, tmp_path, dictionary, fvu):
    contexts, activations = inputs
    out = train(activations, dictionary, TRAINING, tmp_path / "dictionary", lambda _: None)
    n_logged = read_table(out / "train_log.parquet", TRAIN_LOG).height
    assert n_logged == (60 if isinstance(dictionary, Trainable) else 0)

    examples = sample(contexts, activations, out, SETTINGS, tmp_path / "examples")
    units = read_table(examples / "units.parquet", UNITS)
    assert units.height == dictionary.n_units
    assert units["draw"].count() > 4
    # A latent fires above 0, a signed unit above a quantile of its own.
    assert (units["threshold"] == 0).all() is not dictionary.signed
    shown = read_table(examples / "examples.parquet", EXAMPLES).filter(pl.col("kind") == "top")
    assert shown["acts"].explode().min() > 0

    found = measure_reconstruction(dictionary, Activations(activations), Reconstruction(), lambda _: None)
    assert found.fvu < fvu
    assert found.l0 == dictionary.n_units if dictionary.signed else found.l0 < 4


def test_principal_directions_need_train_tokens(tmp_path):
    contexts = write_contexts(tmp_path / "contexts")
    activations = write_activations(tmp_path / "activations", contexts, Planted(splits=("explain", "test")))
    with pytest.raises(SettingError, match=r"split='train' is not allowed"):
        train(activations, PCA(16), TRAINING, tmp_path / "dictionary", lambda _: None)
