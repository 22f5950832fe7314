"""Each way of saying the same with other weights, by hand and on random weights."""

import torch
from foreign_checkpoints import toy, toy_acts

from latentese.dictionaries.formats.weights import Weights, fill_, weights_of
from latentese.dictionaries.topk import TopK

# One input, two latents: pre_acts = (x - 2) * [1, -3] + [0.5, 1], recon = latents @ [[4], [3]] + 2.
SMALL = Weights(
    torch.tensor([[1.0, -3.0]]), torch.tensor([0.5, 1.0]), torch.tensor([[4.0], [3.0]]), torch.tensor([2.0])
)


def test_subtracting_adds_what_the_subtraction_takes():
    # An encoder x @ W + b becomes (x - 2) @ W + (b + 2 * W) = ... + [0.5 + 2, 1 - 6].
    assert torch.equal(SMALL.subtracting().b_enc, torch.tensor([2.5, -5.0]))


def test_not_subtracting_undoes_it():
    torch.testing.assert_close(SMALL.subtracting().not_subtracting().b_enc, SMALL.b_enc)


def test_a_factor_on_activations_goes_into_the_weights():
    # Made for y = 10 x: pre_acts = (10 x - 2) W + b = (x - 0.2) (10 W) + b, recon of x = (latents @ W_dec + 2) / 10.
    read = SMALL.reading(10.0)
    assert torch.equal(read.W_enc, torch.tensor([[10.0, -30.0]]))
    torch.testing.assert_close(read.W_dec, torch.tensor([[0.4], [0.3]]))
    torch.testing.assert_close(read.b_dec, torch.tensor([0.2]))
    assert torch.equal(read.b_enc, SMALL.b_enc)


def test_rows_reach_unit_norm_and_the_encoder_takes_up_the_rest():
    # Row norms 4 and 3.
    unit, norms = SMALL.with_unit_rows()
    assert torch.equal(norms, torch.tensor([4.0, 3.0]))
    assert torch.equal(unit.W_dec, torch.ones(2, 1))
    assert torch.equal(unit.W_enc, torch.tensor([[4.0, -9.0]]))
    assert torch.equal(unit.b_enc, torch.tensor([2.0, 3.0]))


def test_unit_rows_reconstruct_the_same_under_relu():
    weights, x = Weights(**vars(toy())), toy_acts()
    unit, norms = weights.with_unit_rows()
    before = ((x - weights.b_dec) @ weights.W_enc + weights.b_enc).relu()
    after = ((x - unit.b_dec) @ unit.W_enc + unit.b_enc).relu()
    torch.testing.assert_close(after, before * norms)
    torch.testing.assert_close(after @ unit.W_dec, before @ weights.W_dec)


def test_a_row_of_zeros_stays():
    unit, norms = Weights(torch.ones(1, 1), torch.ones(1), torch.zeros(1, 1), torch.zeros(1)).with_unit_rows()
    assert torch.equal(norms, torch.ones(1))
    assert torch.equal(unit.W_dec, torch.zeros(1, 1))


def test_weights_go_into_a_dictionary_and_come_out_again():
    dictionary, weights = TopK(6, 10, 3), Weights(**vars(toy()))
    fill_(dictionary, weights, variance=torch.tensor(7.0))
    for name, tensor in vars(weights_of(dictionary)).items():
        assert torch.equal(tensor, getattr(weights, name))
    assert dictionary.variance.item() == 7.0


def test_sizes_are_those_of_the_decoder():
    assert (SMALL.d_model, SMALL.n_latents) == (1, 2)
