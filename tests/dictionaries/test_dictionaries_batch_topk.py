import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from planted_tokens import plant
from small_dictionaries import (
    AUTOENCODERS,
    N_LATENTS,
    NONE_DEAD,
    agree,
    dense,
    disturb_,
    identity_,
    random_acts,
    weights,
)
from torch import Tensor

from latentese.dictionaries.autoencoder import smallest_kept
from latentese.dictionaries.batch_topk import BatchTopK
from latentese.dictionaries.losses import normalised_error
from latentese.dictionaries.norm import apply_norm
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.training import train_dictionary
from latentese.errors import SettingError

SETTINGS = TrainSettings(n_tokens=256 * 12, batch_tokens=256, lr=3e-3, checkpoint_tokens=256 * 5, sample_tokens=1024)
SILENT = torch.zeros(3, dtype=torch.bool)

KILLED = """
import os, signal, sys
from pathlib import Path
from planted_tokens import plant
from test_dictionaries_batch_topk import SETTINGS, small
from latentese.dictionaries.training import train_dictionary

import torch
torch.set_num_threads(1)
for log in train_dictionary(small(), plant(2560), SETTINGS, Path(sys.argv[1])):
    if log.step == 8:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def small() -> BatchTopK:
    return BatchTopK(32, 96, 3, norm="none")


def test_a_batch_shares_its_budget():
    dictionary = identity_(BatchTopK(3, 3, 1, norm="none"))
    # 2 tokens, k = 1: the two largest of all six, 3 and 2, both of the first token
    loss = dictionary.loss(torch.tensor([[3.0, 2.0, -1.0], [1.0, 0.5, -2.0]]), SILENT)
    assert loss.l0.item() == 1.0
    assert loss.fired.tolist() == [True, True, False]
    # squared errors: 1 of the first token; 1 + .25 + 4 of the second; variance is 1 before prepare_
    assert loss.fvu.item() == pytest.approx((1.0 + 5.25) / 2)


def test_encode_compares_each_token_with_the_threshold():
    dictionary = identity_(BatchTopK(3, 3, 1, norm="none"))
    dictionary.threshold.fill_(0.75)
    acts = torch.tensor([[3.0, 2.0, -1.0], [1.0, 0.5, -2.0]])
    assert dense(dictionary, acts).tolist() == [[3.0, 2.0, 0.0], [1.0, 0.0, 0.0]]


def test_fewer_positive_latents_than_the_budget_are_all_kept():
    dictionary = identity_(BatchTopK(3, 3, 2, norm="none"))
    loss = dictionary.loss(torch.tensor([[3.0, -2.0, -1.0], [-1.0, -0.5, -2.0]]), SILENT)
    assert loss.l0.item() == 0.5
    dictionary.before_step_()
    assert dictionary.threshold.item() == 0.0


def test_smallest_kept_is_the_last_of_the_largest():
    pre_acts = torch.tensor([[5.0, 1.0, 4.0], [-1.0, 3.0, 2.0]])
    assert [smallest_kept(pre_acts, k).item() for k in (0.5, 1, 1.5, 2, 3)] == [5.0, 4.0, 3.0, 2.0, 0.0]


def test_the_threshold_is_a_running_average_with_a_corrected_start():
    dictionary = identity_(BatchTopK(3, 3, 1, norm="none"))
    smallest = []
    for scale in (1.0, 2.0, 4.0):
        # k = 1, one token: its largest is also the smallest kept
        dictionary.loss(scale * torch.tensor([[1.0, 0.5, -1.0]]), SILENT).total.backward()
        dictionary.before_step_()
        smallest.append(dictionary.threshold.item())
    # Adam's way: sums of (1 - d) d^age x, divided by 1 - d^t, with d = .99
    sums = [1.0, 0.99 * 1 + 2, 0.99**2 * 1 + 0.99 * 2 + 4]
    expected = [total * 0.01 / (1 - 0.99**step) for step, total in enumerate(sums, start=1)]
    assert smallest == pytest.approx(expected, rel=1e-5)
    dictionary.before_step_()  # no batch since
    assert dictionary.n_averaged.item() == 3


def naive_loss(dictionary: BatchTopK, acts: Tensor, dead: Tensor) -> Tensor:
    x = apply_norm(acts, dictionary.norm).acts
    pre_acts = (x - dictionary.b_dec) @ dictionary.W_enc + dictionary.b_enc
    chosen = pre_acts.relu().flatten().topk(dictionary.k * len(x))
    latents = torch.zeros(pre_acts.numel()).scatter(0, chosen.indices, chosen.values).view_as(pre_acts)
    recon = latents @ dictionary.W_dec + dictionary.b_dec
    error = (x - recon).detach()
    n_aux = min(dictionary.aux.k, int(dead.sum()))
    kth_dead = pre_acts.masked_fill(~dead, -torch.inf).topk(n_aux, dim=1).values[:, -1:]
    revived = torch.where(dead & (pre_acts >= kth_dead), pre_acts, torch.zeros(())).relu()
    fvu = (x - recon).square().sum(dim=1).mean() / dictionary.variance
    return fvu + dictionary.aux.coef * normalised_error(error, revived @ dictionary.W_dec)


@pytest.mark.parametrize("n_dead", [4, 20])  # fewer and more than k_aux
def test_gradients_agree_with_a_naive_dense_version(n_dead):
    dead = torch.arange(N_LATENTS) < n_dead
    ours, naive = (AUTOENCODERS["batch_topk"](aux_coef=0.7) for _ in range(2))
    for dictionary in (ours, naive):
        dictionary.prepare_(random_acts(500))
        disturb_(dictionary)
    acts = random_acts()
    loss, expected = ours.loss(acts, dead), naive_loss(naive, acts, dead)
    torch.testing.assert_close(loss.total, expected, atol=1e-5, rtol=1e-5)
    assert loss.aux.item() > 0
    loss.total.backward()
    expected.backward()
    for name, parameter in ours.named_parameters():
        agree(name, parameter.grad, naive.get_parameter(name).grad)


def test_auxk_gradient_reaches_encoder_and_decoder_of_dead_latents_only():
    dictionary, acts = AUTOENCODERS["batch_topk"](), random_acts()
    dictionary.prepare_(random_acts(500))
    dead = torch.zeros(N_LATENTS, dtype=torch.bool)
    dead[10:14] = True

    def gradients(with_aux: bool) -> tuple[Tensor, Tensor]:
        dictionary.zero_grad()
        dictionary.loss(acts, dead & with_aux).total.backward()
        return dictionary.W_enc.grad.clone(), dictionary.W_dec.grad.clone()

    with_enc, with_dec = gradients(True)
    without_enc, without_dec = gradients(False)
    moved_enc, moved_dec = (with_enc - without_enc).norm(dim=0), (with_dec - without_dec).norm(dim=1)
    assert (moved_enc[dead] > 1e-4).all()
    assert (moved_dec[dead] > 1e-4).all()
    assert moved_enc[~dead].max() < 1e-6
    assert moved_dec[~dead].max() < 1e-6


def test_no_dead_latents_or_coefficient_0_mean_no_aux_loss():
    acts = random_acts()
    assert AUTOENCODERS["batch_topk"]().loss(acts, NONE_DEAD).aux.item() == 0.0
    assert AUTOENCODERS["batch_topk"](aux_coef=0.0).loss(acts, ~NONE_DEAD).aux.item() == 0.0
    assert AUTOENCODERS["batch_topk"]().loss(acts, ~NONE_DEAD).aux.item() > 0.0


def test_after_training_encode_spends_about_k_per_token(tmp_path):
    source, dictionary = plant(), small()
    settings = TrainSettings(n_tokens=512 * 120, batch_tokens=512, lr=1e-2, decay=0.5)
    list(train_dictionary(dictionary, source, settings, tmp_path / "checkpoint"))
    per_token = (dictionary.encode(source.acts).values > 0).sum(dim=1).float()
    assert per_token.mean().item() == pytest.approx(3, rel=0.1)
    assert per_token.unique().numel() > 2  # tokens differ in what they need


def test_killed_and_run_again_it_gives_the_bytes_of_an_undisturbed_run(tmp_path):
    whole, resumed = small(), small()
    undisturbed = list(train_dictionary(whole, plant(2560), SETTINGS, tmp_path / "whole"))
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), *sys.path]), "OMP_NUM_THREADS": "1"}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "killed")], env=environment, check=False, timeout=600
    )
    assert killed.returncode == -signal.SIGKILL
    assert list(train_dictionary(resumed, plant(2560), SETTINGS, tmp_path / "killed")) == undisturbed
    assert weights(resumed) == weights(whole)
    assert {"threshold", "n_averaged"} <= weights(whole).keys()
    assert whole.n_averaged.item() == 12


def test_with_averaged_weights_resuming_is_exact_too(tmp_path):
    settings = TrainSettings(**{**vars(SETTINGS), "ema": 0.9})
    whole, resumed = small(), small()
    list(train_dictionary(whole, plant(2560), settings, tmp_path / "whole"))
    steps = train_dictionary(small(), plant(2560), settings, tmp_path / "cut")
    for _ in range(7):
        next(steps)
    steps.close()
    list(train_dictionary(resumed, plant(2560), settings, tmp_path / "cut"))
    assert weights(resumed) == weights(whole)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"k": 0}, r"dictionary.k=0 is not allowed: 1 to n_latents=40"),
        ({"k": 41}, r"dictionary.k=41 is not allowed: 1 to n_latents=40"),
        ({"k_aux": 41}, r"dictionary.k_aux=41 is not allowed: 1 to n_latents=40"),
        ({"k_aux": 0}, r"dictionary.k_aux=0"),
        ({"aux_coef": -1.0}, r"dictionary.aux_coef=-1.0 is not allowed: at least 0"),
    ],
)
def test_bad_settings_are_refused_in_one_line(args, message):
    with pytest.raises(SettingError, match=message) as error:
        AUTOENCODERS["batch_topk"](**args)
    assert "\n" not in str(error.value)


def test_k_aux_defaults_to_the_power_of_two_nearest_to_half_the_width():
    assert BatchTopK(576, 2048, 32).aux.k == 256
    assert BatchTopK(576, 64, 32).aux.k == 64  # never more than there are
