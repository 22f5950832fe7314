from dataclasses import replace

import numpy as np
import polars as pl
import torch

from latentese.examples.candidates import Best, Candidates
from latentese.examples.selection import choose_examples, draw_random
from latentese.examples.settings import SampleSettings

SETTINGS = SampleSettings(n_top=2, n_quantile=1, n_random=3, n_near_miss=2, n_pool_contexts=1, reservoir=20)


def candidates_of(max_act: np.ndarray, near: np.ndarray) -> Candidates:
    """Candidates of one unit, from its largest activation (0: silent) and pre-activation in contexts 100, 101, ..."""
    candidates = Candidates(1, SETTINGS)
    contexts = torch.arange(100, 100 + len(max_act))
    acts = torch.tensor(max_act, dtype=torch.float32)[:, None]
    acts = acts.masked_fill(acts == 0, -torch.inf)
    pre_acts = torch.tensor(near, dtype=torch.float32)[:, None].masked_fill(acts > -torch.inf, -torch.inf)
    candidates.top.add_(acts, contexts, acts)
    candidates.near_miss.add_(pre_acts, contexts, acts)
    candidates.reservoir.add_(acts, contexts, acts)
    return candidates


def choose(max_act: np.ndarray, near: np.ndarray) -> pl.DataFrame:
    return choose_examples(
        candidates_of(max_act, near), range(100, 100 + len(max_act)), np.array([0]), SETTINGS, seed=5
    )


def test_kinds_by_hand():
    # Fires in contexts 100..109 with 1..10; 110..119 are silent, 115 and 112 nearest to firing.
    max_act = np.r_[np.arange(1, 11), np.zeros(10)]
    near = np.r_[np.zeros(10), [0.1, 0.2, 0.8, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1]]
    chosen = choose(max_act, near)
    kinds = {kind: rows["context"].to_list() for (kind,), rows in chosen.group_by("kind", maintain_order=True)}
    assert kinds["top"] == [109, 108]
    assert kinds["near_miss"] == [115, 112]
    # Bands of two contexts each, best key first; the last band has only the top two, which are taken.
    assert kinds["quantile"] == [101, 103, 105, 107]
    assert chosen.filter(kind="quantile")["band"].to_list() == [0, 1, 2, 3]
    assert len(kinds["random"]) == 3


def test_bands_are_counted_from_the_weakest_contexts_up():
    # Ranks 1..10 are the shares .05, .15, ..., .95; the bands end at .5 and .8, and an edge begins the next band.
    settings = replace(SETTINGS, n_top=0, n_quantile=10, bands=(0.0, 0.5, 0.8, 1.0))
    candidates = candidates_of(np.r_[np.arange(1, 11), np.zeros(10)], np.zeros(20))
    candidates.top = Best(1, 0)
    chosen = choose_examples(candidates, range(100, 120), np.array([0]), settings, seed=5).filter(kind="quantile")
    assert chosen.sort("context")["band"].to_list() == [0] * 5 + [1] * 3 + [2] * 2


def test_a_context_is_kept_once():
    rng = np.random.default_rng(0)
    for n_contexts in (6, 9, 30):
        max_act = rng.random(n_contexts) * (rng.random(n_contexts) < 0.5)
        chosen = choose(max_act, rng.random(n_contexts))
        assert chosen["context"].n_unique() == chosen.height
        fires = dict(zip(range(100, 100 + n_contexts), max_act > 0, strict=True))
        for kind, fired in (("top", True), ("quantile", True), ("near_miss", False)):
            assert all(fires[context] == fired for context in chosen.filter(kind=kind)["context"])


def test_a_silent_unit_has_near_misses_and_random_contexts_only():
    chosen = choose(np.zeros(8), np.arange(8.0))
    assert chosen["kind"].to_list() == ["near_miss"] * 2 + ["random"] * 3


def test_random_contexts_are_drawn_whatever_fires():
    drawn = draw_random(np.array([3, 8]), range(50, 70), 6, seed=1)
    assert drawn.group_by("unit").len().sort("unit").rows() == [(3, 6), (8, 6)]
    assert drawn["context"].is_between(50, 69).all()
    assert drawn.select("unit", "context").is_unique().all()
    alone = draw_random(np.array([8]), range(50, 70), 6, seed=1)
    assert alone["context"].to_list() == drawn.filter(unit=8)["context"].to_list()
    assert drawn.filter(unit=3)["context"].to_list() != alone["context"].to_list()


def test_random_contexts_are_uniform():
    drawn = draw_random(np.arange(3000), range(20), 5, seed=1)
    counts = np.bincount(drawn["context"].to_numpy(), minlength=20)
    assert np.abs(counts - 750).max() < 120  # standard deviation about 24
