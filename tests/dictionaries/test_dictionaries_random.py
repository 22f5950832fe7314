import pytest
import torch
from small_dictionaries import dense, random_acts

from latentese.dictionaries.random import RandomDirections, random_orthonormal
from latentese.errors import SettingError


def test_coordinates_are_dot_products_with_the_directions():
    directions, acts = RandomDirections(12, 5, norm="none"), random_acts()
    expected = torch.stack([acts @ row for row in directions.W_dec], dim=1)
    torch.testing.assert_close(dense(directions, acts), expected)
    torch.testing.assert_close(directions.pre_acts(acts), expected)


def test_directions_are_orthonormal():
    rows = RandomDirections(12, 5).W_dec
    torch.testing.assert_close(rows @ rows.t(), torch.eye(5), atol=1e-6, rtol=0)


@pytest.mark.parametrize("norm", ["none", "unit_norm", "layernorm_std"])
def test_as_many_as_the_width_reconstruct_exactly(norm):
    directions, acts = RandomDirections(12, norm=norm), random_acts()
    torch.testing.assert_close(directions.decode(directions.encode(acts)), acts, atol=1e-5, rtol=1e-5)


def test_fewer_give_the_nearest_point_of_their_span():
    directions, acts = RandomDirections(12, 5, norm="none"), random_acts()
    left = acts - directions.decode(directions.encode(acts))
    assert (left @ directions.W_dec.t()).abs().max() < 1e-4  # what is left over is orthogonal to all of them


def test_the_seed_decides():
    assert torch.equal(RandomDirections(12, seed=3).W_dec, RandomDirections(12, seed=3).W_dec)
    assert not torch.equal(RandomDirections(12, seed=3).W_dec, RandomDirections(12, seed=4).W_dec)


def test_each_direction_is_uniform_on_the_sphere():
    first = torch.stack([random_orthonormal(2, 3, seed)[1] for seed in range(2000)])
    # Uniform: mean 0, and E[row row^T] = I / 3; 2000 draws have a standard error of about .013 for the mean.
    torch.testing.assert_close(first.mean(dim=0), torch.zeros(3), atol=0.06, rtol=0)
    torch.testing.assert_close(first.t() @ first / 2000, torch.eye(3) / 3, atol=0.05, rtol=0)


def test_they_are_signed_and_untrained():
    directions = RandomDirections(12)
    assert (directions.signed, directions.needs_training, directions.n_units) == (True, False, 12)
    assert list(directions.parameters()) == []


def test_more_than_the_width_are_refused():
    with pytest.raises(SettingError, match=r"dictionary.n_latents=13 is not allowed: at most d_model=12"):
        RandomDirections(12, 13)
