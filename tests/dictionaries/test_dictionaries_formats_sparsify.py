import json

import pytest
import torch
from foreign_checkpoints import K, assert_says, keep_largest, toy, toy_acts, write_sparsify

from latentese.dictionaries.formats import sparsify
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.errors import ArtifactError, SettingError


def test_a_checkpoint_encodes_as_its_formula_says(tmp_path):
    weights, acts = toy(), toy_acts()
    dictionary, meaning = sparsify.read(write_sparsify(tmp_path / "layers.3.mlp", weights))
    latents = keep_largest(weights.encode(acts))
    assert_says(dictionary, acts, latents, weights.decode(latents))
    assert meaning.norm == "none: activations are read as they are"
    assert meaning.bias == "b_dec is subtracted before encoding and added after decoding"
    assert meaning.trained_on == {"folder": "layers.3.mlp"}
    assert set(meaning.files) == {"cfg.json", "sae.safetensors"}
    assert all(len(sha256) == 64 for sha256 in meaning.files.values())


def test_older_checkpoints_name_no_activation(tmp_path):
    path = write_sparsify(tmp_path / "sae", toy(), activation=None, signed=False, num_latents=0, expansion_factor=2)
    assert isinstance(sparsify.read(path).dictionary, TopK)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"activation": "groupmax"}, "activation 'groupmax' cannot be represented"),
        ({"activation": "relu"}, "activation 'relu' cannot be represented"),
        ({"signed": True}, "signed: top-k by absolute value"),
        ({"skip_connection": True}, "skip_connection: a linear skip connection"),
        ({"transcode": True}, "transcode: a transcoder"),
        ({"k": 11}, "k must be a whole number from 1 to 10, its latents; found 11"),
        ({"k": None}, "k must be a whole number from 1 to 10, its latents; found None"),
    ],
)
def test_what_cannot_be_represented_is_one_line(tmp_path, changed, problem):
    with pytest.raises(ArtifactError, match=rf"/cfg\.json: {problem}") as error:
        sparsify.read(write_sparsify(tmp_path / "sae", toy(), **changed))
    assert "\n" not in str(error.value)


def test_an_unannounced_skip_connection_is_refused_too(tmp_path):
    from safetensors.torch import load_file, save_file

    path = write_sparsify(tmp_path / "sae", toy())
    save_file(load_file(path / "sae.safetensors") | {"W_skip": torch.zeros(6, 6)}, path / "sae.safetensors")
    with pytest.raises(ArtifactError, match="meaning unknown to this format: W_skip"):
        sparsify.read(path)


def test_a_folder_of_several_hookpoints_names_them(tmp_path):
    for hookpoint in ("layers.1", "layers.0"):
        write_sparsify(tmp_path / hookpoint, toy())
    with pytest.raises(ArtifactError, match=r"name the folder of one: layers\.0, layers\.1"):
        sparsify.read(tmp_path)


def test_what_was_written_reads_back_the_same(tmp_path):
    dictionary = sparsify.read(write_sparsify(tmp_path / "sae", toy())).dictionary
    sparsify.write(dictionary, tmp_path / "again")
    again = sparsify.read(tmp_path / "again").dictionary
    assert again.args == dictionary.args
    for name, tensor in dictionary.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_written_sizes_are_explicit(tmp_path):
    sparsify.write(TopK(6, 10, K, norm="none"), tmp_path / "sae")
    cfg = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    assert {"d_in": 6, "num_latents": 10, "k": K, "activation": "topk"}.items() <= cfg.items()


def test_an_input_norm_cannot_be_written(tmp_path):
    with pytest.raises(SettingError, match=r"dictionary\.norm='unit_norm' is not allowed: none: sparsify has no input"):
        sparsify.write(TopK(6, 10, K), tmp_path / "sae")
    assert not (tmp_path / "sae").exists()


def test_other_dictionaries_cannot_be_written(tmp_path):
    with pytest.raises(SettingError, match="dictionary='Neurons' is not allowed: TopK"):
        sparsify.write(Neurons(6), tmp_path / "sae")
