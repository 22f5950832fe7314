import json

import pytest
import torch
from foreign_checkpoints import (
    D_MODEL,
    N_LATENTS,
    K,
    Toy,
    assert_says,
    dense,
    keep_largest,
    recon,
    toy,
    toy_acts,
    write_sae_lens,
)
from safetensors.torch import load_file, save_file

from latentese.dictionaries.batch_topk import BatchTopK
from latentese.dictionaries.formats import sae_lens
from latentese.dictionaries.gated import Gated
from latentese.dictionaries.jumprelu import JumpReLU
from latentese.dictionaries.matryoshka import Matryoshka
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.prolu import ProLU
from latentese.dictionaries.relu import ReLU
from latentese.dictionaries.topk import TopK
from latentese.errors import ArtifactError, SettingError


def test_a_topk_checkpoint_encodes_as_its_formula_says(tmp_path):
    weights, acts = toy(), toy_acts()
    dictionary, meaning = sae_lens.read(write_sae_lens(tmp_path / "sae", weights))
    latents = keep_largest(weights.encode(acts))
    assert_says(dictionary, acts, latents, weights.decode(latents))
    assert meaning.bias == "b_dec is subtracted before encoding and added after decoding"
    assert meaning.trained_on == {"model_name": "gpt2", "hook_name": "blocks.8.hook_resid_pre"}


def test_where_b_dec_is_not_applied_to_the_input_it_is_folded(tmp_path):
    weights, acts = toy(), toy_acts()
    dictionary, meaning = sae_lens.read(write_sae_lens(tmp_path / "sae", weights, apply_b_dec_to_input=False))
    latents = keep_largest(weights.encode(acts, subtract=False))
    assert_says(dictionary, acts, latents, weights.decode(latents))
    assert "did not subtract b_dec" in meaning.bias


def test_rescaling_by_decoder_norms_chooses_by_them(tmp_path):
    weights, acts = toy(), toy_acts()
    dictionary, meaning = sae_lens.read(write_sae_lens(tmp_path / "sae", weights, rescale_acts_by_decoder_norm=True))
    norms = weights.W_dec.norm(dim=1)
    latents = keep_largest(weights.encode(acts) * norms)
    assert_says(dictionary, acts, latents, weights.decode(latents / norms))
    assert not torch.equal(latents > 0, keep_largest(weights.encode(acts)) > 0)  # norms do change the choice
    torch.testing.assert_close(dictionary.W_dec.norm(dim=1), torch.ones(N_LATENTS))
    assert "row norms" in meaning.latents


def test_layer_norm_is_ours_with_the_standard_deviation(tmp_path):
    weights, acts = toy(), toy_acts()
    dictionary, meaning = sae_lens.read(write_sae_lens(tmp_path / "sae", weights, normalize_activations="layer_norm"))
    mean, std = acts.mean(dim=1, keepdim=True), acts.std(dim=1, keepdim=True)
    latents = keep_largest(weights.encode((acts - mean) / (std + 1e-5)))
    assert_says(dictionary, acts, latents, weights.decode(latents) * std + mean)
    assert meaning.norm == "layernorm_std (layer_norm)"


def test_constant_norm_rescale_is_ours_with_the_root_mean_square(tmp_path):
    weights, acts = toy(), toy_acts()
    path = write_sae_lens(tmp_path / "sae", weights, normalize_activations="constant_norm_rescale")
    factor = D_MODEL**0.5 / acts.norm(dim=1, keepdim=True)
    latents = keep_largest(weights.encode(acts * factor))
    assert_says(sae_lens.read(path).dictionary, acts, latents, weights.decode(latents) / factor)


@pytest.mark.parametrize("factor", [0.25, 2])  # JSON writes a whole number without a point
def test_a_factor_on_activations_that_was_not_folded_is_folded(tmp_path, factor):
    weights, acts = toy(), toy_acts()
    path = write_sae_lens(tmp_path / "sae", weights, normalize_activations="expected_average_only_in")
    (path / "activation_scaler.json").write_text(json.dumps({"scaling_factor": factor}))
    dictionary, meaning = sae_lens.read(path)
    latents = keep_largest(weights.encode(factor * acts))
    assert_says(dictionary, acts, latents, weights.decode(latents) / factor)
    assert f"factor {factor} on activations" in meaning.norm
    assert "activation_scaler.json" in meaning.files


def add_tensors(path, **tensors):
    file = path / "sae_weights.safetensors"
    save_file({name: t for name, t in {**load_file(file), **tensors}.items() if t is not None}, file)


def test_a_standard_checkpoint_encodes_as_its_formula_says(tmp_path):
    weights, acts = toy(), toy_acts()
    dictionary, meaning = sae_lens.read(write_sae_lens(tmp_path / "sae", weights, architecture="standard"))
    latents = weights.encode(acts).relu()
    assert_says(dictionary, acts, latents, weights.decode(latents))
    assert meaning.threshold.startswith("0: a latent is active where its pre-activation is above it")


THRESHOLDS = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, -0.1, 0.0, 0.3, 3.0, 0.01])


@pytest.mark.parametrize("subtract", [True, False])
def test_a_jumprelu_checkpoint_encodes_as_its_formula_says(tmp_path, subtract):
    weights, acts = toy(), toy_acts()
    path = write_sae_lens(tmp_path / "sae", weights, architecture="jumprelu", apply_b_dec_to_input=subtract)
    add_tensors(path, threshold=THRESHOLDS)
    pre_acts = weights.encode(acts, subtract)
    latents = pre_acts.relu() * (pre_acts > THRESHOLDS)
    assert_says(sae_lens.read(path).dictionary, acts, latents, weights.decode(latents))


def test_thresholds_come_back_closely_and_those_below_zero_as_zero(tmp_path):
    path = write_sae_lens(tmp_path / "sae", toy(), architecture="jumprelu")
    add_tensors(path, threshold=THRESHOLDS)
    read = sae_lens.read(path).dictionary
    torch.testing.assert_close(read.threshold, THRESHOLDS.clamp_min(0), rtol=2e-6, atol=0)


@pytest.mark.parametrize("subtract", [True, False])
def test_a_gated_checkpoint_encodes_as_its_formula_says(tmp_path, subtract):
    weights, acts, other = toy(), toy_acts(), toy(7)
    path = write_sae_lens(tmp_path / "sae", weights, architecture="gated", apply_b_dec_to_input=subtract)
    r_mag, b_mag = 0.5 * other.b_enc, other.b_enc.flip(0)
    add_tensors(path, b_gate=weights.b_enc, r_mag=r_mag, b_mag=b_mag, b_enc=None)
    dictionary, meaning = sae_lens.read(path)
    gate = weights.encode(acts, subtract)
    latents = (gate > 0) * (r_mag.exp() * (gate - weights.b_enc) + b_mag).relu()
    assert_says(dictionary, acts, latents, weights.decode(latents))
    assert "gate" in meaning.threshold


def write_old(folder, weights, /, **cfg):
    """The layout before release 6: one level, no version, an activation function beside the architecture."""
    old = {"metadata": None, "k": None, "architecture": None, "rescale_acts_by_decoder_norm": None}
    old |= {"hook_name": "blocks.8.hook_z", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}
    return write_sae_lens(folder, weights, **{**old, **cfg})


def test_older_layouts_are_read(tmp_path):
    weights, acts = toy(), toy_acts()
    path = write_old(tmp_path / "sae", weights, normalize_activations=False, apply_b_dec_to_input=None)
    dictionary, meaning = sae_lens.read(path)
    latents = keep_largest(weights.encode(acts))
    assert_says(dictionary, acts, latents, weights.decode(latents))
    assert meaning.architecture == "topk"
    assert meaning.trained_on["hook_name"] == "blocks.8.hook_z"


def test_a_scaling_factor_of_ones_scales_nothing(tmp_path):
    path = write_old(tmp_path / "sae", toy(), finetuning_scaling_factor=True)
    tensors = load_file(path / "sae_weights.safetensors")
    save_file(tensors | {"scaling_factor": torch.ones(N_LATENTS)}, path / "sae_weights.safetensors")
    assert isinstance(sae_lens.read(path).dictionary, TopK)
    save_file(tensors | {"scaling_factor": torch.full((N_LATENTS,), 1.1)}, path / "sae_weights.safetensors")
    with pytest.raises(ArtifactError, match="scaling_factor rescales latents after finetuning"):
        sae_lens.read(path)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"architecture": "transcoder"}, "architecture 'transcoder' cannot be represented; only"),
        ({"architecture": "batchtopk"}, "architecture 'batchtopk' cannot be represented; only"),
        ({"normalize_activations": "covariance_whitening"}, "'covariance_whitening' cannot be represented"),
        ({"normalize_activations": "expected_average_only_in"}, "needs its scaling_factor, which is not in"),
        ({"k": 0}, "k must be a whole number from 1 to 10"),
    ],
)
def test_what_cannot_be_represented_is_one_line(tmp_path, changed, problem):
    with pytest.raises(ArtifactError, match=problem) as error:
        sae_lens.read(write_sae_lens(tmp_path / "sae", toy(), **changed))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'sae' / 'cfg.json'}: ")


def test_other_activation_functions_of_older_layouts_are_refused(tmp_path):
    path = write_old(tmp_path / "sae", toy(), architecture="standard", activation_fn_str="tanh-relu")
    with pytest.raises(ArtifactError, match="architecture 'standard with activation tanh-relu' cannot be"):
        sae_lens.read(path)


def test_sizes_that_disagree_with_the_weights_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"'W_dec' has shape \[10, 6\], expected \[10, 7\]"):
        sae_lens.read(write_sae_lens(tmp_path / "sae", toy(), d_in=7))


def filled(norm: str) -> TopK:
    dictionary, weights = TopK(D_MODEL, N_LATENTS, K, norm=norm), toy(2)
    dictionary.load_state_dict({**vars(weights), "variance": torch.ones(())})
    return dictionary


def random_(dictionary):
    """Fill every tensor of a dictionary with numbers of its own."""
    generator = torch.Generator().manual_seed(11)
    for name, tensor in dictionary.state_dict().items():
        if not name.startswith("sparsity"):
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    return dictionary


@pytest.mark.parametrize("make", [ReLU, Gated, JumpReLU])
@pytest.mark.parametrize("norm", ["none", "layernorm_std", "rms"])
def test_every_architecture_reads_back_the_same(tmp_path, make, norm):
    dictionary, acts = random_(make(D_MODEL, N_LATENTS, norm=norm)), toy_acts()
    sae_lens.write(dictionary, tmp_path / "sae")
    again = sae_lens.read(tmp_path / "sae").dictionary
    assert type(again) is make
    assert again.norm == norm
    torch.testing.assert_close(dense(again, acts), dense(dictionary, acts), rtol=1e-6, atol=1e-6)
    assert torch.equal(again.W_dec, dictionary.W_dec)


@pytest.mark.parametrize("make", [BatchTopK, lambda d, n, k: Matryoshka(d, n, k, [2, 5])])
def test_one_threshold_is_written_as_one_per_latent(tmp_path, make):
    dictionary, acts = random_(make(D_MODEL, N_LATENTS, K)), toy_acts()
    dictionary.threshold.fill_(0.4)
    sae_lens.write(dictionary, tmp_path / "sae")
    again = sae_lens.read(tmp_path / "sae").dictionary
    assert isinstance(again, JumpReLU)
    torch.testing.assert_close(again.threshold, torch.full((N_LATENTS,), 0.4), rtol=2e-6, atol=0)
    torch.testing.assert_close(dense(again, acts), dense(dictionary, acts), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("norm", ["none", "layernorm_std", "rms"])
def test_what_was_written_reads_back_the_same(tmp_path, norm):
    dictionary = filled(norm)
    sae_lens.write(dictionary, tmp_path / "sae")
    again = sae_lens.read(tmp_path / "sae").dictionary
    assert again.norm == norm
    for name, tensor in dictionary.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_unit_norm_is_written_as_layer_norm_with_the_factor_in_the_weights(tmp_path):
    dictionary, acts = filled("unit_norm"), toy_acts()
    sae_lens.write(dictionary, tmp_path / "sae")
    cfg = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    assert cfg["normalize_activations"] == "layer_norm"
    written = Toy(**{name: load_file(tmp_path / "sae" / "sae_weights.safetensors")[name] for name in vars(toy())})
    # unit_norm is layer_norm / sqrt(d_model - 1) = layer_norm / sqrt(5)
    torch.testing.assert_close(written.b_dec, dictionary.b_dec.detach() * 5**0.5)
    again = sae_lens.read(tmp_path / "sae").dictionary
    # Standard deviations here are about 3, so the epsilon in theirs is 3e-6 of them.
    torch.testing.assert_close(dense(again, acts), dense(dictionary, acts), rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(recon(again, acts), recon(dictionary, acts), rtol=2e-5, atol=2e-5)


def test_other_dictionaries_cannot_be_written(tmp_path):
    for other in (Neurons(6), ProLU(6, 10)):
        with pytest.raises(SettingError, match=f"dictionary='{type(other).__name__}' is not allowed: TopK, ReLU"):
            sae_lens.write(other, tmp_path / "sae")
    assert not (tmp_path / "sae").exists()
