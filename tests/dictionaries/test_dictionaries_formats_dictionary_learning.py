import json

import pytest
import torch
from foreign_checkpoints import (
    K,
    assert_says,
    dense,
    keep_largest,
    linear_state,
    recon,
    toy,
    toy_acts,
    write_dictionary_learning,
)

from latentese.dictionaries.batch_topk import BatchTopK
from latentese.dictionaries.formats import dictionary_learning
from latentese.dictionaries.gated import Gated
from latentese.dictionaries.jumprelu import JumpReLU
from latentese.dictionaries.matryoshka import Matryoshka
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.relu import ReLU
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


def test_a_relu_checkpoint_has_rows_of_unit_norm_once_loaded(tmp_path):
    weights, acts = toy(), toy_acts()
    state = linear_state(weights)
    state["bias"] = state.pop("b_dec")
    dictionary, meaning = dictionary_learning.read(
        write_dictionary_learning(tmp_path / "trainer_0", state, "AutoEncoder")
    )
    latents = weights.encode(acts).relu()
    assert_says(dictionary, acts, latents * weights.W_dec.norm(dim=1), weights.decode(latents))
    assert "unit norm" in meaning.latents


def test_the_newer_relu_checkpoint_subtracts_nothing(tmp_path):
    weights, acts = toy(), toy_acts()
    state = linear_state(weights)
    state["decoder.bias"] = state.pop("b_dec")
    dictionary, meaning = dictionary_learning.read(
        write_dictionary_learning(tmp_path / "trainer_0", state, "AutoEncoderNew")
    )
    latents = weights.encode(acts, subtract=False).relu()
    assert_says(dictionary, acts, latents, weights.decode(latents))
    assert "did not subtract" in meaning.bias


def test_a_gated_checkpoint_encodes_as_its_formula_says(tmp_path):
    weights, acts, other = toy(), toy_acts(), toy(7)
    linear = linear_state(weights)
    r_mag, mag_bias = 0.5 * other.b_enc, other.b_enc.flip(0)
    state = {name: linear[name] for name in ("encoder.weight", "decoder.weight")}
    state |= {"gate_bias": weights.b_enc, "decoder_bias": weights.b_dec, "r_mag": r_mag, "mag_bias": mag_bias}
    path = write_dictionary_learning(tmp_path / "trainer_0", state, "GatedAutoEncoder")
    gate = weights.encode(acts)
    latents = (gate > 0) * (r_mag.exp() * (gate - weights.b_enc) + mag_bias).relu()
    assert_says(dictionary_learning.read(path).dictionary, acts, latents, weights.decode(latents))


def test_a_jumprelu_checkpoint_subtracts_nothing(tmp_path):
    weights, acts, threshold = toy(), toy_acts(), torch.linspace(-1, 3, 10)
    state = vars(weights) | {"threshold": threshold}
    path = write_dictionary_learning(tmp_path / "trainer_0", state, "JumpReluAutoEncoder")
    pre_acts = weights.encode(acts, subtract=False)
    latents = pre_acts.relu() * (pre_acts > threshold)
    assert_says(dictionary_learning.read(path).dictionary, acts, latents, weights.decode(latents))


@pytest.mark.parametrize("threshold", [0.8, -1.0])  # -1: training ended before one was set
def test_batch_topk_has_one_threshold(tmp_path, threshold):
    weights, acts = toy(), toy_acts()
    state = topk_state(weights) | {"threshold": torch.tensor(threshold)}
    path = write_dictionary_learning(tmp_path / "trainer_0", state, "BatchTopKSAE", k=K)
    dictionary, meaning = dictionary_learning.read(path)
    latents = weights.encode(acts).relu()
    latents = latents * (latents > threshold)
    assert_says(dictionary, acts, latents, weights.decode(latents))
    assert isinstance(dictionary, BatchTopK)
    assert meaning.threshold.startswith("one for all latents")


def matryoshka_state(groups):
    counts = {"k": torch.tensor(K), "threshold": torch.tensor(0.8), "group_sizes": torch.tensor(groups)}
    return vars(toy()) | counts


def test_matryoshka_keeps_its_groups(tmp_path):
    acts, weights = toy_acts(), toy()
    state = matryoshka_state([2, 3, 5])
    path = write_dictionary_learning(tmp_path / "trainer_0", state, "MatryoshkaBatchTopKSAE", k=K)
    dictionary = dictionary_learning.read(path).dictionary
    latents = weights.encode(acts).relu()
    latents = latents * (latents > 0.8)
    assert_says(dictionary, acts, latents, weights.decode(latents))
    assert dictionary.args["prefix_sizes"] == [2, 5]


@pytest.mark.parametrize("groups", [[2, 3], [0, 10]])
def test_groups_that_do_not_add_up_are_refused(tmp_path, groups):
    path = write_dictionary_learning(tmp_path / "t", matryoshka_state(groups), "MatryoshkaBatchTopKSAE", k=K)
    with pytest.raises(ArtifactError, match="must be positive and add up to 10, its latents"):
        dictionary_learning.read(path)


def test_older_topk_checkpoints_have_k_in_the_configuration_alone(tmp_path):
    path = write_dictionary_learning(tmp_path / "trainer_0", linear_state(toy()), "AutoEncoderTopK", k=2)
    assert dictionary_learning.read(path).dictionary.args["k"] == 2


def test_two_different_k_are_refused(tmp_path):
    path = write_dictionary_learning(tmp_path / "trainer_0", topk_state(toy()), "AutoEncoderTopK", k=4)
    with pytest.raises(ArtifactError, match=r"config\.json: says k=4, the weights beside it say 3"):
        dictionary_learning.read(path)


def test_an_unknown_class_is_refused(tmp_path):
    path = write_dictionary_learning(tmp_path / "trainer_0", linear_state(toy()), "CrossCoder")
    with pytest.raises(ArtifactError, match="dict_class 'CrossCoder' cannot be represented; only AutoEncoder, "):
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


OTHERS = {
    "AutoEncoder": lambda: ReLU(6, 10, norm="none"),
    "GatedAutoEncoder": lambda: Gated(6, 10, norm="none"),
    "JumpReluAutoEncoder": lambda: JumpReLU(6, 10, norm="none"),
    "BatchTopKSAE": lambda: BatchTopK(6, 10, K, norm="none"),
    "MatryoshkaBatchTopKSAE": lambda: Matryoshka(6, 10, K, [2, 5], norm="none"),
}


@pytest.mark.parametrize("dict_class", OTHERS)
def test_every_other_class_reads_back_the_same(tmp_path, dict_class):
    dictionary, acts = OTHERS[dict_class](), toy_acts()
    generator = torch.Generator().manual_seed(11)
    for name, tensor in dictionary.state_dict().items():
        if not name.startswith(("sparsity", "W_dec")):
            tensor.copy_(0.3 * torch.rand(tensor.shape, generator=generator))
    dictionary_learning.write(dictionary, tmp_path / "sae")
    trainer = json.loads((tmp_path / "sae" / "config.json").read_text())["trainer"]
    assert trainer["dict_class"] == dict_class
    again = dictionary_learning.read(tmp_path / "sae").dictionary
    assert type(again) is type(dictionary)
    torch.testing.assert_close(dense(again, acts), dense(dictionary, acts), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(recon(again, acts), recon(dictionary, acts), rtol=1e-5, atol=1e-5)


def test_relu_with_other_rows_than_its_loader_makes_cannot_be_written(tmp_path):
    dictionary = ReLU(6, 10, norm="none")
    dictionary.W_dec.data.mul_(2)
    with pytest.raises(SettingError, match="decoder rows have unit norm: the loader would change others"):
        dictionary_learning.write(dictionary, tmp_path / "sae")


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
