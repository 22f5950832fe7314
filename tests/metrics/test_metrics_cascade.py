"""What is expected of a costly score: between what was read and what cheap scores say, as sure as either is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from latentese.metrics.cascade import Partial, estimate, misordered
from latentese.metrics.correlation import Floats, pearson, token_sums
from latentese.metrics.ranks import spearman

N_TOKENS = 12


def contexts(quality: float, n_contexts: int, rng: np.random.Generator) -> Floats:
    """Token sums of contexts whose simulation follows the truth as `quality` says: [n_contexts, 6]."""
    sums = []
    for _ in range(n_contexts):
        true = rng.normal(size=N_TOKENS)
        sums.append(token_sums(true, quality * true + rng.normal(size=N_TOKENS)))
    return np.array(sums)


def full(sums: Floats) -> float:
    return float(pearson(sums.sum(axis=0)))


def study(n_units: int, n_contexts: int, blur: float, seed: int = 0) -> tuple[list[Floats], Floats, Floats]:
    """Contexts of units of every quality, their full scores, and a cheap score that tells them but for `blur`."""
    rng = np.random.default_rng(seed)
    of_unit = [contexts(quality, n_contexts, rng) for quality in rng.uniform(0, 1, n_units)]
    scores = np.array([full(sums) for sums in of_unit])
    return of_unit, scores, scores + blur * rng.normal(size=n_units)


def partials(of_unit: Sequence[Floats], cheap: Floats, n_read: Sequence[int]) -> list[Partial]:
    return [Partial(np.array([c]), sums[:n], len(sums)) for sums, c, n in zip(of_unit, cheap, n_read, strict=True)]


def test_all_read_is_the_score_itself_without_doubt() -> None:
    of_unit, scores, cheap = study(12, 6, blur=0.3)
    value, spread, _ = estimate(partials(of_unit, cheap, [6] * 12))
    assert value == pytest.approx(scores)
    assert spread == pytest.approx(np.zeros(12))


def test_nothing_read_ranks_by_cheap_scores() -> None:
    of_unit, _, cheap = study(12, 6, blur=0.3)
    value, spread, _ = estimate(partials(of_unit, cheap, [0] * 12))
    assert spearman(value, cheap) == pytest.approx(1)
    assert (spread > 0).all()


def test_both_together_rank_better_than_either() -> None:
    found = []
    for seed in range(5):
        of_unit, scores, cheap = study(60, 20, blur=0.2, seed=seed)
        read = np.array([full(sums[:4]) for sums in of_unit])
        value = estimate(partials(of_unit, cheap, [4] * 60)).value
        found.append([spearman(one, scores) for one in (value, read, cheap)])
    together, alone, for_nothing = np.mean(found, axis=0)
    assert together > max(alone, for_nothing) + 0.02


def test_cheap_scores_that_say_nothing_do_little_harm() -> None:
    found = []
    for seed in range(5):
        of_unit, scores, _ = study(60, 20, blur=0.0, seed=seed)
        noise = np.random.default_rng([seed, 1]).normal(size=60)
        read = np.array([full(sums[:8]) for sums in of_unit])
        value = estimate(partials(of_unit, noise, [8] * 60)).value
        found.append([spearman(value, scores), spearman(read, scores)])
    told, alone = np.mean(found, axis=0)
    assert told > alone - 0.03


def test_the_more_is_read_the_surer() -> None:
    of_unit, _, cheap = study(30, 20, blur=0.3)
    spread = estimate(partials(of_unit, cheap, [4, 12] * 15)).spread
    assert spread[1::2].mean() < spread[0::2].mean()


def test_what_is_read_counts_even_where_nothing_can_be_left_out() -> None:
    of_unit, scores, cheap = study(60, 20, blur=0.6)
    found = estimate(partials(of_unit, cheap, [2] * 60))
    assert (found.spread > 0).all()
    assert np.abs(found.value - found.predicted).max() > 0
    assert spearman(found.value, scores) > spearman(found.predicted, scores)


def test_a_score_that_is_not_defined_is_told_by_the_others() -> None:
    of_unit, _, cheap = study(12, 20, blur=0.3)
    silent = token_sums(np.zeros(N_TOKENS), np.ones(N_TOKENS))
    of_unit[5] = np.array([silent] * 20)
    cheap[7] = np.nan
    value, spread, predicted = estimate(partials(of_unit, cheap, [4] * 12))
    assert np.isfinite(value).all() and np.isfinite(spread).all()
    assert value[5] == predicted[5]


def test_doubt_is_the_expected_number_of_wrong_pairs() -> None:
    # Equal estimates are in the wrong order half of the time; two deviations apart, 1 - Phi(2 / sqrt(2)) = .0786.
    doubt = misordered(np.array([0.0, 0.0, 2.0]), np.array([1.0, 1.0, 1.0]))
    assert doubt == pytest.approx([0.5 + 0.0786, 0.5 + 0.0786, 2 * 0.0786], abs=1e-4)
    assert misordered(np.array([0.0, 0.1]), np.zeros(2)) == pytest.approx([0, 0])
