import re

import pytest
import torch
from foreign_checkpoints import N_LATENTS, Toy, assert_says, keep_largest, toy, toy_acts, write_openai

from latentese.dictionaries.formats import openai
from latentese.errors import ArtifactError


def normed(acts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Activations as the paper's released code reads them, with what undoes it."""
    mean = acts.mean(dim=1, keepdim=True)
    std = acts.std(dim=1, keepdim=True)
    return (acts - mean) / (std + 1e-5), mean, std


@pytest.mark.parametrize("size", [1.0, 1e-4])  # at the second, 1e-5 is a tenth of the standard deviation
def test_a_checkpoint_encodes_as_its_formula_says(tmp_path, size):
    weights, acts = toy(), size * toy_acts()
    dictionary, meaning = openai.read(write_openai(tmp_path / "autoencoder.pt", weights))
    x, mean, std = normed(acts)
    latents = keep_largest(weights.encode(x))
    assert_says(dictionary, acts, latents, weights.decode(latents) * std + mean)
    assert meaning.norm.startswith("layernorm_std")
    assert list(meaning.files) == ["autoencoder.pt"]


def test_a_tied_decoder_is_the_encoder_transposed(tmp_path):
    weights, acts = toy(), toy_acts()
    tied = {"decoder.weight": None, "decoder.linear.weight": weights.W_enc.t().contiguous()}
    path = write_openai(tmp_path / "tied.pt", weights, **tied)
    x, mean, std = normed(acts)
    latents = keep_largest(weights.encode(x))
    twin = Toy(weights.W_enc, weights.b_enc, weights.W_enc.t(), weights.b_dec)
    assert_says(openai.read(path).dictionary, acts, latents, twin.decode(latents) * std + mean)


def test_k_may_be_a_tensor(tmp_path):
    chosen = {"k": torch.tensor(4), "postact_fn": "ReLU"}
    path = write_openai(tmp_path / "ae.pt", toy(), activation_state_dict=chosen)
    assert openai.read(path).dictionary.args["k"] == 4


def test_a_relu_checkpoint_has_no_norm(tmp_path):
    weights, acts = toy(), toy_acts()
    path = write_openai(tmp_path / "ae.pt", weights, activation="ReLU", activation_state_dict={})
    dictionary, meaning = openai.read(path)
    latents = weights.encode(acts).relu()
    assert_says(dictionary, acts, latents, weights.decode(latents))
    assert (meaning.architecture, meaning.norm) == ("ReLU", "none: activations are read as they are")


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"activation": "JumpReLU"}, "activation 'JumpReLU' cannot be represented"),
        ({"activation_state_dict": {"k": 3, "postact_fn": "Identity"}}, "postact_fn: only ReLU"),
        ({"activation_state_dict": {}}, "k must be a whole number from 1 to 10, its latents; found None"),
        ({"gate": torch.ones(N_LATENTS)}, "holds tensors with a meaning unknown to this format: gate"),
        ({"latent_bias": torch.ones(N_LATENTS + 1)}, r"'latent_bias' has shape \[11\], expected \[10\]"),
        ({"decoder.weight": None}, "holds no tensor 'decoder.weight'"),
    ],
)
def test_what_cannot_be_represented_is_one_line(tmp_path, changed, problem):
    path = write_openai(tmp_path / "ae.pt", toy(), **changed)
    with pytest.raises(ArtifactError, match=rf"^{re.escape(str(path))}: {problem}") as error:
        openai.read(path)
    assert "\n" not in str(error.value)
