import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentese.dictionaries import kernels


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["compiled", "torch"], autouse=True)
def form(request, monkeypatch):
    """Both forms of each sum, whatever the device."""
    monkeypatch.setattr(kernels, "_loops_are_compiled_for", lambda _: request.param == "compiled")


def test_sum_rows_by_hand():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [10.0, 10.0]])
    sums = kernels.sum_rows(torch.tensor([[2.0, 3.0], [1.0, 0.5]]), torch.tensor([[0, 1], [2, 0]]), rows)
    torch.testing.assert_close(sums, torch.tensor([[2.0, 3.0], [10.5, 10.0]]))


def test_sum_rows_adds_to_a_start_in_place():
    rows, start = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[5.0, 6.0]])
    sums = kernels.sum_rows(torch.tensor([[2.0, 3.0]]), torch.tensor([[0, 1]]), rows, start)
    torch.testing.assert_close(sums, torch.tensor([[7.0, 9.0]]))
    assert sums.data_ptr() == start.data_ptr()


def test_take_out_along_by_hand():
    # (3, 4) . (.6, .8) = 5, and 5 times the row is (3, 4): nothing is left; (1, 0) is orthogonal to (0, 1)
    grads, rows = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[0.6, 0.8], [0.0, 1.0]])
    kernels.take_out_along_(grads, rows)
    torch.testing.assert_close(grads, torch.tensor([[0.0, 0.0], [1.0, 0.0]]), atol=1e-6, rtol=0)


def test_mean_square_and_its_gradient_by_hand():
    error = torch.tensor([[3.0, 4.0], [0.0, 1.0]], requires_grad=True)
    mean = kernels.mean_square(error)  # (25 + 1) / 2
    (3 * mean).backward()
    assert mean.item() == 13.0
    torch.testing.assert_close(error.grad, torch.tensor([[9.0, 12.0], [0.0, 3.0]]))  # 3 * 2 / 2 * error


def test_decode_error_is_the_reconstruction_minus_the_acts():
    acts, b_dec, W_dec = randn(30, 5), randn(5, seed=1).requires_grad_(), randn(9, 5, seed=2).requires_grad_()
    values, indices = randn(30, 3, seed=3).requires_grad_(), randn(30, 9, seed=4).argsort(dim=1)[:, :3]
    weights = [values, W_dec, b_dec]
    found = kernels.decode_error((values, indices), W_dec, b_dec, (acts - b_dec).detach())
    wanted = kernels.decode_topk(values, indices, W_dec) + b_dec - acts
    torch.testing.assert_close(found, wanted)
    pairs = zip(*(torch.autograd.grad((error**3).sum(), weights) for error in (found, wanted)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)  # of the order of 100


def test_both_forms_agree_on_many_rows(monkeypatch):
    weights, indices = randn(3000, 7).relu(), torch.randint(50, (3000, 7), generator=torch.Generator().manual_seed(1))
    tokens, rows = randn(3000, 16, seed=2), randn(50, 16, seed=3)
    results = []
    for compiled in (True, False):
        monkeypatch.setattr(kernels, "_loops_are_compiled_for", lambda _, compiled=compiled: compiled)
        sums = kernels.sum_rows(weights, indices, rows), kernels.dot_rows(tokens, rows, indices)
        results.append((*sums, kernels.sum_by_latent(indices, weights, tokens, 50)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("n_tokens", [1, 100, 1000])
def test_sums_are_the_same_bytes_for_any_number_of_threads(monkeypatch, n_tokens):
    monkeypatch.setattr(kernels, "_loops_are_compiled_for", lambda _: True)
    indices = torch.randint(300, (n_tokens, 7), generator=torch.Generator().manual_seed(1))
    weights, tokens, rows = randn(n_tokens, 7), randn(n_tokens, 16, seed=2), randn(300, 16, seed=3)
    n_threads, results = torch.get_num_threads(), []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            sums = kernels.sum_rows(weights, indices, rows), kernels.dot_rows(tokens, rows, indices)
            results.append((*sums, kernels.sum_by_latent(indices, weights, tokens, 300)))
    finally:
        torch.set_num_threads(n_threads)
    for result in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(result, results[0], strict=True))


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


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # compiled in the first example
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
    found = torch.autograd.grad(((kernels.decode_topk(values, indices, W_dec) - aim) ** 2).mean(), weights)
    pre_acts = (acts - b_dec) @ W_enc + b_enc
    dense = torch.zeros_like(pre_acts).scatter(1, indices, pre_acts.gather(1, indices).relu())
    expected = torch.autograd.grad(((dense @ W_dec - aim) ** 2).mean(), weights)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_acts_are_data_and_get_no_gradient():
    acts = randn(3, 5).requires_grad_()
    values, _ = kernels.encode_topk(acts, randn(5, 8).requires_grad_(), torch.zeros(8), torch.zeros(5), 2)
    values.sum().backward()
    assert acts.grad is None


def test_gradients_are_the_same_bytes_every_time():
    W_dec = randn(300, 16).requires_grad_()
    values, indices = randn(2000, 8), torch.randint(300, (2000, 8), generator=torch.Generator().manual_seed(1))
    first, *others = (
        torch.autograd.grad(kernels.decode_topk(values, indices, W_dec).square().sum(), W_dec)[0] for _ in range(4)
    )
    assert all(torch.equal(first, other) for other in others)
