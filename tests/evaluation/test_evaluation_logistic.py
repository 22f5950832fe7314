"""Logistic fits by hand, and as a general optimiser finds them."""

from __future__ import annotations

from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentese.evaluation import logistic
from latentese.evaluation.logistic import RIDGE, cross_entropy, fit_each


def test_cross_entropy_by_hand() -> None:
    # sigmoid(log 3) = 3/4
    losses = cross_entropy(torch.tensor([log(3), log(3), 0.0]), torch.tensor([1, 0, 1]))
    torch.testing.assert_close(losses, torch.tensor([log(4 / 3), log(4), log(2)]))


def test_a_binary_unit_is_fitted_by_the_shares_of_positives() -> None:
    # pre_act 0: 1 of 4 positive; pre_act 1: 3 of 4. So offset = log(1/3), offset + slope = log 3 (but for the ridge).
    pre_acts = torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 1])[:, None]
    labels = torch.tensor([1, 0, 0, 0, 1, 1, 1, 0])
    fit = fit_each(pre_acts, labels)
    assert fit.offset.item() == pytest.approx(-log(3), abs=5e-3)
    assert fit.slope.item() == pytest.approx(2 * log(3), abs=1e-2)
    entropy = -(0.25 * log(0.25) + 0.75 * log(0.75))
    assert fit.loss.item() == pytest.approx(entropy, abs=1e-5)


def test_units_that_say_nothing_leave_the_entropy_of_the_labels() -> None:
    labels = torch.tensor([1, 1, 1, 0])
    constant, balanced = torch.full((4,), 7.0), torch.tensor([1.0, 0.0, 0.5, 0.5])
    fit = fit_each(torch.stack([constant, balanced], dim=1), labels)
    entropy = -(0.75 * log(0.75) + 0.25 * log(0.25))
    torch.testing.assert_close(fit.loss, torch.full((2,), entropy))
    torch.testing.assert_close(fit.slope, torch.zeros(2).double(), atol=1e-5, rtol=0)


def test_a_unit_that_is_the_label_has_nearly_no_loss_whatever_its_sign_scale_and_offset() -> None:
    labels = torch.tensor([0, 1] * 50)
    pre_acts = torch.stack([labels.float(), -labels.float(), 1e-3 * labels + 5, 1e4 * labels], dim=1)
    fit = fit_each(pre_acts, labels)
    assert (fit.loss < 2e-3).all()
    told = cross_entropy(pre_acts.double() * fit.slope + fit.offset, labels).mean(dim=0)
    torch.testing.assert_close(told.float(), fit.loss, atol=1e-5, rtol=0)


def test_one_token_far_off_does_not_throw_the_fit_off_its_course() -> None:
    generator = torch.Generator().manual_seed(0)
    pre_acts = torch.randn(400, 1, generator=generator)
    labels = (torch.rand(400, generator=generator) < torch.sigmoid(3 * pre_acts[:, 0])).long()
    pre_acts[0], labels[0] = 1000.0, 0  # a plain Newton step from 0 overshoots here
    fit = fit_each(pre_acts, labels)
    assert fit.loss.item() <= log(2)
    assert fit.loss.isfinite().all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_the_loss_is_the_least_that_another_optimiser_finds(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pre_acts = torch.randn(60, 4, generator=generator) * torch.tensor([1.0, 0.01, 50.0, 1.0]) + 3
    labels = (torch.randn(60, generator=generator) + pre_acts[:, 0] > 3).long()
    labels[:2] = torch.tensor([0, 1])
    fit = fit_each(pre_acts, labels)
    x = (pre_acts - pre_acts.mean(dim=0)) / pre_acts.std(dim=0, correction=0)
    slope, offset = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    optimiser = torch.optim.LBFGS([slope, offset], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def penalised() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (cross_entropy(x * slope + offset, labels).mean(dim=0) + RIDGE / 2 * slope.square()).sum()
        loss.backward()
        return loss

    optimiser.step(penalised)
    best = cross_entropy(x * slope + offset, labels).mean(dim=0).detach()
    torch.testing.assert_close(fit.loss, best, atol=1e-4, rtol=0)


def test_how_many_units_are_fitted_at_once_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    pre_acts, labels = torch.randn(40, 9, generator=generator), torch.tensor([0, 1] * 20)
    whole = fit_each(pre_acts, labels)
    monkeypatch.setattr(logistic, "CHUNK_VALUES", 80)
    parts = fit_each(pre_acts, labels)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_constant_units_say_nothing_whatever_their_value() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 1] * 300)
    constant = torch.randn(4000, generator=generator).expand(600, -1)
    fit = fit_each(torch.cat([constant, labels[:, None] + torch.rand(600, 1, generator=generator)], dim=1), labels)
    torch.testing.assert_close(fit.loss[:-1], torch.full((4000,), log(2)))
    assert (fit.slope[:-1] == 0).all()
    assert int(fit.loss.argmin()) == 4000
