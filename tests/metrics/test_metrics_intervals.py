"""Intervals: seeded, ordered, and covering what they promise on data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from latentese.errors import SettingError
from latentese.metrics.correlation import Floats, document_sums, pearson, token_sums
from latentese.metrics.intervals import Bootstrap, Interval, document_interval, mean_interval, paired_interval

BOOTSTRAP = Bootstrap(n_boot=300, seed=3)


def unit(rng: np.random.Generator, rho: float, n_documents: int = 30, n_tokens: int = 40) -> Floats:
    """Documents of tokens whose truth and simulation correlate with `rho`."""
    y, e = rng.normal(size=(2, n_documents, n_tokens))
    s = rho * y + np.sqrt(1 - rho**2) * e
    return np.array([token_sums(*document) for document in zip(y, s, strict=True)])


def test_the_interval_holds_the_value_and_is_the_same_every_time() -> None:
    sums = unit(np.random.default_rng(0), 0.6)
    first = document_interval(sums, pearson, BOOTSTRAP)
    assert first == document_interval(sums, pearson, BOOTSTRAP)
    assert first.low < first.value < first.high
    assert first.value == pytest.approx(pearson(sums.sum(axis=0)))


def test_document_intervals_cover_the_true_correlation() -> None:
    rng = np.random.default_rng(1)
    found = [document_interval(unit(rng, 0.5), pearson, BOOTSTRAP) for _ in range(200)]
    covered = sum(interval.low <= 0.5 <= interval.high for interval in found)
    assert 0.88 <= covered / len(found) <= 0.99


def test_intervals_of_a_mean_cover_the_mean_over_all_units() -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(120):
        rhos = rng.uniform(0.1, 0.7, size=25)  # their mean is 0.4
        found.append(mean_interval([unit(rng, rho, 12, 20) for rho in rhos], pearson, BOOTSTRAP))
    covered = sum(interval.low <= 0.4 <= interval.high for interval in found)
    assert covered / len(found) >= 0.9


def test_the_mean_over_a_single_unit_is_as_uncertain_as_its_documents_make_it() -> None:
    sums = unit(np.random.default_rng(7), 0.5)
    assert mean_interval([sums], pearson, BOOTSTRAP) == document_interval(sums, pearson, BOOTSTRAP)
    assert mean_interval([sums[:1]], pearson, BOOTSTRAP) == (pytest.approx(pearson(sums[0])), None, None)


def test_resamples_without_a_value_do_not_move_the_interval_of_a_mean() -> None:
    """Of a document that fires and a silent one, every resample with a correlation holds the first."""
    rng = np.random.default_rng(8)
    firing = [token_sums(rng.random(16) * (np.arange(16) % 4 == 0), rng.random(16)) for _ in range(400)]
    units = [np.array([one, token_sums(np.zeros(16), rng.random(16))]) for one in firing]
    interval = mean_interval(units, pearson, BOOTSTRAP)
    assert interval.low < interval.value < interval.high
    assert interval.high - interval.value == pytest.approx(interval.value - interval.low, rel=0.3)


def test_units_of_the_same_numbers_are_resampled_alike() -> None:
    rng = np.random.default_rng(9)
    sums = [unit(rng, 0.5, 4) for _ in range(6)]
    numbers = [5, 8, 13, 21, 34, 55]
    found = mean_interval(sums, pearson, BOOTSTRAP, numbers)
    assert found == mean_interval([np.zeros((0, 6)), *sums], pearson, BOOTSTRAP, [1, *numbers])
    assert found != mean_interval(sums, pearson, BOOTSTRAP)


def test_identical_documents_leave_no_doubt() -> None:
    sums = np.tile(token_sums([0, 1, 2], [0, 1, 1]), (5, 1))
    interval = document_interval(sums, pearson, BOOTSTRAP)
    assert interval.low == pytest.approx(interval.value) == pytest.approx(interval.high)


def test_pairing_takes_out_what_both_share() -> None:
    rng = np.random.default_rng(4)
    first = [unit(rng, rho) for rho in rng.uniform(0.1, 0.8, size=20)]
    # The same simulations against a truth twice as large: the same correlations, whatever is resampled.
    second = [sums * np.array([1, 2, 1, 4, 1, 2]) for sums in first]
    interval = paired_interval(list(zip(first, second, strict=True)), pearson, BOOTSTRAP)
    assert interval.value == pytest.approx(0, abs=1e-12)
    assert interval.low == pytest.approx(0, abs=1e-9) == interval.high
    unpaired = mean_interval(first, pearson, BOOTSTRAP)
    assert unpaired.high - unpaired.low > 0.05


def test_a_better_second_side_is_found() -> None:
    rng = np.random.default_rng(5)
    pairs = [(unit(rng, 0.2), unit(rng, 0.6)) for _ in range(15)]
    interval = paired_interval(pairs, pearson, BOOTSTRAP)
    assert 0.3 < interval.low < interval.value < interval.high < 0.5


def test_what_is_not_defined_is_none_and_left_out_of_means() -> None:
    constant = np.array([token_sums([0, 0], [1, 2])])
    sums = unit(np.random.default_rng(6), 0.5)
    assert document_interval(constant, pearson, BOOTSTRAP) == (None, None, None)
    assert document_interval(np.zeros((0, 6)), pearson, BOOTSTRAP) == (None, None, None)
    assert mean_interval([constant], pearson, BOOTSTRAP) == (None, None, None)
    assert mean_interval([constant, sums], pearson, BOOTSTRAP).value == pytest.approx(pearson(sums.sum(axis=0)))


@pytest.mark.parametrize("setting", [{"n_boot": 0}, {"level": 1.0}, {"seed": -1}])
def test_settings_that_make_no_interval_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(SettingError):
        Bootstrap(**setting)


def test_identical_pairs_differ_by_exactly_nothing() -> None:
    rng = np.random.default_rng(0)
    sums = [np.stack([document_sums([0], [token_sums(*rng.random((2, 9)))])[0] for _ in range(7)]) for _ in range(5)]
    assert paired_interval([(unit, unit) for unit in sums], pearson, Bootstrap(n_boot=50)) == Interval(0.0, 0.0, 0.0)


def test_one_document_has_a_value_and_no_interval() -> None:
    sums = document_sums([0], [token_sums([0.0, 1.0, 2.0], [0.0, 1.0, 1.0])])
    value, low, high = document_interval(sums, pearson, Bootstrap(n_boot=50))
    assert value == pytest.approx(0.8660254)
    assert (low, high) == (None, None)
