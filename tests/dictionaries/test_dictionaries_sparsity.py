import math

import pytest
import torch

from latentese.dictionaries.sparsity import FARTHEST_COEF, SETTLING_STEPS, SparsityCoefficient, check_target_l0
from latentese.errors import SettingError


def follow(coefficient: SparsityCoefficient, *l0s: float) -> list[float]:
    """Values after batches of 100 tokens with these L0."""
    values = []
    for l0 in l0s:
        coefficient.follow_(torch.tensor(l0), 100)
        values.append(coefficient.value())
    return values


def test_without_target_and_warm_up_it_stays():
    coefficient = SparsityCoefficient(0.5)
    assert coefficient.value() == 0.5
    assert follow(coefficient, 3.0, 300.0) == [0.5, 0.5]


def test_warm_up_rises_linearly_with_tokens_and_stays():
    coefficient = SparsityCoefficient(0.5, warmup_tokens=400)
    assert coefficient.value() == 0.0
    assert follow(coefficient, 9.0, 9.0, 9.0, 9.0, 9.0) == [0.125, 0.25, 0.375, 0.5, 0.5]


def test_steered_it_follows_the_formula():
    coefficient = SparsityCoefficient(0.5, target_l0=10)
    # step 1, L0 20: log 2 above the target, and no change yet; step 2, L0 15: fell by log(4/3), log 1.5 above
    first = 0.5 * math.exp(math.log(2) / SETTLING_STEPS)
    second = first * math.exp(math.log(15 / 20) + math.log(1.5) / SETTLING_STEPS)
    assert follow(coefficient, 20.0, 15.0) == pytest.approx([first, second])


def test_at_the_target_it_rests():
    coefficient = SparsityCoefficient(0.5, target_l0=10)
    assert follow(coefficient, 10.0, 10.0, 10.0) == pytest.approx([0.5] * 3)


def test_it_rests_while_l0_falls_at_the_pace_that_is_asked_for():
    coefficient = SparsityCoefficient(0.5, target_l0=10)
    pace = 1 - 1 / (SETTLING_STEPS + 1)
    above = [2.0 * pace**step for step in range(50)]  # log(L0 / target)
    values = follow(coefficient, *(10 * math.exp(error) for error in above))
    assert values[1:] == pytest.approx([values[0]] * 49, rel=1e-4)


def test_it_brings_a_sluggish_system_to_the_target():
    coefficient, log_l0 = SparsityCoefficient(0.01, target_l0=10), math.log(300.0)
    for _ in range(400):
        # L0 drifts, a thirtieth of the way per step, to where the coefficient would have it in the end.
        log_l0 += (math.log(3.0 / coefficient.value()) - log_l0) / 30
        coefficient.follow_(torch.tensor(math.exp(log_l0)), 100)
    assert math.exp(log_l0) == pytest.approx(10, rel=0.02)
    assert coefficient.value() == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize(("l0", "factor"), [(0.0, 1 / FARTHEST_COEF), (1e6, FARTHEST_COEF)])
def test_it_stays_within_bounds_and_comes_back(l0, factor):
    coefficient = SparsityCoefficient(0.5, target_l0=10)
    assert follow(coefficient, *[l0] * 300)[-1] == pytest.approx(0.5 * factor)
    before = coefficient.value()
    assert abs(math.log(follow(coefficient, 10.0)[-1] / before)) > 1


def test_its_state_is_in_buffers():
    one, other = SparsityCoefficient(0.5, target_l0=10), SparsityCoefficient(0.5, target_l0=10)
    follow(one, 40.0, 20.0)
    other.load_state_dict(one.state_dict())
    assert follow(one, 12.0, 13.0) == follow(other, 12.0, 13.0)
    assert set(one.state_dict()) == {"coef", "last_l0", "n_tokens"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"start": -1.0}, r"dictionary.sparsity_coef=-1.0 is not allowed: at least 0"),
        ({"start": float("nan")}, r"dictionary.sparsity_coef=nan"),
        ({"warmup_tokens": -1}, r"dictionary.sparsity_warmup_tokens=-1"),
        ({"start": 0.0, "target_l0": 3}, r"dictionary.sparsity_coef=0.0 is not allowed: above 0"),
        ({"warmup_tokens": 5, "target_l0": 3}, r"dictionary.sparsity_warmup_tokens=5 is not allowed: 0 with a target"),
    ],
)
def test_bad_settings_are_refused_in_one_line(args, message):
    with pytest.raises(SettingError, match=message) as error:
        SparsityCoefficient(**{"start": 1.0} | args)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("target_l0", [0, -1.0, 41, float("nan")])
def test_a_target_that_no_code_can_have_is_refused(target_l0):
    with pytest.raises(SettingError, match=r"dictionary.target_l0=.* is not allowed: above 0, at most n_latents=40"):
        check_target_l0(target_l0, 40)


def test_any_other_target_and_none_are_allowed():
    for target_l0 in (None, 0.5, 40):
        check_target_l0(target_l0, 40)
