import numpy as np
import pytest

from latentese.evaluation.densities import density_histogram, density_quantiles


def test_histogram_counts_units_per_part_of_a_decade():
    # log10: -3, -1.5, -0.2, 0; the unit that is never active is not in it
    histogram = density_histogram(np.array([0.0, 1e-3, 10**-1.5, 10**-0.2, 1.0]), n_tokens=1000, bins_per_decade=1)
    assert histogram["low"].to_list() == [-3, -2, -1]
    assert histogram["high"].to_list() == [-2, -1, 0]
    assert histogram["n_units"].to_list() == [1, 1, 2]


@pytest.mark.parametrize("n_tokens", [1, 7, 1000, 123_456])
def test_every_active_unit_is_in_the_histogram(n_tokens):
    density = np.random.default_rng(0).integers(0, n_tokens + 1, 200) / n_tokens
    histogram = density_histogram(density, n_tokens, bins_per_decade=4)
    assert histogram["n_units"].sum() == np.count_nonzero(density)


def test_quantiles_are_over_units_that_are_ever_active():
    quantiles = density_quantiles(np.array([0.0, 0.0, 0.1, 0.2, 0.3]))
    assert quantiles["q50"] == pytest.approx(0.2)
    assert set(density_quantiles(np.zeros(3)).values()) == {None}
