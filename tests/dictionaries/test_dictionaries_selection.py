"""Sums of whole numbers below 2^24 are exact in fp32 in any order, so for them the top k is known with certainty,
ties included, while bf16 (8 bits) rounds every number above 256."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from latentese.dictionaries import selection
from latentese.dictionaries.selection import select_topk, select_with_pre_acts


@pytest.fixture(params=["bf16", "fp32"], autouse=True)
def product(request, monkeypatch):
    if request.param == "bf16" and not selection.has_fast_bf16():
        pytest.skip("this processor has no bf16 products")
    monkeypatch.setattr(selection, "has_fast_bf16", lambda: request.param == "bf16")
    return request.param


def whole(*shape: int, seed: int, largest: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-largest, largest + 1, shape, generator=generator).float()


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def expected(tokens: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> Tensor:
    """Dense code of the top k, of equal values the first, from a stable sort in fp64."""
    pre_acts = tokens.double() @ W_enc.double() + b_enc.double()
    order = pre_acts.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return torch.zeros_like(pre_acts).scatter(1, order, pre_acts.gather(1, order).clamp_min(0)).float()


def dense(values: Tensor, indices: Tensor, n_latents: int) -> Tensor:
    assert all(len(set(row)) == len(row) for row in indices.tolist())  # padding repeats nothing
    return torch.zeros(len(values), n_latents).scatter(1, indices, values)


def assert_selects_exactly(tokens: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> None:
    values, indices = select_topk(tokens, W_enc, b_enc, k)
    assert values.shape == indices.shape == (len(tokens), k)
    assert torch.equal(dense(values, indices, W_enc.shape[1]), expected(tokens, W_enc, b_enc, k))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # compiled in the first example
@given(
    n_tokens=st.integers(1, 5),
    n_latents=st.integers(1, 150),
    d_model=st.integers(1, 40),
    largest=st.sampled_from([1, 3, 300, 700]),
    seed=st.integers(0, 999),
    data=st.data(),
)
def test_any_whole_numbers(n_tokens, n_latents, d_model, largest, seed, data):
    # at most 40 * 700^2 = 19.6 million, above 2^24 by itself, but no sum of random signs comes near
    tokens = whole(n_tokens, d_model, seed=seed, largest=largest)
    rows = whole(n_latents, d_model, seed=seed + 1, largest=largest)
    bias = whole(n_latents, seed=seed + 2, largest=largest)
    assert_selects_exactly(tokens, rows.t(), bias, data.draw(st.integers(1, n_latents)))


@pytest.mark.parametrize("k", [1, 8, 64, 300])
def test_near_ties_that_bf16_cannot_tell_apart(k):
    # scores are 64 * 300 * 300 = 5.76 million, up or down 300 times -3..3: 5,000 apart where a bf16 step is 32,768
    tokens = torch.full((40, 64), 300.0)
    rows = torch.full((300, 64), 300.0)
    rows[:, 0] += whole(300, seed=1, largest=3)
    tokens[:, 1] -= torch.arange(40.0)
    assert_selects_exactly(tokens, rows.t(), torch.zeros(300), k)


@pytest.mark.parametrize("k", [1, 5, 77])
def test_of_latents_that_are_all_the_same_the_first_are_kept(k):
    tokens, row = whole(9, 16, seed=0, largest=400).abs(), whole(1, 16, seed=1, largest=400).abs()
    _, indices = select_topk(tokens, row.expand(77, -1).t(), torch.zeros(77), k)
    assert indices.tolist() == [list(range(k))] * 9


def test_some_duplicated_latents():
    rows = whole(60, 24, seed=1, largest=500)
    rows = torch.cat([rows, rows, rows[:7]])
    for k in (1, 2, 3, 20, 100):
        assert_selects_exactly(whole(30, 24, seed=0, largest=500), rows.t(), torch.zeros(127), k)


def test_numbers_on_the_edge_between_two_bf16_numbers():
    # between 256 and 512 bf16 has even numbers only: odd ones lie half-way and are rounded to the even neighbour
    edge = torch.tensor([257.0, 259.0, 511.0, 256.0, 258.0, -257.0, -259.0])
    tokens = edge[whole(50, 12, seed=0, largest=3).long() + 3]
    rows = edge[whole(200, 12, seed=1, largest=3).long() + 3]
    for k in (1, 16, 100):
        assert_selects_exactly(tokens, rows.t(), whole(200, seed=2, largest=300), k)


@pytest.mark.parametrize("exponent", [-60, -30, 30, 40, 49])
def test_the_scale_of_a_token_changes_nothing(exponent):
    # multiplication by a power of two is exact; the pre-activations go from 2^-40 to 2^69
    tokens, rows = whole(20, 32, seed=0, largest=700), whole(100, 32, seed=1, largest=700)
    tokens[::2] *= 2.0**exponent
    assert_selects_exactly(tokens, rows.t(), torch.zeros(100), 7)


def test_tokens_of_enormous_size_are_left_to_torch():
    # 2^100 * 2^10 does not overflow yet, but is past what bounds are trusted for
    tokens, rows = whole(20, 32, seed=0, largest=700), whole(100, 32, seed=1, largest=700)
    tokens[3] *= 2.0**100
    assert_selects_exactly(tokens, rows.t(), torch.zeros(100), 7)


@pytest.mark.parametrize("exponent", [-8, 3, 12])
def test_latents_of_very_different_size(exponent):
    tokens, rows = whole(20, 32, seed=0, largest=30), whole(100, 32, seed=1, largest=30)
    rows[::3] *= 2.0**exponent
    assert_selects_exactly(tokens, rows.t(), torch.zeros(100), 7)


def test_numbers_smaller_than_the_smallest_normal_one():
    # 2^-140 is subnormal in bf16 and fp32; times 2^20 it is normal again, and decides
    tokens, rows = whole(5, 8, seed=0, largest=7) * 2.0**20, whole(40, 8, seed=1, largest=7) * 2.0**-140
    values, indices = select_topk(tokens, rows.t(), torch.zeros(40), 3)
    wanted = expected(tokens, rows.t(), torch.zeros(40), 3)
    assert torch.equal(dense(values, indices, 40), wanted)
    assert (wanted > 0).sum() == 15


def test_zero_tokens_have_the_largest_biases():
    bias = whole(90, seed=5, largest=40) + 0.5  # ties, and no zeros
    assert_selects_exactly(torch.zeros(6, 10), whole(90, 10, seed=1, largest=9).t(), bias, 12)


def test_zero_tokens_without_bias_have_no_active_latent():
    values, indices = select_topk(torch.zeros(6, 10), whole(90, 10, seed=1, largest=9).t(), torch.zeros(90), 12)
    assert values.sum() == 0
    assert indices.tolist() == [list(range(12))] * 6


def test_where_all_are_negative_nothing_is_active():
    tokens, rows = whole(6, 10, seed=0, largest=9).abs() + 1, -whole(50, 10, seed=1, largest=9).abs() - 1
    assert_selects_exactly(tokens, rows.t(), torch.zeros(50), 5)
    assert_selects_exactly(tokens, rows.t(), torch.zeros(50), 50)


def test_a_large_bias_decides_where_it_is_large():
    bias = torch.zeros(64)
    bias[[5, 60]] = 3_000_000.0
    _, indices = select_topk(whole(10, 8, seed=0, largest=500), whole(64, 8, seed=1, largest=500).t(), bias, 2)
    assert indices.tolist() == [[5, 60]] * 10


@pytest.mark.parametrize("k", [1, 31, 32, 33, 64])
def test_all_latents_and_blocks_that_end_early(k):
    for n_latents in (64, 65, 95, 97):
        tokens, rows = whole(11, 20, seed=0, largest=600), whole(n_latents, 20, seed=1, largest=600)
        assert_selects_exactly(tokens, rows.t(), torch.zeros(n_latents), k)
        assert_selects_exactly(tokens, rows.t(), torch.zeros(n_latents), n_latents)


def encoded(tokens: Tensor, n_latents: int = 700, k: int = 9) -> tuple[Tensor, Tensor]:
    return select_topk(tokens, randn(n_latents, 48, seed=1).t() / 7, randn(n_latents, seed=2) / 9, k)


def test_real_numbers_agree_with_fp64_up_to_rounding():
    tokens = randn(300, 48)
    values, indices = encoded(tokens)
    wanted = expected(tokens, randn(700, 48, seed=1).t() / 7, randn(700, seed=2) / 9, 9)
    torch.testing.assert_close(dense(values, indices, 700), wanted, atol=1e-5, rtol=1e-5)


def test_bytes_do_not_depend_on_precision_of_the_product(monkeypatch, product):
    if product == "fp32":
        pytest.skip("compared with itself; the other product is compared with this one")
    tokens = randn(300, 48)
    values, indices = encoded(tokens)
    monkeypatch.setattr(selection, "has_fast_bf16", lambda: False)
    again = encoded(tokens)
    assert torch.equal(values, again[0])
    assert torch.equal(indices, again[1])


@pytest.mark.parametrize("rows_per_chunk", [1, 7, 299, 300])
def test_bytes_do_not_depend_on_chunks(monkeypatch, product, rows_per_chunk):
    whole_batch = encoded(randn(300, 48))
    monkeypatch.setattr(selection, "CHUNK_BYTES", rows_per_chunk * 700 * (2 if product == "bf16" else 4))
    cut = encoded(randn(300, 48))
    assert torch.equal(whole_batch[0], cut[0])
    assert torch.equal(whole_batch[1], cut[1])


def test_bytes_do_not_depend_on_the_batch():
    tokens = randn(100, 48)
    together = encoded(tokens)
    alone = [encoded(token[None]) for token in tokens]
    assert torch.equal(together[0], torch.cat([values for values, _ in alone]))
    assert torch.equal(together[1], torch.cat([indices for _, indices in alone]))


def test_pre_acts_come_with_the_same_bytes():
    weights = randn(700, 48, seed=1).t() / 7, randn(700, seed=2) / 9
    for n_tokens in (1, 300):
        (values, indices), pre_acts = select_with_pre_acts(randn(n_tokens, 48), *weights, 9)
        alone = encoded(randn(n_tokens, 48))
        assert torch.equal(values, alone[0])
        assert torch.equal(indices, alone[1])
        torch.testing.assert_close(pre_acts, randn(n_tokens, 48) @ weights[0] + weights[1])


def test_no_tokens_have_no_latents():
    assert select_topk(torch.zeros(0, 48), randn(48, 70), torch.zeros(70), 5)[0].shape == (0, 5)
    assert select_with_pre_acts(torch.zeros(0, 48), randn(48, 70), torch.zeros(70), 5)[1].shape == (0, 70)


def test_bytes_do_not_depend_on_threads():
    n_threads, results = torch.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(encoded(randn(1000, 48)))
    finally:
        torch.set_num_threads(n_threads)
    for values, indices in results[1:]:
        assert torch.equal(values, results[0][0])
        assert torch.equal(indices, results[0][1])


@pytest.mark.parametrize("where", ["token", "latent"])
def test_what_is_not_a_number_is_not_hidden(where):
    tokens, rows = randn(4, 48), randn(70, 48, seed=1)
    (tokens if where == "token" else rows)[2, 5] = torch.nan
    values, _ = select_topk(tokens, rows.t(), torch.zeros(70), 3)
    assert values.isnan().any(dim=1).tolist() == ([False, False, True, False] if where == "token" else [True] * 4)


@pytest.mark.parametrize("chunk_values", [1, 70, 3 * 70, 1 << 27])
def test_other_dtypes_take_torchs_own_way(monkeypatch, chunk_values):
    monkeypatch.setattr(selection, "CHUNK_VALUES", chunk_values)
    tokens, rows = randn(10, 48).double(), randn(70, 48, seed=1).double()
    values, indices = select_topk(tokens, rows.t(), torch.zeros(70).double(), 5)
    assert values.dtype == torch.float64
    torch.testing.assert_close(dense(values.float(), indices, 70), expected(tokens, rows.t(), torch.zeros(70), 5))


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
@pytest.mark.parametrize("d_model", [1, 5, 576, 5000])
def test_scores_bound_pre_activations_from_above(product, scale, d_model):
    tokens, rows = randn(64, d_model) * scale, randn(500, d_model, seed=1) * torch.logspace(-3, 3, 500)[:, None]
    operands = selection.Operands(tokens, rows, randn(500, seed=2) * scale)
    kind = selection._Bf16Bounds if product == "bf16" else selection._Fp32Bounds
    scores = kind(operands, selection._round(tokens), selection._round(rows)).scores(slice(0, 64))
    exact = tokens.double() @ rows.double().t() + operands.bias.double()
    least = (exact - torch.from_numpy(scores.slack).double()[:, None]).float()
    shortened = (least.view(torch.int32) >> scores.shift).numpy()
    assert (scores.keys >= shortened)[least.numpy() > 0].all()
    if product == "fp32":  # and that is not for nothing
        assert (torch.from_numpy(scores.keys).view(torch.float32) < exact.float()).any() or d_model == 1


def test_rounding_says_what_it_took():
    rows = torch.tensor([[1.0, 257.0, -259.0], [3.0, 2.0**-130, 4.0]])
    rounded = selection._round(rows)
    assert rounded.rows[:, :3].tolist() == [[1.0, 256.0, -260.0], [3.0, 0.0, 4.0]]
    torch.testing.assert_close(rounded.size[1].item(), 5.0)
    torch.testing.assert_close(rounded.lost, torch.tensor([2.0**0.5, 2.0**-130], dtype=torch.float64))
