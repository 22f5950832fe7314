import torch
from small_dictionaries import AUTOENCODERS, NONE_DEAD, agree, dense, disturb_, identity_, random_acts
from torch import Tensor

from latentese.dictionaries.norm import apply_norm
from latentese.dictionaries.prolu import ProLU, prolu


def test_a_bias_decides_but_shifts_nothing():
    dictionary = identity_(ProLU(4, 4, norm="none"))
    with torch.no_grad():
        dictionary.b_enc.copy_(torch.tensor([-1.0, -1.0, 2.0, 2.0]))
    # 1.5 - 1 > 0: passes whole; .5 - 1 < 0: nothing; -1 + 2 > 0, but -1 itself is not; .1 passes whole
    acts = torch.tensor([[1.5, 0.5, -1.0, 0.1]])
    torch.testing.assert_close(dense(dictionary, acts), torch.tensor([[1.5, 0.0, 0.0, 0.1]]))
    torch.testing.assert_close(dictionary.pre_acts(acts), acts)


def test_its_gradients_by_hand():
    m = torch.tensor([[1.5, 0.5, -1.0], [3.0, -2.0, 0.2]], requires_grad=True)
    b = torch.tensor([-1.0, -1.0, 2.0], requires_grad=True)
    prolu(m, b).backward(torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]))
    # active: latent 0 of both tokens, latent 2 of the second
    assert m.grad.tolist() == [[1.0, 0.0, 0.0], [8.0, 0.0, 32.0]]
    assert b.grad.tolist() == [9.0, 0.0, 32.0]


def naive_loss(dictionary: ProLU, acts: Tensor, coef: float) -> Tensor:
    """The forward value of m, the gradient of m + b, where active: the ReLU-like estimator's definition."""
    x = apply_norm(acts, dictionary.norm).acts
    m = (x - dictionary.b_dec) @ dictionary.W_enc
    shifted = m + dictionary.b_enc
    passed = shifted - shifted.detach() + m.detach()
    latents = torch.where((m > 0) & (shifted > 0), passed, torch.zeros(()))
    recon = latents @ dictionary.W_dec + dictionary.b_dec
    fvu = (x - recon).square().sum(dim=1).mean() / dictionary.variance
    return fvu + coef * latents.sum(dim=1).mean() / dictionary.variance.sqrt()


def test_gradients_agree_with_a_naive_dense_version():
    ours, naive = (AUTOENCODERS["prolu"](sparsity_coef=0.3, sparsity_warmup_tokens=0) for _ in range(2))
    for dictionary in (ours, naive):
        dictionary.prepare_(random_acts(500))
        disturb_(dictionary)
    acts = random_acts()
    loss, expected = ours.loss(acts, NONE_DEAD), naive_loss(naive, acts, 0.3)
    torch.testing.assert_close(loss.total, expected, atol=1e-5, rtol=1e-5)
    loss.total.backward()
    expected.backward()
    for name, parameter in ours.named_parameters():
        agree(name, parameter.grad, naive.get_parameter(name).grad)


def test_without_a_bias_it_is_a_relu():
    m = random_acts()
    assert torch.equal(prolu(m, torch.zeros(12)), m.relu())
    assert torch.equal(prolu(m, torch.ones(12)), m.relu())
