import math

import torch
from small_dictionaries import AUTOENCODERS, NONE_DEAD, agree, dense, disturb_, identity_, random_acts
from torch import Tensor

from latentese.dictionaries.gated import Gated
from latentese.dictionaries.norm import apply_norm


def test_the_gate_decides_and_the_magnitude_says_how_much():
    gated = identity_(Gated(3, 3, norm="none"))
    with torch.no_grad():
        gated.b_enc.copy_(torch.tensor([-1.0, -1.0, 0.5]))
        gated.r_mag.copy_(torch.tensor([math.log(2.0), 0.0, 0.0]))
        gated.b_mag.copy_(torch.tensor([0.5, 0.0, -3.0]))
    # gates: 1.5 - 1 open; .5 - 1 shut; 2 + .5 open. Magnitudes: 2 * 1.5 + .5 = 3.5; .5, unused; 2 - 3 < 0, so 0.
    acts = torch.tensor([[1.5, 0.5, 2.0]])
    torch.testing.assert_close(dense(gated, acts), torch.tensor([[3.5, 0.0, 0.0]]))
    torch.testing.assert_close(gated.pre_acts(acts), torch.tensor([[3.5, 0.5, -1.0]]))


def naive_loss(gated: Gated, acts: Tensor, coef: float) -> Tensor:
    """The loss of Rajamanoharan et al. 2024a, in its own letters."""
    x = apply_norm(acts, gated.norm).acts
    W_mag = gated.W_enc * torch.exp(gated.r_mag)
    pi_gate = (x - gated.b_dec) @ gated.W_enc + gated.b_enc
    f_mag = torch.relu((x - gated.b_dec) @ W_mag + gated.b_mag)
    f = torch.where(pi_gate > 0, f_mag, torch.zeros(()))
    reconstruct = (x - f @ gated.W_dec - gated.b_dec).square().sum(dim=1).mean()
    frozen_W, frozen_b = gated.W_dec.detach().clone(), gated.b_dec.detach().clone()
    auxiliary = (x - torch.relu(pi_gate) @ frozen_W - frozen_b).square().sum(dim=1).mean()
    sparsity = torch.relu(pi_gate).sum(dim=1).mean() / gated.variance.sqrt()
    return (reconstruct + auxiliary) / gated.variance + coef * sparsity


def both() -> tuple[Gated, Gated]:
    pair = tuple(AUTOENCODERS["gated"](sparsity_coef=0.3) for _ in range(2))
    for gated in pair:
        gated.prepare_(random_acts(500))
        disturb_(gated)
    return pair


def test_gradients_agree_with_a_naive_dense_version():
    ours, naive = both()
    acts = random_acts()
    loss, expected = ours.loss(acts, NONE_DEAD), naive_loss(naive, acts, 0.3)
    torch.testing.assert_close(loss.total, expected, atol=1e-5, rtol=1e-5)
    loss.total.backward()
    expected.backward()
    for name, parameter in ours.named_parameters():
        agree(name, parameter.grad, naive.get_parameter(name).grad)


def test_the_auxiliary_reconstruction_teaches_the_gate_and_not_the_decoder():
    gated, _ = both()
    x = apply_norm(random_acts(), gated.norm).acts
    gated._code(x).aux.backward()
    assert gated.W_dec.grad is None
    assert gated.b_enc.grad.abs().max() > 1e-4
    assert gated.W_enc.grad.abs().max() > 1e-4
    assert gated.r_mag.grad is None


def test_it_is_logged_as_aux():
    gated, _ = both()
    acts = random_acts()
    x = apply_norm(acts, gated.norm).acts
    gate = (x - gated.b_dec) @ gated.W_enc + gated.b_enc
    recon = gate.relu() @ gated.W_dec + gated.b_dec
    expected = (x - recon).square().sum(dim=1).mean() / gated.variance
    torch.testing.assert_close(gated.loss(acts, NONE_DEAD).aux, expected.detach())


def test_it_starts_as_a_relu_autoencoder():
    gated, relu = AUTOENCODERS["gated"](), AUTOENCODERS["relu"]()
    for dictionary in (gated, relu):
        dictionary.prepare_(random_acts(500))
    torch.testing.assert_close(dense(gated, random_acts()), dense(relu, random_acts()))
