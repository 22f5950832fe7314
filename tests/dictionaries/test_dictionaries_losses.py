import pytest
import torch

from latentese.dictionaries.losses import (
    batch_mean,
    divided_batch,
    fvu,
    geometric_median,
    normalised_error,
    squared_error,
)

ACTS = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0]])


def test_squared_error_is_the_mean_over_tokens_of_squared_distances():
    recon = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    assert squared_error(ACTS, recon).item() == pytest.approx((0 + 4 + 9) / 3)


def test_fvu_is_0_for_the_activations_and_1_for_the_mean():
    mean = torch.tensor([5.0, -1.0])  # any constant: it need not be the batch's own mean
    assert fvu(ACTS, ACTS, mean).item() == 0.0
    assert fvu(ACTS, mean.expand(3, 2), mean).item() == 1.0


def test_normalised_error_is_relative_to_the_batch_variance():
    # batch mean (2/3, 4/3): squared distances 20/9, 32/9, 68/9, so variance 40/9; error of zeros: 20/3
    assert normalised_error(ACTS, torch.zeros(3, 2)).item() == pytest.approx((20 / 3) / (40 / 9))


def test_normalised_error_of_equal_tokens_is_0_not_nan():
    same = torch.ones(3, 2)
    assert normalised_error(same, same).item() == 0.0
    assert normalised_error(same, torch.zeros(3, 2)).item() == 0.0


def test_normalised_error_of_equal_tokens_has_a_gradient_of_0_not_nan():
    recon = torch.zeros(3, 2, requires_grad=True)
    normalised_error(torch.ones(3, 2), recon).backward()
    assert recon.grad is not None
    assert recon.grad.tolist() == [[0.0, 0.0]] * 3


def test_of_a_divided_batch_errors_add_up_to_that_of_the_whole():
    # Tokens 0 and 2 are this process's, of which a second one has 4 and 6: batch mean 3, variance (9 + 1 + 1 + 9) / 4.
    mine, others = torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [6.0]])
    asked: list[float] = []

    def gather(rows: torch.Tensor) -> torch.Tensor:
        """The other process answers with its mean, 5, and with its squared distance from 3, (1 + 9) / 2."""
        asked.append(rows.item())
        return torch.cat([rows, torch.tensor([[5.0]]) if len(asked) == 1 else torch.tensor([5.0])])

    with divided_batch(gather):
        error = normalised_error(mine, torch.zeros(2, 1))
    assert asked == [1.0, 5.0]  # this one's mean and squared distance
    assert error.item() == pytest.approx((0 + 4) / 2 / 5)
    whole = normalised_error(torch.cat([mine, others]), torch.zeros(4, 1))
    assert whole.item() == pytest.approx((error.item() + (16 + 36) / 2 / 5) / 2)
    assert batch_mean(torch.tensor(7.0)).item() == 7.0, "and outside, one process has the whole batch"


def test_geometric_median_ignores_an_outlier():
    line = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [1000.0, 0.0]])
    assert line.mean(dim=0)[0] > 100
    assert geometric_median(line).norm() < 0.7


def test_geometric_median_of_a_triangle_is_its_fermat_point():
    # Equilateral: the centre, at distance 1 from every corner.
    corners = torch.tensor([[1.0, 0.0], [-0.5, 3**0.5 / 2], [-0.5, -(3**0.5) / 2]]) + 10
    torch.testing.assert_close(geometric_median(corners), torch.tensor([10.0, 10.0]))
