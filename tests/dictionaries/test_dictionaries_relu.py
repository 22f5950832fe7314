import pytest
import torch
from small_dictionaries import AUTOENCODERS, NONE_DEAD, agree, dense, disturb_, identity_, random_acts
from torch import Tensor

from latentese.dictionaries.norm import apply_norm
from latentese.dictionaries.relu import ReLU
from latentese.errors import SettingError


def test_encode_keeps_what_is_positive_after_the_bias():
    relu = identity_(ReLU(3, 3, norm="none"))
    with torch.no_grad():
        relu.b_enc.copy_(torch.tensor([-1.0, 0.0, 0.5]))
        relu.b_dec.fill_(1.0)
    # minus b_dec: [2, -1, 0] and [0, 1, -2]; plus b_enc: [1, -1, .5] and [-1, 1, -1.5]
    acts = torch.tensor([[3.0, 0.0, 1.0], [1.0, 2.0, -1.0]])
    assert dense(relu, acts).tolist() == [[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]
    assert relu.pre_acts(acts).tolist() == [[1.0, -1.0, 0.5], [-1.0, 1.0, -1.5]]
    assert relu.decode(relu.encode(acts)).tolist() == [[2.0, 1.0, 1.5], [1.0, 2.0, 1.0]]


def naive_loss(relu: ReLU, acts: Tensor, coef: float) -> Tensor:
    x = apply_norm(acts, relu.norm).acts
    latents = torch.relu((x - relu.b_dec) @ relu.W_enc + relu.b_enc)
    recon = latents @ relu.W_dec + relu.b_dec
    l1 = latents.abs().sum(dim=1).mean() / relu.variance**0.5
    return (x - recon).square().sum(dim=1).mean() / relu.variance + coef * l1


@pytest.mark.parametrize("norm", ["none", "unit_norm"])
def test_gradients_agree_with_a_naive_dense_version(norm):
    ours, naive = (AUTOENCODERS["relu"](norm=norm, sparsity_coef=0.3, target_l0=None) for _ in range(2))
    for relu in (ours, naive):
        relu.prepare_(random_acts(500))
        disturb_(relu)
    acts = random_acts()
    loss, expected = ours.loss(acts, NONE_DEAD), naive_loss(naive, acts, 0.3)
    torch.testing.assert_close(loss.total, expected, atol=1e-5, rtol=1e-5)
    assert loss.aux.item() == 0.0
    loss.total.backward()
    expected.backward()
    for name, parameter in ours.named_parameters():
        agree(name, parameter.grad, naive.get_parameter(name).grad)


def test_the_penalty_does_not_depend_on_the_size_of_activations():
    def total(size: float) -> float:
        relu = ReLU(12, 40, norm="none", sparsity_coef=0.3)
        relu.prepare_(size * random_acts(500))
        return relu.loss(size * random_acts(), NONE_DEAD).total.item()

    assert total(1000.0) == pytest.approx(total(1.0), rel=1e-3)


def test_the_coefficient_moves_once_per_step_and_not_per_loss():
    relu = ReLU(12, 40, target_l0=2)
    relu.prepare_(random_acts(500))
    start = relu.sparsity.value()
    for _ in range(3):
        relu.loss(random_acts(), NONE_DEAD).total.backward()
    assert relu.sparsity.value() == start
    relu.before_step_()
    moved = relu.sparsity.value()
    assert moved > start  # half of the 40 latents are active, 2 are wished
    relu.before_step_()  # no batch since
    assert relu.sparsity.value() == moved
    assert relu.sparsity.n_tokens.item() == 64


def test_a_target_above_the_number_of_latents_is_refused():
    with pytest.raises(SettingError, match=r"dictionary.target_l0=41 is not allowed: above 0, at most n_latents=40"):
        ReLU(12, 40, target_l0=41)
