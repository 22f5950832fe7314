from __future__ import annotations

import pytest
import torch

from latentese.dictionaries.base import Dictionary
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.evaluation.edits import add, pick_active, reconstruct, reconstructs_exactly, unit_directions

DICTIONARIES: list[Dictionary] = [Neurons(6), TopK(6, 20, 3), TopK(6, 20, 3, norm="none")]


def acts_of(n_tokens: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(n_tokens, 6, generator=torch.Generator().manual_seed(0)).to(dtype)


def chances(n_tokens: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n_tokens, generator=torch.Generator().manual_seed(seed))


def with_biases(dictionary: Dictionary) -> Dictionary:
    if isinstance(dictionary, TopK):
        with torch.no_grad():
            dictionary.b_dec.fill_(0.3)
    return dictionary


@pytest.mark.parametrize("dictionary", DICTIONARIES, ids=["neurons", "topk", "topk_raw"])
def test_a_part_is_what_the_reconstruction_loses_without_the_unit(dictionary: Dictionary) -> None:
    dictionary, acts = with_biases(dictionary), acts_of(9)
    picked = pick_active(dictionary, acts, chances(9))
    unit_acts = dictionary.encode(acts)
    without = unit_acts._replace(values=unit_acts.values * (unit_acts.indices != picked.unit[:, None]))
    lost = dictionary.decode(unit_acts) - dictionary.decode(without)
    torch.testing.assert_close(picked.part, lost, atol=1e-5, rtol=1e-4)


def test_directions_are_decoder_rows() -> None:
    topk = with_biases(TopK(6, 20, 3))
    units = torch.tensor([4, 0, 4])
    torch.testing.assert_close(unit_directions(topk, units), topk.W_dec[units].detach())  # type: ignore[union-attr, index, operator]
    assert torch.equal(unit_directions(Neurons(6), torch.tensor([2])), torch.eye(6)[[2]])


def test_a_neuron_that_is_taken_out_is_zero_and_the_others_stay() -> None:
    acts = acts_of(9)
    picked = pick_active(Neurons(6), acts, chances(9))
    changed = add(-picked.part)(acts)
    own = torch.eye(6)[picked.unit].bool()
    assert bool((changed[own] == 0).all())
    assert torch.equal(changed[~own], acts[~own])
    assert torch.equal(picked.value, acts[own])


def test_every_active_unit_is_drawn_alike_often_and_no_other() -> None:
    topk = TopK(6, 20, 3, norm="none")
    acts = acts_of(1).expand(6000, -1)
    unit_acts = topk.encode(acts[:1])
    active = unit_acts.indices[unit_acts.values > 0].tolist()
    picked = pick_active(topk, acts, chances(6000))
    counts = torch.bincount(picked.unit, minlength=20)
    assert sorted(active) == counts.nonzero()[:, 0].tolist()
    assert counts[active].float().div(6000 / len(active)).sub(1).abs().max() < 0.1


def test_a_token_without_an_active_unit_has_none_drawn() -> None:
    topk = TopK(6, 20, 3)
    with torch.no_grad():
        topk.b_enc.fill_(-100.0)
    picked = pick_active(topk, acts_of(4), chances(4))
    assert picked.unit.tolist() == [-1] * 4
    assert bool((picked.part == 0).all()) and bool((picked.value == 0).all())


def test_reconstructions_take_the_place_of_activations_of_any_dtype() -> None:
    topk, acts = TopK(6, 20, 3), acts_of(5, torch.bfloat16)
    assert torch.equal(reconstruct(topk)(acts), topk.decode(topk.encode(acts.float())))
    assert torch.equal(reconstruct(Neurons(6))(acts).to(acts), acts)


def test_only_an_exact_reconstruction_is_called_exact() -> None:
    assert reconstructs_exactly(Neurons(6), acts_of(5))
    assert not reconstructs_exactly(TopK(6, 20, 3), acts_of(5))
