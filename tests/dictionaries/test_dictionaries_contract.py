"""What must hold of every dictionary, whatever its formula."""

import itertools
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_tokens import plant
from small_dictionaries import (
    AUTOENCODERS,
    D_MODEL,
    DICTIONARIES,
    N_LATENTS,
    NONE_DEAD,
    dense,
    disturb_,
    fitted,
    random_acts,
    weights,
)

from latentese.dictionaries import checkpoints
from latentese.dictionaries.base import Trainable
from latentese.dictionaries.norm import apply_norm
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.training import train_dictionary
from latentese.errors import SettingError
from latentese.store.artifact import open_draft

FITTED = {name: fitted(name) for name in DICTIONARIES}
TRAINABLE = [name for name, dictionary in FITTED.items() if isinstance(dictionary, Trainable)]
SETTINGS = TrainSettings(
    n_tokens=64 * 12, batch_tokens=64, lr=3e-3, dead_after_tokens=150, checkpoint_tokens=64 * 5, sample_tokens=512
)


@pytest.mark.parametrize("name", DICTIONARIES)
def test_values_are_positive_unless_signed_and_each_unit_stands_once(name):
    values, indices, mean, norm = FITTED[name].encode(random_acts())
    assert values.shape == indices.shape
    assert mean.shape == norm.shape == (64, 1)
    assert (values.dtype, indices.dtype) == (torch.float32, torch.int64)
    assert indices.min() >= 0
    assert indices.max() < FITTED[name].n_units
    assert (values >= 0).all() or FITTED[name].signed
    for row, active in zip(indices, values != 0, strict=True):
        assert len(row[active].unique()) == active.sum()


@pytest.mark.parametrize("name", DICTIONARIES)
def test_decode_is_linear_in_the_decoder_rows(name):
    dictionary, acts = FITTED[name], random_acts()
    assert dictionary.W_dec.shape == (dictionary.n_units, D_MODEL)
    unit_acts = dictionary.encode(acts)
    expected = (dense(dictionary, acts) @ dictionary.W_dec + dictionary.b_dec) * unit_acts.norm + unit_acts.mean
    torch.testing.assert_close(dictionary.decode(unit_acts), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", DICTIONARIES)
def test_encode_with_pre_acts_is_both(name):
    dictionary, acts = FITTED[name], random_acts()
    unit_acts, pre_acts = dictionary.encode_with_pre_acts(acts)
    torch.testing.assert_close(pre_acts, dictionary.pre_acts(acts))
    assert pre_acts.shape == (64, dictionary.n_units)
    together = torch.zeros_like(pre_acts).scatter_add(1, unit_acts.indices, unit_acts.values)
    torch.testing.assert_close(together, dense(dictionary, acts))
    # What is selected keeps its value: who selects otherwise (another k, a threshold) decodes from pre_acts.
    torch.testing.assert_close(together, torch.where(together != 0, pre_acts, 0.0))


@pytest.mark.parametrize("name", DICTIONARIES)
@settings(max_examples=20, deadline=None)
@given(chosen=st.lists(st.integers(0, 63), min_size=1, max_size=64))
def test_a_token_is_encoded_the_same_whatever_stands_beside_it(name, chosen):
    dictionary, acts = FITTED[name], random_acts()
    torch.testing.assert_close(dense(dictionary, acts[chosen]), dense(dictionary, acts)[chosen], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", DICTIONARIES)
def test_half_precision_activations_are_read_in_full(name):
    acts = random_acts().bfloat16()
    assert torch.equal(dense(FITTED[name], acts), dense(FITTED[name], acts.float()))


@pytest.mark.parametrize("name", DICTIONARIES)
def test_a_saved_dictionary_encodes_and_decodes_the_same(tmp_path, name):
    dictionary, acts = FITTED[name], random_acts()
    with open_draft(tmp_path / "dictionary", "dictionary", {}, {}) as draft:
        checkpoints.save(dictionary, draft.path)
        draft.publish({})
    loaded = checkpoints.load(tmp_path / "dictionary")
    assert type(loaded) is type(dictionary)
    assert loaded.args == dictionary.args == json.loads(json.dumps(dictionary.args))
    assert weights(loaded) == weights(dictionary)
    for one, other in zip(loaded.encode(acts), dictionary.encode(acts), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(loaded.decode(loaded.encode(acts)), dictionary.decode(dictionary.encode(acts)))


@pytest.mark.parametrize("name", DICTIONARIES)
def test_the_same_arguments_make_the_same_start(name):
    one, other = DICTIONARIES[name](), type(FITTED[name])(**DICTIONARIES[name]().args)
    assert weights(one) == weights(other)


@pytest.mark.parametrize("name", TRAINABLE)
@pytest.mark.parametrize("stop_after", [3, 7])
def test_stopped_anywhere_it_goes_on_to_the_same_bytes(tmp_path, name, stop_after):
    source = plant(n_tokens=640, d_model=D_MODEL)  # 12 steps of 64 cross into the second epoch
    whole, resumed = DICTIONARIES[name](), DICTIONARIES[name]()
    undisturbed = list(train_dictionary(whole, source, SETTINGS, tmp_path / "whole"))
    list(itertools.islice(train_dictionary(DICTIONARIES[name](), source, SETTINGS, tmp_path / "cut"), stop_after))
    assert list(train_dictionary(resumed, source, SETTINGS, tmp_path / "cut")) == undisturbed
    assert weights(resumed) == weights(whole)


@pytest.mark.parametrize("name", TRAINABLE)
def test_loss_changes_no_weight_and_no_buffer(name):
    dictionary = FITTED[name]
    before = weights(dictionary)
    dictionary.loss(random_acts(), torch.zeros(dictionary.n_units, dtype=torch.bool))
    assert weights(dictionary) == before


@pytest.mark.parametrize("name", TRAINABLE)
def test_a_constant_sample_is_refused(name):
    with pytest.raises(SettingError, match="all sampled activations are equal"):
        DICTIONARIES[name]().prepare_(torch.ones(100, D_MODEL))


@pytest.mark.parametrize("name", [name for name in DICTIONARIES if name != "neurons"])
def test_an_unknown_norm_is_refused_in_one_line(name):
    with pytest.raises(SettingError, match=r"dictionary.norm='batch' is not allowed: one of") as error:
        DICTIONARIES[name](norm="batch")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", AUTOENCODERS)
@pytest.mark.parametrize("size", ["d_model", "n_latents"])
def test_sizes_below_1_are_refused_in_one_line(name, size):
    with pytest.raises(SettingError, match=rf"dictionary.{size}=0 is not allowed: at least 1") as error:
        AUTOENCODERS[name](**{size: 0})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_prepare_starts_at_the_median_with_matching_norms_and_a_tied_encoder(name):
    dictionary, sample = AUTOENCODERS[name](), random_acts(500)
    dictionary.prepare_(sample)
    x = apply_norm(sample, "unit_norm").acts
    recon = dense(dictionary, sample) @ dictionary.W_dec
    ratio = recon.norm(dim=1).mean() / (x - dictionary.b_dec).norm(dim=1).mean()
    # BatchTopK leaves out the one value that equals the threshold; all others are exact.
    assert ratio.item() == pytest.approx(1.0, abs=2e-3)
    rows = dictionary.W_enc.t()
    torch.testing.assert_close(rows / rows.norm(dim=1, keepdim=True), dictionary.W_dec.data)
    assert dictionary.variance.item() == pytest.approx((x - x.mean(0)).square().sum(1).mean().item(), rel=1e-5)
    off_centre = [(x - point).norm(dim=1).sum() for point in (dictionary.b_dec, x.mean(0), torch.zeros(D_MODEL))]
    assert off_centre[0] == min(off_centre)


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_the_least_squares_start_has_the_least_error(name):
    dictionary, sample = AUTOENCODERS[name](start="least_squares"), random_acts(500)
    dictionary.prepare_(sample)
    centred = apply_norm(sample, "unit_norm").acts - dictionary.b_dec
    recon = dense(dictionary, sample) @ dictionary.W_dec
    left = [(centred - size * recon).square().sum().item() for size in (0.95, 1.0, 1.05)]
    assert min(left) == left[1]


@pytest.mark.parametrize("name", [*AUTOENCODERS, "topk"])
def test_an_unknown_start_is_refused_in_one_line(name):
    with pytest.raises(SettingError, match=r"dictionary.start='zero' is not allowed: one of") as error:
        DICTIONARIES[name](start="zero")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_decoder_rows_lose_the_parallel_gradient_and_keep_unit_norm(name):
    dictionary = AUTOENCODERS[name]()
    dictionary.prepare_(random_acts(500))
    dictionary.loss(random_acts(), NONE_DEAD).total.backward()
    along = (dictionary.W_dec.grad * dictionary.W_dec).sum(dim=1)
    assert along.abs().max() > 1e-4
    dictionary.before_step_()
    assert (dictionary.W_dec.grad * dictionary.W_dec).sum(dim=1).abs().max() < 1e-6
    disturb_(dictionary)
    dictionary.after_step_()
    torch.testing.assert_close(dictionary.W_dec.norm(dim=1), torch.ones(N_LATENTS))


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_loss_counts_what_is_active(name):
    dictionary, acts = fitted(name), random_acts()
    loss = dictionary.loss(acts, NONE_DEAD)
    active = dense(dictionary, acts) > 0
    if name in {"batch_topk", "matryoshka"}:  # encode keeps what is above the threshold, training 5 per token
        assert loss.l0.item() == 5.0
    else:
        assert loss.l0.item() == pytest.approx(active.sum().item() / 64)
        assert torch.equal(loss.fired, active.any(dim=0))
    assert loss.fired.shape == (N_LATENTS,)
    assert not (loss.fvu.requires_grad or loss.aux.requires_grad or loss.l0.requires_grad)
