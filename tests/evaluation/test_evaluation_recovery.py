"""Recovery by hand: a perfect dictionary, and ones spoilt in known ways."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from torch import Tensor

from latentese.dictionaries.topk import TopK
from latentese.evaluation.planted import Planted, PlantedSettings, PlantedTokens
from latentese.evaluation.recovery import Recovery, measure_recovery, nearest

EYE = torch.eye(4)
COEFS = torch.tensor([[2.0, 0, 0, 0], [0, 1.0, 3.0, 0], [0, 0, 0, 4.0], [1.0, 0, 0, 2.0], [0, 0, 0, 0]])
"""Activations are these on the four axes; the last token is all zeros."""


def dictionary_of(W_dec: Tensor, W_enc: Tensor | None = None, k: int | None = None) -> TopK:
    """Latents of these decoder rows; the encoder, unless given, is their transpose."""
    made = TopK(W_dec.shape[1], len(W_dec), k or len(W_dec), norm="none")
    weights = {"W_dec": W_dec, "W_enc": W_dec.t() if W_enc is None else W_enc, "b_enc": torch.zeros(len(W_dec))}
    made.load_state_dict({**weights, "b_dec": torch.zeros(W_dec.shape[1]), "variance": torch.ones(())})
    return made


def measure(dictionary: TopK, coefs: Tensor = COEFS) -> Recovery:
    tokens = [PlantedTokens(part, part) for part in torch.split(coefs, 2)]  # directions are the axes
    return measure_recovery(dictionary, dictionary.W_dec.detach(), EYE, tokens)


PERFECT = {
    "truth_cosine": 1.0, "latent_cosine": 1.0, "recovered": 1.0, "recovered_rare": 1.0, "uniqueness": 1.0,
    "dead_share": 0.0, "slope": 1.0, "f1": 1.0, "fvu": 0.0, "l0": 6 / 5, "n_tokens": 5,
}  # fmt: skip


def test_a_perfect_dictionary():
    assert asdict(measure(dictionary_of(EYE))) == pytest.approx(PERFECT)


def test_the_order_of_latents_does_not_matter():
    assert asdict(measure(dictionary_of(EYE[[2, 0, 3, 1]]))) == pytest.approx(PERFECT)


def test_shrunken_latents_show_in_the_slope_alone():
    # Every latent is .75 of the truth: slope .75, and a quarter of every activation is missed.
    found = measure(dictionary_of(EYE, W_enc=0.75 * EYE))
    # Squares of coefficients: 4 + 10 + 16 + 5 = 35; means (3, 1, 3, 6) / 5, so variance 35 - 55 / 5 = 24.
    expected = {**PERFECT, "slope": 0.75, "fvu": 35 / 16 / 24}
    assert asdict(found) == pytest.approx(expected)


def test_a_constant_taken_off_is_shrinkage_too():
    # Through 0: sum of (c - .5) * c over sum of c^2 = (35 - .5 * 13) / 35; the coefficients are 2 1 3 4 1 2, sum 13.
    shrunken = dictionary_of(EYE)
    shrunken.b_enc.data.fill_(-0.5)
    assert measure(shrunken).slope == pytest.approx((35 - 6.5) / 35)


def test_long_rows_with_small_latents_are_not_shrinkage():
    assert measure(dictionary_of(3 * EYE, W_enc=EYE / 3)).slope == pytest.approx(1.0)


def test_duplicates_share_their_match():
    # Latents: axes 0 0 1 2 3. Four of five have a nearest direction of their own or the first claim to it.
    found = measure(dictionary_of(EYE[[0, 0, 1, 2, 3]]))
    assert found.uniqueness == pytest.approx(4 / 5)
    assert (found.truth_cosine, found.latent_cosine, found.recovered) == (1.0, 1.0, 1.0)


def test_a_direction_that_is_missing():
    # Axis 3, the rarest quarter, has no latent: its nearest is at cosine 0. The rest is as it was.
    found = measure(dictionary_of(EYE[:3]))
    assert found.truth_cosine == pytest.approx(3 / 4)
    assert found.recovered == pytest.approx(3 / 4)
    assert found.recovered_rare == 0.0
    assert (found.latent_cosine, found.uniqueness, found.f1) == (1.0, 1.0, 1.0)


def test_a_blend_of_two_directions_recovers_neither():
    # (axis 2 + axis 3) / sqrt(2): cosine .707 with both, below .9.
    blend = torch.cat([EYE[:2], (EYE[2:3] + EYE[3:]) / 2**0.5])
    found = measure(dictionary_of(blend))
    assert found.truth_cosine == pytest.approx((2 + 2 * 0.5**0.5) / 4)
    assert found.latent_cosine == pytest.approx((2 + 0.5**0.5) / 3)
    assert found.recovered == pytest.approx(2 / 4)


def test_dead_latents_count_as_dead_and_nowhere_else():
    # A fifth latent that never fires: its encoder is 0. It would double axis 0.
    found = measure(dictionary_of(EYE[[0, 1, 2, 3, 0]], W_enc=torch.cat([EYE, torch.zeros(4, 1)], dim=1)))
    assert asdict(found) == pytest.approx({**PERFECT, "dead_share": 1 / 5})


def test_a_direction_that_only_a_dead_latent_is_near_is_nobodys():
    # Live: axes 0 0 1; dead: axis 3. Two directions are some live latent's nearest.
    W_enc = torch.cat([EYE[[0, 0, 1]].t(), torch.zeros(4, 1)], dim=1)
    assert measure(dictionary_of(EYE[[0, 0, 1, 3]], W_enc=W_enc)).uniqueness == pytest.approx(2 / 3)


def test_f1_counts_misses_and_false_alarms():
    # k = 1: token 1 (1 on axis 1, 3 on axis 2) loses axis 1, token 3 (1 on axis 0, 2 on axis 3) loses axis 0.
    # F1 per axis: 0 has 1 hit of 2 actives, 2 * 1 / (2 + 1); 1 has none; 2 and 3 are whole.
    found = measure(dictionary_of(EYE, k=1))
    assert found.f1 == pytest.approx((2 / 3 + 0 + 1 + 1) / 4)
    # A latent that fires at half of axis 1 as well as on axis 0: one false alarm more, 2 * 2 / (2 + 3).
    leaky = EYE.clone()
    leaky[1, 0] = 0.5
    assert measure(dictionary_of(EYE, W_enc=leaky)).f1 == pytest.approx((4 / 5 + 3) / 4)


def test_a_reversed_row_is_found_but_its_slope_is_not_hidden():
    found = measure(dictionary_of(-EYE, W_enc=EYE))
    assert found.truth_cosine == 1.0
    assert found.slope == pytest.approx(-1.0)


def test_nothing_recovered_has_no_slope():
    found = measure(dictionary_of((EYE[:1] + EYE[1:2] + EYE[2:3] + EYE[3:]) / 2))
    assert (found.recovered, found.truth_cosine) == (0.0, pytest.approx(0.5))
    assert found.slope != found.slope
    assert found.f1 != found.f1


def test_nearest_is_the_same_in_chunks(monkeypatch: pytest.MonkeyPatch):
    generator = torch.Generator().manual_seed(0)
    truth, rows = torch.randn(23, 5, generator=generator), torch.randn(17, 5, generator=generator)
    whole = nearest(truth, rows)
    cosines = (truth / truth.norm(dim=1, keepdim=True)) @ (rows / rows.norm(dim=1, keepdim=True)).t()
    assert torch.equal(whole.truth_match, cosines.abs().argmax(dim=1))
    assert torch.equal(whole.latent_match, cosines.abs().argmax(dim=0))
    monkeypatch.setattr("latentese.evaluation.recovery.CHUNK", 4)
    for one, other in zip(nearest(truth, rows), whole, strict=True):
        torch.testing.assert_close(one, other)


def test_the_truth_itself_recovers_a_planted_truth():
    # In superposition the transposed encoder hears its neighbours, so firing is not perfect, but directions are.
    planted = Planted(PlantedSettings(d_model=32, n_directions=48, l0=1.5, group_size=2))
    truth = dictionary_of(planted.directions, k=2)
    found = measure_recovery(truth, planted.directions, planted.directions, planted.test(8192))
    assert (found.truth_cosine, found.uniqueness, found.recovered) == (pytest.approx(1.0), 1.0, 1.0)
    assert found.n_tokens == 8192
    assert 0.5 < found.f1 < 1.0
