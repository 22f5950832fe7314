from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentese.examples.candidates import Best, random_keys


def test_best_keeps_the_largest_keys_of_each_unit_over_batches():
    best = Best(n_units=2, n=2)
    best.add_(torch.tensor([[1.0, 5.0], [3.0, -torch.inf]]), torch.tensor([10, 11]), torch.zeros(2, 2))
    best.add_(torch.tensor([[2.0, -torch.inf]]), torch.tensor([12]), torch.zeros(1, 2))
    table = best.table(np.array([0, 1]))
    # unit 0: 3 (context 11) before 2 (context 12); unit 1 fired in context 10 alone
    assert table.select("unit", "context").rows() == [(0, 11), (0, 12), (1, 10)]


@given(cuts=st.lists(st.integers(0, 30), max_size=4), seed=st.integers(0, 50), n_levels=st.sampled_from([3, 1000]))
def test_the_batching_does_not_matter_even_among_equal_keys(cuts, seed, n_levels):
    keys = torch.from_numpy(np.random.default_rng(seed).integers(0, n_levels, (30, 4))).float()
    contexts = torch.arange(30)

    def run(bounds: list[int]) -> list[tuple[object, ...]]:
        best = Best(n_units=4, n=5)
        for start, stop in pairwise(bounds):
            if start < stop:
                best.add_(keys[start:stop], contexts[start:stop], keys[start:stop])
        return best.table(np.arange(4)).rows()

    assert run([0, *sorted(cuts), 30]) == run([0, 30])


def test_random_keys_depend_on_seed_unit_and_context_alone():
    units, contexts = np.arange(50, dtype=np.uint64), np.arange(40)
    keys = random_keys(1, units, contexts)
    assert keys.shape == (40, 50)
    assert np.array_equal(random_keys(1, units[7:9], contexts[[30, 3]]), keys[[30, 3]][:, 7:9])
    assert not np.array_equal(random_keys(2, units, contexts), keys)


def test_random_keys_are_uniform():
    keys = random_keys(3, np.arange(300, dtype=np.uint64), np.arange(300))
    assert len(np.unique(keys)) == keys.size
    assert abs(keys.mean() - 0.5) < 0.005
    counts, _ = np.histogram(keys, bins=10, range=(0, 1))
    assert counts.min() > 0.96 * 9000
    # neither neighbouring units nor neighbouring contexts go together
    assert abs(np.corrcoef(keys[:, 0], keys[:, 1])[0, 1]) < 0.2
    assert abs(np.corrcoef(keys[0], keys[1])[0, 1]) < 0.2


def test_a_reservoir_of_such_keys_is_a_uniform_sample():
    best = Best(n_units=2000, n=3)
    contexts = np.arange(12)
    keys = random_keys(0, np.arange(2000, dtype=np.uint64), contexts)
    best.add_(torch.from_numpy(keys), torch.from_numpy(contexts), torch.zeros(12, 2000))
    counts = np.bincount(best.contexts.numpy().ravel(), minlength=12)
    assert counts.sum() == 6000
    assert np.abs(counts - 500).max() < 90  # standard deviation about 20
