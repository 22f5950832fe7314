import pytest
import torch

from latentese.dictionaries import memory
from latentese.dictionaries.memory import empty_again


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(memory, "LEAST_BYTES", 64)
    monkeypatch.setattr(memory, "_unused", {})


def test_memory_is_used_again_only_after_the_tensor_is_gone():
    first = empty_again(8, 8).fill_(1.0)
    second = empty_again(8, 8).fill_(2.0)
    assert (first == 1.0).all()
    place = first.data_ptr()
    del first
    third = empty_again(8, 8).fill_(3.0)
    assert third.data_ptr() == place
    assert (second == 2.0).all()


def test_a_view_keeps_the_memory():
    row = empty_again(8, 8).fill_(1.0).t()[3]
    empty_again(8, 8).fill_(2.0)
    assert (row == 1.0).all()


def test_a_gradient_is_taken_over_and_its_memory_comes_back():
    class Grad(torch.autograd.Function):
        @staticmethod
        def forward(ctx, weight):
            return weight.sum()

        @staticmethod
        def backward(ctx, grad):
            made = empty_again(8, 8).fill_(1.0)
            places.append(made.data_ptr())
            return made.t()

    weight, places = torch.zeros(8, 8).t().requires_grad_(), []
    for _ in range(3):
        Grad.apply(weight).backward()
        assert weight.grad.data_ptr() == places[-1]  # not a copy
        weight.grad = None
    assert len(set(places)) == 1


def test_only_the_last_size_is_kept():
    empty_again(8, 8)
    assert [len(pieces) for pieces in memory._unused.values()] == [1]
    other = empty_again(9, 8)
    assert list(memory._unused) == [4 * 9 * 8]
    del other
    assert [len(pieces) for pieces in memory._unused.values()] == [1]


def test_small_tensors_are_torchs_own(monkeypatch):
    monkeypatch.setattr(memory, "LEAST_BYTES", 1000)
    assert empty_again(2, 3).shape == (2, 3)
    assert memory._unused == {}
