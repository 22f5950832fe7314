import numpy as np
import pytest
import torch

from latentese.evaluation.cosines import QUANTILES, Cosines


def test_mean_and_quantiles_of_a_few_cosines_by_hand():
    cosines = Cosines()
    cosines.add_(torch.tensor([1.0, 0.5, 0.0]))
    cosines.add_(torch.tensor([-1.0]))
    found = cosines.summary()
    # in order: -1, 0, .5, 1; the median is the smallest value that half of them do not exceed
    assert (found["mean"], found["q25"], found["q50"], found["q75"], found["q95"]) == (0.125, -1.0, 0.0, 0.5, 1.0)


def test_quantiles_are_those_of_all_cosines_to_four_decimals():
    values = torch.rand(5000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    cosines = Cosines()
    for batch in values.split(700):
        cosines.add_(batch)
    found = cosines.summary()
    for share in QUANTILES:
        exact = np.quantile(values.numpy(), share, method="inverted_cdf")
        assert found[f"q{round(100 * share):02d}"] == pytest.approx(exact, abs=1e-4)
    assert found["mean"] == pytest.approx(values.double().mean().item())


def test_rounding_past_one_counts_as_one_and_nothing_counted_is_null():
    cosines = Cosines()
    assert set(cosines.summary().values()) == {None}
    cosines.add_(torch.tensor([1.0000001]))
    assert set(cosines.summary().values()) == {1.0}
