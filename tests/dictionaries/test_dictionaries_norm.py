import pytest
import torch

from latentese.dictionaries.norm import apply_norm, check_norm, undo_norm
from latentese.errors import SettingError

ACTS = torch.tensor([[1.0, 3.0, 5.0, 7.0]])


def test_unit_norm_by_hand():
    # mean 4, rest (-3, -1, 1, 3), of norm sqrt(20)
    x, mean, norm = apply_norm(ACTS, "unit_norm")
    assert mean.item() == 4.0
    assert norm.item() == pytest.approx(20**0.5)
    torch.testing.assert_close(x, torch.tensor([[-3.0, -1.0, 1.0, 3.0]]) / 20**0.5)


def test_layernorm_std_divides_by_the_unbiased_standard_deviation():
    x, _, norm = apply_norm(ACTS, "layernorm_std")
    assert norm.item() == pytest.approx(ACTS.std(unbiased=True).item())
    assert x.norm().item() == pytest.approx(3**0.5, rel=1e-5)  # sqrt(d - 1), but for the epsilon


def test_layernorm_std_adds_its_epsilon_before_dividing_and_not_when_undone():
    # mean 0, std sqrt((1 + 1) / 1) * 1e-5 = 1.414e-5: the epsilon 1e-5 is as large as the std itself
    x, mean, norm = apply_norm(torch.tensor([[-1e-5, 1e-5]]), "layernorm_std")
    torch.testing.assert_close(x, torch.tensor([[-1.0, 1.0]]) / (2**0.5 + 1), rtol=1e-4, atol=0)
    torch.testing.assert_close(norm, torch.tensor([[2**0.5 * 1e-5]]), rtol=1e-4, atol=0)
    assert mean.item() == 0.0


def test_rms_subtracts_nothing():
    # squares 1, 9, 25, 49: mean 21
    x, mean, norm = apply_norm(ACTS, "rms")
    assert (mean.item(), norm.item()) == (0.0, pytest.approx(21**0.5))
    torch.testing.assert_close(x, ACTS / 21**0.5)


def test_none_leaves_every_value_as_it_is():
    x, mean, norm = apply_norm(ACTS.bfloat16(), "none")
    assert torch.equal(undo_norm(x, mean, norm), ACTS)
    assert x.dtype == torch.float32


@pytest.mark.parametrize("norm", ["none", "unit_norm", "layernorm_std", "rms"])
def test_undo_brings_activations_back(norm):
    acts = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * 30 + 7
    torch.testing.assert_close(undo_norm(*apply_norm(acts, norm)), acts)


def test_a_constant_activation_becomes_zeros_and_comes_back():
    acts = torch.full((1, 4), 2.5)
    normed = apply_norm(acts, "unit_norm")
    assert torch.equal(normed.acts, torch.zeros(1, 4))
    assert torch.equal(undo_norm(*normed), acts)


def test_an_unknown_norm_is_refused():
    with pytest.raises(SettingError, match=r"dictionary.norm='l2' is not allowed: one of"):
        check_norm("l2")
