"""What is expected of a costly score: between what was read and what cheap scores say, as sure as either is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from latentese.metrics.cascade import Partial, chances, estimate, misordered, reading_order, sizes
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
    found = []
    for sums, c, n in zip(of_unit, cheap, n_read, strict=True):
        alike = np.full(n, n / len(sums))  # every context as likely as any other
        found.append(Partial(np.array([c]), sums[:n], alike, len(sums)))
    return found


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


def test_sizes_are_norms_of_deviations_from_the_units_mean() -> None:
    # The mean over all tokens is 1: deviations are (3, -1), (-1, -1), with squares 10 and 2; their mean is 6.
    found = sizes([(4.0, 0.0), (0.0, 0.0)])
    assert found == pytest.approx(np.sqrt([10 + 0.06, 2 + 0.06]))
    assert sizes([(2.0, 2.0), (2.0,)]) == pytest.approx([1, 1]), "a unit that never changes"


def test_chances_are_in_proportion_to_size_and_none_above_one() -> None:
    assert chances(np.array([1.0, 1.0, 2.0]), 1) == pytest.approx([0.25, 0.25, 0.5])
    # Of 2, the large one would have 16/10: it is sure to be read, and the others share the one that is left.
    assert chances(np.array([8.0, 1.0, 1.0]), 2) == pytest.approx([1, 0.5, 0.5])
    assert chances(np.array([8.0, 1.0, 1.0]), 0) == pytest.approx([0, 0, 0])
    assert chances(np.array([8.0, 1.0, 1.0]), 3) == pytest.approx([1, 1, 1])


def test_contexts_are_read_about_as_often_as_their_chances_say() -> None:
    size = np.array([3.0] * 5 + [2.0] * 5 + [1.0] * 20)
    often = np.zeros(30)
    for seed in range(2000):
        often[reading_order(size, np.random.default_rng(seed))[:8]] += 1
    # Chances are .53, .36 and .18; 2,000 draws tell them to within .03, the order of the draws itself to about as much.
    assert chances(size, 8)[[0, 5, 10]] == pytest.approx([24 / 45, 16 / 45, 8 / 45])
    assert often / 2000 == pytest.approx(chances(size, 8), abs=0.06)


def test_what_was_read_stands_for_what_was_not() -> None:
    # Drawn half as often, a context counts twice: as if it had been read with a second one like it.
    rng = np.random.default_rng(0)
    one, other = contexts(0.5, 2, rng)
    told = Partial(np.zeros(1), np.array([one, other]), np.array([0.5, 1.0]), 3)
    assert told.score == pytest.approx(full(np.array([one, one, other])))


def test_large_contexts_tell_more_of_a_rare_unit_than_contexts_at_random() -> None:
    # A unit that fires in a fifth of its contexts: most draws at random see it once or not at all.
    errors: dict[str, list[float]] = {"by size": [], "at random": []}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        true = [rng.normal(size=N_TOKENS) * (3.0 if i % 5 == 0 else 0.1) for i in range(40)]
        sums = np.array([token_sums(acts, acts + rng.normal(size=N_TOKENS)) for acts in true])
        for name, size in (("by size", sizes([tuple(acts) for acts in true])), ("at random", np.ones(40))):
            read = reading_order(size, rng)[:8]
            told = Partial(np.zeros(1), sums[read], chances(size, 8)[read], 40)
            errors[name].append(told.score - full(sums))
    by_size, at_random = (float(np.square(errors[name]).mean()) for name in ("by size", "at random"))
    assert by_size < at_random / 2


def test_doubt_covers_how_far_scores_are_off() -> None:
    of_unit, scores, cheap = study(200, 20, blur=5.0)
    value, spread, _ = estimate(partials(of_unit, cheap, [6] * 200))
    assert 0.85 < float((np.abs(value - scores) < 1.96 * spread).mean()) < 0.99
