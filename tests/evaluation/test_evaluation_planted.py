"""The planted truth: what its settings say is what comes out, and the same tokens come from anywhere."""

import tracemalloc
from itertools import islice

import numpy as np
import pytest
import torch

from latentese.errors import SettingError
from latentese.evaluation.planted import BLOCK_TOKENS, SAMPLE, TEST, TRAIN, Planted, PlantedSettings, power_law

SMALL = PlantedSettings(d_model=8, n_directions=24, l0=3.0, max_frequency=0.4, group_size=2, noise=0.0)


def first(planted: Planted, batch_tokens: int, n_batches: int, start: int = 0) -> torch.Tensor:
    return torch.cat(list(islice(planted.batches(batch_tokens, start), n_batches)))


def coefs_of(planted: Planted, n_blocks: int = 8) -> torch.Tensor:
    return torch.cat([planted.draw(TRAIN, block).coefs for block in range(n_blocks)])


def test_directions_are_of_unit_norm_and_more_than_dimensions():
    directions = Planted(SMALL).directions
    assert directions.shape == (24, 8)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(24))
    assert torch.linalg.matrix_rank(directions) == 8


def test_the_power_law_by_hand():
    # Without a cut: c * (1 + 1/2 + 1/3 + 1/4) = 1 gives c = 12/25, shares .48, .24, .16, .12.
    settings = PlantedSettings(n_directions=4, l0=1.0, exponent=1.0, max_frequency=1.0, group_size=1)
    np.testing.assert_allclose(power_law(settings), [0.48, 0.24, 0.16, 0.12])


def test_the_power_law_cut_off_by_hand():
    # Cut at .3: c * (1/2 + 1/3 + 1/4) = .7 would give the second .323, so it is cut too: c * 7/12 = .4, c = 24/35.
    settings = PlantedSettings(n_directions=4, l0=1.0, exponent=1.0, max_frequency=0.3, group_size=1)
    np.testing.assert_allclose(power_law(settings), [0.3, 0.3, 24 / 35 / 3, 24 / 35 / 4])


def test_an_activation_is_the_sum_of_its_directions():
    planted = Planted(SMALL)
    acts, coefs = planted.draw(TEST, 0)
    torch.testing.assert_close(acts, coefs @ planted.directions)


def test_noise_has_the_size_that_was_asked_for():
    quiet, noisy = Planted(SMALL), Planted(PlantedSettings(**{**vars(SMALL), "noise": 0.1}))
    difference = noisy.draw(TRAIN, 0).acts - quiet.draw(TRAIN, 0).acts
    assert difference.std().item() == pytest.approx(0.1, rel=0.02)


def test_each_direction_is_active_as_often_as_the_power_law_says():
    planted = Planted(SMALL)
    coefs = coefs_of(planted)
    found = (coefs > 0).double().mean(dim=0).numpy()
    deviation = np.sqrt(planted.frequencies * (1 - planted.frequencies) / len(coefs))
    assert (np.abs(found - planted.frequencies) < 5 * deviation).all()
    assert (coefs > 0).sum(dim=1).double().mean().item() == pytest.approx(3.0, rel=0.02)


def test_coefficients_have_mean_1_and_standard_deviation_a_half():
    coefs = coefs_of(Planted(SMALL))
    active = coefs[coefs > 0]
    assert active.mean().item() == pytest.approx(1.0, abs=0.01)
    assert active.std().item() == pytest.approx(0.5, abs=0.01)


def test_every_second_group_fires_together_and_the_others_do_not():
    # Both of a pair at the cut-off share p: they decide as one half of the time, so their correlation is 1/2.
    settings = PlantedSettings(
        d_model=4, n_directions=8, l0=2.0, exponent=0.0, max_frequency=0.25, group_size=2, correlation=0.5
    )
    active = (coefs_of(Planted(settings)) > 0).double()
    correlations = torch.corrcoef(active.t())
    together = [correlations[0, 1].item(), correlations[4, 5].item()]
    apart = [correlations[2, 3].item(), correlations[6, 7].item(), correlations[1, 4].item()]
    assert together == pytest.approx([0.5, 0.5], abs=0.03)
    assert apart == pytest.approx([0.0, 0.0, 0.0], abs=0.03)


@pytest.mark.parametrize("start", [0, 100, BLOCK_TOKENS, BLOCK_TOKENS + 100])
def test_the_order_is_the_same_wherever_it_begins(start):
    planted = Planted(SMALL)
    whole = first(planted, 100, 120)  # 12,000 tokens: three blocks
    assert torch.equal(first(planted, 50, 40, start), whole[start : start + 2000])


def test_batches_larger_than_a_block_are_whole():
    planted = Planted(SMALL)
    batch = first(planted, BLOCK_TOKENS + 10, 1)
    assert torch.equal(batch, first(planted, 10, BLOCK_TOKENS // 10 + 2)[: len(batch)])


def test_streams_and_seeds_share_nothing():
    planted, other = Planted(SMALL), Planted(PlantedSettings(**{**vars(SMALL), "seed": 1}))
    draws = [planted.draw(stream, 0).acts for stream in (TRAIN, SAMPLE, TEST)] + [planted.draw(TRAIN, 1).acts]
    assert not any(torch.equal(draws[i], draws[j]) for i in range(4) for j in range(i))
    assert not torch.equal(planted.directions, other.directions)


def test_a_sample_is_fixed_and_of_its_size():
    planted = Planted(SMALL)
    sample = planted.sample(BLOCK_TOKENS + 5, seed=0)
    assert len(sample) == BLOCK_TOKENS + 5
    assert torch.equal(sample, planted.sample(BLOCK_TOKENS + 5, seed=0))
    assert not torch.equal(sample[:10], planted.sample(10, seed=1))


def test_test_tokens_are_at_least_as_many_as_asked():
    assert [len(tokens.acts) for tokens in Planted(SMALL).test(BLOCK_TOKENS + 1)] == [BLOCK_TOKENS] * 2


def test_memory_does_not_grow_with_tokens():
    planted = Planted(SMALL)

    def peak(n_batches: int) -> int:
        tracemalloc.start()
        for _ in islice(planted.batches(BLOCK_TOKENS, 0), n_batches):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    assert peak(40) < 1.2 * peak(5)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"d_model": 0}, "planted.d_model=0"),
        ({"group_size": 5}, "a divisor of n_directions=24"),
        ({"max_frequency": 0.0}, "planted.max_frequency=0.0"),
        ({"l0": 10.0}, "at most max_frequency \\* n_directions = 9.6"),
        ({"correlation": 1.5}, "planted.correlation=1.5"),
        ({"noise": float("nan")}, "planted.noise=nan"),
        ({"seed": -1}, "planted.seed=-1"),
    ],
)
def test_impossible_settings_are_one_line(changed, problem):
    with pytest.raises(SettingError, match=problem):
        PlantedSettings(**{**vars(SMALL), **changed})
