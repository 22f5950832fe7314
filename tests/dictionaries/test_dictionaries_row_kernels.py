import numpy as np

from latentese.dictionaries import row_kernels as rows


def test_group_by_latent_keeps_the_order_of_tokens_and_drops_zeros():
    chosen = rows.Chosen(np.array([[1, 0], [2, 3]], np.float32), np.array([[2, 0], [0, 2]]))
    groups = rows.Groups(np.zeros(4, np.int64), np.empty(4, np.int32), np.empty(4, np.float32))
    rows.group_by_latent(chosen, groups)
    assert groups.starts.tolist() == [0, 1, 1, 3]  # latent 0: token 1; latent 1: nobody; latent 2: tokens 0 and 1
    assert groups.tokens[:3].tolist() == [1, 0, 1]
    assert groups.weights[:3].tolist() == [2, 1, 3]


def test_a_range_of_rows_leaves_the_others_alone():
    out, tokens = np.full((3, 2), 9, np.float32), np.ones((1, 2), np.float32)
    groups = rows.Groups(np.array([0, 1, 1, 1]), np.zeros(1, np.int32), np.full(1, 2, np.float32))
    rows.sum_groups(groups, tokens, out, 0, 2)
    assert out.tolist() == [[2, 2], [0, 0], [9, 9]]
