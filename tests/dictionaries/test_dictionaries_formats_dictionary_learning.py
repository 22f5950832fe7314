import json

import pytest
import torch
from foreign_checkpoints import (
    K,
    assert_says,
    keep_largest,
    linear_state,
    toy,
    toy_acts,
    write_dictionary_learning,
)

from latentese.dictionaries.formats import dictionary_learning
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.errors import ArtifactError, SettingError


def topk_state(weights, k=K):
    return linear_state(weights) | {"k": torch.tensor(k, dtype=torch.int32), "threshold": torch.tensor(0.7)}


def test_a_topk_checkpoint_encodes_as_its_formula_says(tmp_path):
    weights, acts = toy(), toy_acts()
    path = write_dictionary_learning(tmp_path / "trainer_0", topk_state(weights), "AutoEncoderTopK", k=K, layer=4)
    dictionary, meaning = dictionary_learning.read(path)
    latents = keep_largest(weights.encode(acts))  # the stored threshold plays no part
    assert_says(dictionary, acts, latents, weights.decode(latents))
    assert meaning.architecture == "AutoEncoderTopK"
    assert meaning.trained_on == {"model": "pythia", "layer": 4}


def test_older_topk_checkpoints_have_k_in_the_configuration_alone(tmp_path):
    path = write_dictionary_learning(tmp_path / "trainer_0", linear_state(toy()), "AutoEncoderTopK", k=2)
    assert dictionary_learning.read(path).dictionary.args["k"] == 2


def test_two_different_k_are_refused(tmp_path):
    path = write_dictionary_learning(tmp_path / "trainer_0", topk_state(toy()), "AutoEncoderTopK", k=4)
    with pytest.raises(ArtifactError, match=r"config\.json: says k=4, the weights beside it say 3"):
        dictionary_learning.read(path)


def test_an_unknown_class_is_refused(tmp_path):
    path = write_dictionary_learning(tmp_path / "trainer_0", linear_state(toy()), "CrossCoder")
    with pytest.raises(ArtifactError, match="dict_class 'CrossCoder' cannot be represented; only AutoEncoderTopK"):
        dictionary_learning.read(path)


def test_weights_without_their_configuration_are_refused(tmp_path):
    path = write_dictionary_learning(tmp_path / "trainer_0", topk_state(toy()), "AutoEncoderTopK", k=K)
    (path / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"names no trainer\.dict_class, so what the weights mean is unknown"):
        dictionary_learning.read(path)
    (path / "config.json").unlink()
    with pytest.raises(ArtifactError, match=r"config\.json: no such file"):
        dictionary_learning.read(path)


def test_tensors_of_another_architecture_are_refused(tmp_path):
    state = topk_state(toy()) | {"gate_bias": torch.ones(10)}
    path = write_dictionary_learning(tmp_path / "trainer_0", state, "AutoEncoderTopK", k=K)
    with pytest.raises(ArtifactError, match="meaning unknown to this format: gate_bias"):
        dictionary_learning.read(path)


def test_what_was_written_reads_back_the_same(tmp_path):
    path = write_dictionary_learning(tmp_path / "trainer_0", topk_state(toy()), "AutoEncoderTopK", k=K)
    dictionary = dictionary_learning.read(path).dictionary
    dictionary_learning.write(dictionary, tmp_path / "again")
    again = dictionary_learning.read(tmp_path / "again").dictionary
    assert again.args == dictionary.args
    for name, tensor in dictionary.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    trainer = json.loads((tmp_path / "again" / "config.json").read_text())["trainer"]
    assert trainer == {"dict_class": "AutoEncoderTopK", "activation_dim": 6, "dict_size": 10, "k": K}


def test_what_is_written_needs_no_more_than_the_restricted_reader(tmp_path):
    dictionary_learning.write(TopK(6, 10, K, norm="none"), tmp_path / "sae")
    state = torch.load(tmp_path / "sae" / "ae.pt", weights_only=True)
    assert state["k"].item() == K
    assert state["encoder.weight"].shape == (10, 6)


def test_what_the_format_lacks_cannot_be_written(tmp_path):
    with pytest.raises(SettingError, match="none: dictionary_learning has no input norm"):
        dictionary_learning.write(TopK(6, 10, K), tmp_path / "sae")
    with pytest.raises(SettingError, match="dictionary='Neurons' is not allowed"):
        dictionary_learning.write(Neurons(6), tmp_path / "sae")
    assert not (tmp_path / "sae").exists()
