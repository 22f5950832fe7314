"""Every trained dictionary learns on small planted data, and those with a wished L0 arrive at it."""

from pathlib import Path

import pytest
from planted_tokens import plant

from latentese.dictionaries.autoencoder import Autoencoder
from latentese.dictionaries.batch_topk import BatchTopK
from latentese.dictionaries.gated import Gated
from latentese.dictionaries.jumprelu import JumpReLU
from latentese.dictionaries.matryoshka import Matryoshka
from latentese.dictionaries.prolu import ProLU
from latentese.dictionaries.relu import ReLU
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.train_state import StepLog
from latentese.dictionaries.training import train_dictionary

SIZES = {"d_model": 32, "n_latents": 96, "norm": "none"}
SOURCE = plant()
"""Three of 64 directions per token."""


def fit(dictionary: Autoencoder, folder: Path, n_steps: int = 250) -> list[StepLog]:
    settings = TrainSettings(
        n_tokens=512 * n_steps,
        batch_tokens=512,
        lr=1e-2,
        decay=0.3,
        dead_after_tokens=5000,
        checkpoint_tokens=10**9,
        log_every=10,
    )
    return list(train_dictionary(dictionary, SOURCE, settings, folder / "checkpoint"))


def test_starts():
    """The figures below are far from where training starts."""
    assert SOURCE.mean_best_cosine(ReLU(**SIZES).W_dec.data) < 0.6


@pytest.mark.parametrize(
    ("dictionary", "fvu", "cosine"),
    [
        (ReLU(sparsity_coef=0.1, **SIZES), 0.15, 0.9),
        (Gated(sparsity_coef=0.6, **SIZES), 0.15, 0.9),
        (ProLU(sparsity_coef=0.1, **SIZES), 0.15, 0.9),
        (JumpReLU(sparsity_coef=0.01, bandwidth=0.1, **SIZES), 0.15, 0.85),
        (BatchTopK(k=3, **SIZES), 0.15, 0.9),
        (Matryoshka(k=3, prefix_sizes=[24, 48], **SIZES), 0.25, 0.85),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Autoencoder) else "",
)
def test_planted_directions_are_recovered(tmp_path, dictionary, fvu, cosine):
    logs = fit(dictionary, tmp_path)
    assert logs[0].fvu > 3 * fvu > 3 * logs[-1].fvu
    assert SOURCE.mean_best_cosine(dictionary.W_dec.data) > cosine
    assert logs[-1].l0 < 16


@pytest.mark.parametrize(
    ("kind", "target_l0"),
    # ProLU finds the three planted directions of a token without any penalty, which then cannot keep more active.
    [(ReLU, 3), (ReLU, 6), (Gated, 3), (Gated, 6), (ProLU, 2), (ProLU, 3), (JumpReLU, 3), (JumpReLU, 6)],
)
def test_a_wished_l0_is_reached(tmp_path, kind, target_l0):
    dictionary = kind(target_l0=target_l0, **SIZES)
    fit(dictionary, tmp_path)
    l0 = (dictionary.encode(SOURCE.acts).values > 0).sum(dim=1).float().mean().item()
    assert l0 == pytest.approx(target_l0, rel=0.15)


@pytest.mark.parametrize("start", [0.01, 1.0])
def test_it_is_reached_from_a_coefficient_that_is_far_too_small_or_too_large(tmp_path, start):
    dictionary = Gated(target_l0=5, sparsity_coef=start, **SIZES)
    logs = fit(dictionary, tmp_path, 350)
    assert logs[-1].l0 == pytest.approx(5, rel=0.15)


def test_the_first_latents_of_a_matryoshka_reconstruct_better_alone(tmp_path):
    plain, nested = BatchTopK(k=3, **SIZES), Matryoshka(k=3, prefix_sizes=[24, 48], **SIZES)

    def fvu_of_prefix(dictionary: Autoencoder, folder: str, n_latents: int = 24) -> float:
        fit(dictionary, tmp_path / folder)
        unit_acts = dictionary.encode(SOURCE.acts)
        kept = unit_acts._replace(values=unit_acts.values * (unit_acts.indices < n_latents))
        left = (dictionary.decode(kept) - SOURCE.acts).square().sum()
        return (left / (SOURCE.acts - SOURCE.acts.mean(dim=0)).square().sum()).item()

    assert fvu_of_prefix(nested, "nested") < fvu_of_prefix(plain, "plain") - 0.05
