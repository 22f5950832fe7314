from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentese.dictionaries.auxk import AuxK, build_auxk, encode_some, spread
from latentese.errors import SettingError

EXCESS = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
"""Two tokens, of which (2, 0) and (-2, 0) are missing: mean 0, so their variance is 4."""
W_DEC = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])


def pre_acts(idx: Tensor) -> Tensor:
    return torch.tensor([[1.5, 0.5, -3.0], [0.2, -1.0, 1.0]])[:, idx]


def dead(*idx: int) -> Tensor:
    return torch.zeros(3, dtype=torch.bool).index_fill_(0, torch.tensor(idx), True)


def test_the_strongest_dead_latents_predict_what_is_missing():
    # One latent per token: 1.5 of latent 0 for (2, 0), 1 of latent 2 for (-2, 0): errors .5 and 1, squared .25 and 1.
    loss = AuxK(1, 1.0)(EXCESS, pre_acts, W_DEC, dead(0, 1, 2))
    assert loss.item() == pytest.approx((0.25 + 1) / 2 / 4)


def test_living_latents_take_no_part_and_negative_ones_are_silent():
    # Latent 1 alone: .5 of (0, 1), and nothing: errors 4.25 and 4.
    assert AuxK(2, 1.0)(EXCESS, pre_acts, W_DEC, dead(1)).item() == pytest.approx((4.25 + 4) / 2 / 4)


def test_pre_activations_are_asked_of_dead_latents_only_and_not_without_any():
    asked: list[list[int]] = []

    def counted(idx: Tensor) -> Tensor:
        asked.append(idx.tolist())
        return pre_acts(idx)

    AuxK(1, 1.0)(EXCESS, counted, W_DEC, dead(0, 2))
    assert AuxK(1, 1.0)(EXCESS, counted, W_DEC, torch.zeros(3, dtype=torch.bool)).item() == 0
    assert AuxK(1, 0.0)(EXCESS, counted, W_DEC, dead(1)).item() == 0
    assert asked == [[0, 2]]


def test_what_is_missing_gets_no_gradient():
    excess = EXCESS.clone().requires_grad_()
    rows = W_DEC.clone().requires_grad_()
    AuxK(1, 1.0)(excess, pre_acts, rows, dead(0, 1)).backward()
    assert excess.grad is None
    # Token 0 alone has an active dead latent here beside latent 0's .2 on token 1: both move row 0 only.
    assert rows.grad is not None
    assert rows.grad[0].abs().max() > 0
    assert torch.equal(rows.grad[1:], torch.zeros(2, 2))


def test_nothing_missing_costs_nothing_instead_of_nan():
    assert AuxK(1, 1.0)(torch.zeros(2, 2), pre_acts, W_DEC, dead(0)).item() == 0


def test_some_latents_are_encoded_as_all_are():
    generator = torch.Generator().manual_seed(0)
    x, W_enc, b_enc = (torch.randn(*shape, generator=generator) for shape in ((6, 4), (4, 9), (9,)))
    idx = torch.tensor([1, 7, 8])
    torch.testing.assert_close(encode_some(x, W_enc, b_enc, idx), (x @ W_enc + b_enc)[:, idx])


def test_spread_puts_values_where_they_belong():
    values, chosen = torch.tensor([[5.0, 6.0]]), torch.tensor([[2, 0]])
    assert spread(values, chosen, torch.ones(1, 4)).tolist() == [[6.0, 0.0, 5.0, 0.0]]


@pytest.mark.parametrize(("k_aux", "expected"), [(None, 4), (3, 3)])  # 2 ** round(log2(10 / 2)) = 4
def test_k_aux_is_a_setting_or_follows_from_the_width(k_aux: int | None, expected: int):
    assert build_auxk(10, 20, k_aux, 0.5) == AuxK(expected, 0.5)


def test_at_least_one_dead_latent_takes_part_however_narrow_activations_are():
    assert build_auxk(1, 20, None, 0.5) == AuxK(1, 0.5)  # 2 ** round(log2(1 / 2)) would be half a latent


@pytest.mark.parametrize(
    ("k_aux", "coef", "named"), [(0, 1.0, "k_aux=0"), (21, 1.0, "k_aux=21"), (1, -0.1, "aux_coef")]
)
def test_settings_that_cannot_work_are_named(k_aux: int, coef: float, named: str):
    with pytest.raises(SettingError, match=rf"dictionary\.{named}"):
        build_auxk(10, 20, k_aux, coef)


def test_a_coefficient_that_is_no_number_is_refused():
    with pytest.raises(SettingError, match=r"dictionary\.aux_coef=nan"):
        build_auxk(10, 20, None, float("nan"))
