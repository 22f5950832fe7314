import pytest
import torch
from planted_tokens import PlantedTokens
from small_dictionaries import dense, random_acts, weights
from torch import Tensor

from latentese.dictionaries.pca import PCA
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.training import train_dictionary
from latentese.errors import SettingError

SETTINGS = TrainSettings(n_tokens=400, batch_tokens=100, lr=1.0, sample_tokens=1000)


def stretched(n_tokens: int = 1000) -> Tensor:
    """Uncorrelated coordinates: 1, 3 and 2 times the exponential of mean 1, the second pointing down; around 5."""
    draws = torch.distributions.Exponential(1.0).icdf(
        torch.rand(n_tokens, 3, generator=torch.Generator().manual_seed(4)) * 0.999
    )
    return draws * torch.tensor([1.0, -3.0, 2.0]) + 5


def test_directions_are_those_of_largest_variance_pointing_to_the_long_tail():
    pca = PCA(3, 2, norm="none")
    pca.prepare_(stretched())
    # Coordinate 1, then 2; the tail of coordinate 1 points down.
    expected = torch.tensor([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(pca.W_dec, expected, atol=0.1, rtol=0)
    torch.testing.assert_close(pca.b_dec.data, stretched().mean(dim=0))
    coordinates = dense(pca, stretched())
    assert (coordinates.pow(3).mean(dim=0) > 0).all()


def test_directions_turn_with_the_long_tail():
    up, down = PCA(3, norm="none"), PCA(3, norm="none")
    up.prepare_(stretched())
    down.prepare_(-stretched())  # the same covariance, all tails on the other side
    torch.testing.assert_close(down.W_dec, -up.W_dec, atol=1e-4, rtol=0)


def test_what_is_left_over_is_the_variance_of_the_other_directions():
    pca, sample = PCA(3, 2, norm="none"), stretched()
    pca.prepare_(sample)
    variances = torch.linalg.eigvalsh(torch.cov(sample.t()))
    loss = pca.loss(sample, torch.zeros(2, dtype=torch.bool))
    assert loss.fvu.item() == pytest.approx((variances[0] / variances.sum()).item(), rel=1e-4)
    assert loss.l0.item() == 2.0
    assert loss.fired.tolist() == [True, True]


def test_all_directions_reconstruct_exactly_and_are_orthonormal():
    pca, acts = PCA(12), random_acts(300)
    pca.prepare_(acts)
    torch.testing.assert_close(pca.W_dec @ pca.W_dec.t(), torch.eye(12), atol=1e-5, rtol=0)
    torch.testing.assert_close(pca.decode(pca.encode(acts)), acts, atol=1e-4, rtol=1e-4)


def test_no_basis_of_as_many_directions_leaves_less():
    acts, pca = random_acts(300), PCA(12, 5, norm="none")
    pca.prepare_(acts)
    left = (pca.decode(pca.encode(acts)) - acts).square().sum()
    for seed in range(5):
        other = torch.linalg.qr(torch.randn(12, 5, generator=torch.Generator().manual_seed(seed)))[0]
        centred = acts - acts.mean(dim=0)
        assert left < (centred - centred @ other @ other.t()).square().sum()


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_trainer_fits_it_in_no_steps(tmp_path, ema):
    sample, trained, fitted = stretched(), PCA(3, 2, norm="none"), PCA(3, 2, norm="none")
    settings = TrainSettings(**{**vars(SETTINGS), "ema": ema})
    logs = list(train_dictionary(trained, PlantedTokens(sample, torch.eye(3)), settings, tmp_path / "checkpoint"))
    fitted.prepare_(sample)
    if ema is None:
        assert weights(trained) == weights(fitted)
    torch.testing.assert_close(trained.b_dec, fitted.b_dec)
    assert len(logs) == 4
    assert {log.n_dead for log in logs} == {0}
    assert torch.tensor([log.fvu for log in logs]).mean() == pytest.approx(0.08, abs=0.03)  # 1 / (1 + 4 + 9) = .07


def test_it_is_signed_and_trained_and_its_width_is_its_default():
    pca = PCA(7)
    assert (pca.signed, pca.needs_training, pca.n_units) == (True, True, 7)
    assert PCA(7, 3).n_units == 3


def test_too_few_tokens_are_refused():
    with pytest.raises(SettingError, match=r"training.sample_tokens=12 is not allowed: more than n_latents=12"):
        PCA(12).prepare_(random_acts(12))


@pytest.mark.parametrize("n_latents", [0, 13])
def test_more_directions_than_the_activations_are_wide_or_none_are_refused(n_latents):
    with pytest.raises(SettingError, match=rf"dictionary.n_latents={n_latents} is not allowed"):
        PCA(12, n_latents)
