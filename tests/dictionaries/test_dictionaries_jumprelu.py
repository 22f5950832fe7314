import math

import pytest
import torch
from small_dictionaries import AUTOENCODERS, NONE_DEAD, agree, dense, disturb_, identity_, random_acts
from torch import Tensor

from latentese.dictionaries.jumprelu import JumpReLU, jumprelu
from latentese.dictionaries.norm import apply_norm
from latentese.errors import SettingError


def test_what_exceeds_its_threshold_passes_whole():
    dictionary = identity_(JumpReLU(3, 3, norm="none"))
    with torch.no_grad():
        dictionary.log_threshold.copy_(torch.tensor([1.0, 2.0, 0.5]).log() / 10)
        dictionary.b_enc.copy_(torch.tensor([0.0, 0.0, 0.25]))
    torch.testing.assert_close(dictionary.threshold.data, torch.tensor([1.0, 2.0, 0.5]))
    # 1.5 > 1 passes; 1.5 < 2 does not; .3 + .25 > .5 passes with its bias; -3 is silent anywhere
    acts = torch.tensor([[1.5, 1.5, 0.3], [-3.0, 2.5, 0.2]])
    torch.testing.assert_close(dense(dictionary, acts), torch.tensor([[1.5, 0.0, 0.55], [0.0, 2.5, 0.0]]))
    torch.testing.assert_close(dictionary.pre_acts(acts)[0], torch.tensor([1.5, 1.5, 0.55]))


def test_its_gradients_by_hand():
    # width .4 around thresholds 1 and 2: near are 1.1, .9 (latent 0) and 2.1 (latent 1); 1.3 and 1.7 are not
    pre_acts = torch.tensor([[1.1, 1.7], [0.9, 2.1], [1.3, 3.0]], requires_grad=True)
    threshold = torch.tensor([1.0, 2.0], requires_grad=True)
    latents, l0 = jumprelu(pre_acts, threshold, torch.tensor(0.4))
    assert latents.tolist() == [[pytest.approx(1.1), 0.0], [0.0, pytest.approx(2.1)], [pytest.approx(1.3), 3.0]]
    assert l0.item() == pytest.approx(4 / 3)
    grad = torch.tensor([[1.0, 2.0], [4.0, 8.0], [16.0, 32.0]])
    ((latents * grad).sum() + 6 * l0).backward()
    assert pre_acts.grad.tolist() == [[1.0, 0.0], [0.0, 8.0], [16.0, 32.0]]  # the penalty reaches none of them
    # latent 0: -(1 / .4) * (1 + 4) from latents, -(1 / .4) * 6 * 2 / 3 from L0; latent 1: -(2 / .4) * 8 - (1 / .4) * 2
    torch.testing.assert_close(threshold.grad, torch.tensor([-12.5 - 10.0, -40.0 - 5.0]))


def naive_loss(dictionary: JumpReLU, acts: Tensor, coef: float) -> Tensor:
    """The estimator by definition: a step whose derivative in the threshold is -rectangle / bandwidth."""
    x = apply_norm(acts, dictionary.norm).acts
    z = (x - dictionary.b_dec) @ dictionary.W_enc + dictionary.b_enc
    theta = torch.exp(10 * dictionary.log_threshold)
    bandwidth = dictionary.bandwidth * dictionary.variance.sqrt()
    kernel = ((z - theta).abs() / bandwidth < 0.5).float().detach()
    step = (z > theta).float().detach()
    moved = theta - theta.detach()  # 0, with the gradient of theta
    latents = z * step - theta.detach() / bandwidth * kernel * moved
    l0 = (step - kernel / bandwidth * moved).sum(dim=1).mean()
    recon = latents @ dictionary.W_dec + dictionary.b_dec
    penalty = l0 if dictionary.target_l0 is None else (l0 / dictionary.target_l0 - 1) ** 2
    return (x - recon).square().sum(dim=1).mean() / dictionary.variance + coef * penalty


@pytest.mark.parametrize("target_l0", [None, 3.5])
def test_gradients_agree_with_a_naive_dense_version(target_l0):
    args = {"bandwidth": 0.2, "start_threshold": 0.1, "sparsity_coef": 0.3, "target_l0": target_l0}
    ours, naive = (AUTOENCODERS["jumprelu"](**args) for _ in range(2))
    for dictionary in (ours, naive):
        dictionary.prepare_(random_acts(500))
        disturb_(dictionary, 0.02)
    acts = random_acts()
    loss, expected = ours.loss(acts, NONE_DEAD), naive_loss(naive, acts, 0.3)
    torch.testing.assert_close(loss.total, expected, atol=1e-5, rtol=1e-5)
    loss.total.backward()
    expected.backward()
    for name, parameter in ours.named_parameters():
        agree(name, parameter.grad, naive.get_parameter(name).grad)


@pytest.mark.parametrize(("n_active", "sign"), [(2, 1), (20, -1)])
def test_a_target_pulls_thresholds_both_ways(n_active, sign):
    dictionary = AUTOENCODERS["jumprelu"](bandwidth=1.0, target_l0=n_active)
    dictionary.prepare_(random_acts(500))
    dictionary.target_l0 = 6.0  # it started with L0 at n_active
    penalty = dictionary._code(apply_norm(random_acts(), "unit_norm").acts).penalty
    (grad,) = torch.autograd.grad(penalty, dictionary.log_threshold)
    assert (grad * sign > 0).all()


def test_with_a_target_it_starts_there():
    dictionary = AUTOENCODERS["jumprelu"](target_l0=4)
    sample = random_acts(500)
    dictionary.prepare_(sample)
    # All but the one latent that equals the common threshold, which is not above it.
    assert (dense(dictionary, sample) > 0).sum().item() in range(1997, 2001)


def test_without_a_target_it_starts_at_its_threshold_in_units_of_the_activations():
    dictionary = AUTOENCODERS["jumprelu"](target_l0=None, start_threshold=0.25, norm="none")
    dictionary.prepare_(random_acts(500))
    expected = 0.25 * dictionary.variance.sqrt().item()
    torch.testing.assert_close(dictionary.threshold.data, torch.full((40,), expected))


@pytest.mark.parametrize("start_threshold", [0.001, 0.5])
def test_without_a_target_its_encoder_starts_as_that_of_a_relu(start_threshold):
    dictionary, relu = AUTOENCODERS["jumprelu"](target_l0=None, start_threshold=start_threshold), AUTOENCODERS["relu"]()
    for made in (dictionary, relu):
        made.prepare_(random_acts(500))
    torch.testing.assert_close(dictionary.W_enc, relu.W_enc)


def test_thresholds_are_logarithmic_with_a_unit_of_ten_e_folds():
    dictionary = JumpReLU(12, 40, start_threshold=0.001)
    assert dictionary.log_threshold[0].item() == pytest.approx(math.log(0.001) / 10)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"bandwidth": 0.0}, r"dictionary.bandwidth=0.0 is not allowed: above 0"),
        ({"start_threshold": -0.1}, r"dictionary.start_threshold=-0.1 is not allowed: above 0"),
        ({"target_l0": 41}, r"dictionary.target_l0=41 is not allowed: above 0, at most n_latents=40"),
        ({"sparsity_coef": -1.0}, r"dictionary.sparsity_coef=-1.0"),
    ],
)
def test_bad_settings_are_refused_in_one_line(args, message):
    with pytest.raises(SettingError, match=message) as error:
        JumpReLU(12, 40, **args)
    assert "\n" not in str(error.value)
