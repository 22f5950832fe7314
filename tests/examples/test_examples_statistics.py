import numpy as np
import torch

from latentese.examples.statistics import HISTOGRAM_EDGES, UnitStatistics, draw_units
from latentese.examples.stream import Batch, BatchFirings


def batch_of(acts: list[list[float]], lengths: list[int]) -> tuple[Batch, BatchFirings]:
    """A batch of tokens by units, 0 meaning silent."""
    dense = torch.tensor(acts)
    row, unit = dense.nonzero(as_tuple=True)
    max_act = torch.stack([part.amax(0) for part in torch.split(dense, lengths)])
    max_act = max_act.masked_fill(max_act == 0, -torch.inf)
    batch = Batch(dense, np.arange(len(lengths)), lengths, np.zeros(len(acts)))
    return batch, BatchFirings(row, unit, dense[row, unit], max_act, max_act)


def test_statistics_by_hand():
    statistics = UnitStatistics(2)
    # document 7 has three contexts, over two batches; document 8 one
    statistics.add_(*batch_of([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]], [1, 2]), np.array([7, 7]))
    statistics.add_(*batch_of([[4.0, 0.5], [1.0, 0.0]], [1, 1]), np.array([7, 8]))
    table = statistics.table(torch.tensor([0.0, 0.25]), np.array([0, -1]))
    assert table["n_fires"].to_list() == [4, 1]
    assert table["density"].to_list() == [4 / 5, 1 / 5]
    assert table["max_act"].to_list() == [4.0, 0.5]
    assert table["mean_act"].to_list() == [2.0, 0.5]
    assert table["n_documents"].to_list() == [2, 1]
    assert table["threshold"].to_list() == [0.0, 0.25]
    assert table["draw"].to_list() == [0, None]
    assert statistics.live_units(2).tolist() == [0]


def test_histogram_bins_hold_their_lower_edge_and_the_end_bins_the_rest():
    statistics = UnitStatistics(1)
    acts = [[1.0], [1.2], [2**0.5 + 1e-4], [1e-9], [1e9]]
    statistics.add_(*batch_of(acts, [5]), np.array([0]))
    counts = statistics.histogram[0]
    of_one = HISTOGRAM_EDGES.index(1.0)
    assert counts.sum() == 5
    assert (counts[0], counts[of_one], counts[of_one + 1], counts[-1]) == (1, 2, 1, 1)


def test_state_does_not_grow_with_the_tokens():
    statistics = UnitStatistics(3)

    def size() -> int:
        return sum(value.numel() for value in vars(statistics).values() if isinstance(value, torch.Tensor))

    before = size()
    for number in range(20):
        statistics.add_(
            *batch_of(np.random.default_rng(number).random((50, 3)).tolist(), [25, 25]), np.array([number] * 2)
        )
    assert size() == before


def test_the_draw_is_nested_and_ignores_the_dead():
    live = np.array([1, 4, 5, 9])
    draw = draw_units(live, n_units=12, seed=0)
    assert sorted(draw[live].tolist()) == [0, 1, 2, 3]
    assert (np.delete(draw, live) == -1).all()
    assert not np.array_equal(draw, draw_units(live, n_units=12, seed=1))


def test_every_live_unit_is_as_likely_to_come_first():
    live = np.arange(5)
    first = [int(np.argmin(draw_units(live, 5, seed))) for seed in range(1000)]
    assert np.abs(np.bincount(first, minlength=5) - 200).max() < 60  # standard deviation about 13
