import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentese.dictionaries import kernels


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_sum_rows_by_hand():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [10.0, 10.0]])
    sums = kernels.sum_rows(torch.tensor([[2.0, 3.0], [1.0, 0.5]]), torch.tensor([[0, 1], [2, 0]]), rows)
    torch.testing.assert_close(sums, torch.tensor([[2.0, 3.0], [10.5, 10.0]]))


def test_dot_rows_by_hand():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [10.0, 10.0]])
    dots = kernels.dot_rows(torch.tensor([[2.0, 3.0], [1.0, 0.5]]), rows, torch.tensor([[0, 1], [2, 0]]))
    torch.testing.assert_close(dots, torch.tensor([[2.0, 3.0], [15.0, 1.0]]))


def test_sum_by_latent_by_hand():
    # Latent 0: 2 * token 0 + 0.5 * token 1; latent 1: 3 * token 0; latent 2: 1 * token 1; nobody chose latent 3.
    tokens = torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    indices, weights = torch.tensor([[0, 1], [2, 0]]), torch.tensor([[2.0, 3.0], [1.0, 0.5]])
    sums = kernels.sum_by_latent(indices, weights, tokens, n_latents=4)
    torch.testing.assert_close(sums, torch.tensor([[2.0, 2.0], [3.0, 0.0], [0.0, 4.0], [0.0, 0.0]]))


def test_chunks_of_the_encoder_product_give_the_same_support():
    n_latents = 1 << 12
    n_tokens = 2 * kernels.CHUNK_VALUES // n_latents + 100  # two whole chunks and a rest
    acts, W_enc, b_enc = randn(n_tokens, 3), randn(3, n_latents, seed=1), randn(n_latents, seed=2)
    cut = kernels.select_topk(acts, W_enc, b_enc, 4)
    whole = kernels.keep_topk(torch.addmm(b_enc, acts, W_enc), 4)
    assert torch.equal(whole[1].sort(dim=1).values, cut[1].sort(dim=1).values)
    torch.testing.assert_close(whole[0].sort(dim=1).values, cut[0].sort(dim=1).values)


@given(n_tokens=st.integers(1, 9), n_latents=st.integers(1, 12), seed=st.integers(0, 99), data=st.data())
def test_sparse_products_agree_with_autograd(n_tokens, n_latents, seed, data):
    k = data.draw(st.integers(1, n_latents))
    acts, W_enc, b_enc = (
        randn(n_tokens, 5, seed=seed),
        randn(5, n_latents, seed=seed + 1),
        randn(n_latents, seed=seed + 2),
    )
    b_dec, W_dec, aim = randn(5, seed=seed + 3), randn(n_latents, 5, seed=seed + 4), randn(n_tokens, 5, seed=seed + 5)
    weights = [tensor.requires_grad_() for tensor in (W_enc, b_enc, b_dec, W_dec)]
    values, indices = kernels.encode_topk(acts, W_enc, b_enc, b_dec, k)
    found = torch.autograd.grad(((kernels.decode_topk(values, indices, W_dec) - aim) ** 2).sum(), weights)
    pre_acts = (acts - b_dec) @ W_enc + b_enc
    dense = torch.zeros_like(pre_acts).scatter(1, indices, pre_acts.gather(1, indices).relu())
    expected = torch.autograd.grad(((dense @ W_dec - aim) ** 2).sum(), weights)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_acts_are_data_and_get_no_gradient():
    acts = randn(3, 5).requires_grad_()
    values, _ = kernels.encode_topk(acts, randn(5, 8).requires_grad_(), torch.zeros(8), torch.zeros(5), 2)
    values.sum().backward()
    assert acts.grad is None


@pytest.mark.parametrize("repeat", range(3))
def test_gradients_are_the_same_bytes_every_time(repeat):
    W_dec = randn(300, 16).requires_grad_()
    values, indices = randn(2000, 8), torch.randint(300, (2000, 8), generator=torch.Generator().manual_seed(1))
    first, again = (
        torch.autograd.grad(kernels.decode_topk(values, indices, W_dec).square().sum(), W_dec)[0] for _ in range(2)
    )
    assert torch.equal(first, again)
