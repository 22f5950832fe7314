"""Refinement of planted codes: what was shrunk comes back, and what was right stays."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from written_corpus import evaluate_on, noise, plain_documents

from latentese.dictionaries.base import Dictionary, UnitActs
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.errors import SettingError
from latentese.evaluation.shrinkage import TABLE, Code, Descent, Shrinkage, read_decoder, refine

EXACT = Descent(n_steps=3000, tolerance=1e-6)


class Planted(Dictionary):
    """Finds the values of which activations are sums of its directions, and encodes `factor` times each."""

    def __init__(self, directions: Tensor, factor: float) -> None:
        super().__init__()
        self.directions, self.factor = directions, factor
        self.n_units, self.d_model = directions.shape

    @property
    def args(self) -> dict[str, Any]:
        return {}

    def pre_acts(self, acts: Tensor) -> Tensor:
        return self.factor * torch.linalg.lstsq(self.directions.T, acts.T).solution.T

    def encode(self, acts: Tensor) -> UnitActs:
        values = self.pre_acts(acts)
        values = values.where(values > 1e-3, 0.0)
        indices = torch.arange(self.n_units).expand(len(acts), -1)
        return UnitActs(values, indices, acts.new_zeros(len(acts), 1), acts.new_ones(len(acts), 1))

    def decode(self, unit_acts: UnitActs) -> Tensor:
        rows = torch.zeros(len(unit_acts.values), self.n_units).scatter(1, unit_acts.indices, unit_acts.values)
        return rows @ self.directions * unit_acts.norm + unit_acts.mean


def sparse_sums(directions: Tensor):
    """Each token is a sum of about half of the directions, with values between 1 and 2."""

    def acts_of(context):
        generator = torch.Generator().manual_seed(context.context)
        shape = (len(context.tokens), len(directions))
        values = 1 + torch.rand(shape, generator=generator)
        return (values * (torch.rand(shape, generator=generator) < 0.5)) @ directions

    return acts_of


def unit_rows(n: int, d: int, seed: int = 0) -> Tensor:
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.25])
def test_the_ratio_of_a_shrunken_code_is_its_factor(tmp_path: Path, factor: float) -> None:
    directions = unit_rows(5, 8)
    dictionary = Planted(directions, factor)
    evaluated = evaluate_on(tmp_path, plain_documents(), sparse_sums(directions), dictionary)
    found = Shrinkage(tolerance=1e-6, n_boot=50).measure(evaluated).metrics
    for bound in ("value", "low", "high"):
        assert found["ratio"][bound] == pytest.approx(1 / factor, rel=1e-4)
    # x - factor * x is what the code leaves: a share of |x|^2, where fvu compares with |x - mean|^2
    assert found["fvu_refined"]["value"] == pytest.approx(0.0, abs=1e-6)
    assert (found["fvu_encoded"]["value"] < 1e-6) == (factor == 1.0)
    assert found["share_zeroed"] == 0.0


def test_fvu_before_and_after_by_hand(tmp_path: Path) -> None:
    """Every token is (2, 0) but for `explain`, whose mean is (0, 0); the only latent is encoded as 1."""

    def acts_of(context):
        row = torch.tensor([0.0, 0.0] if context.split == "explain" else [2.0, 0.0])
        return row.expand(len(context.tokens), -1)

    dictionary = Planted(torch.tensor([[1.0, 0.0]]), factor=0.5)
    found = Shrinkage(n_boot=20).measure(evaluate_on(tmp_path, plain_documents(), acts_of, dictionary))
    assert found.metrics["fvu_encoded"]["value"] == 0.25  # (2 - 1)^2 / 2^2
    assert found.metrics["fvu_refined"]["value"] == 0.0
    assert found.metrics["ratio"]["value"] == 2.0
    assert found.metrics["n_values"] == 4 * 2 * 8  # documents, contexts, counted positions
    # 1 is in the half octave from 2^0 to 2^.5
    table = found.tables["values"]
    assert table.schema == TABLE
    json.dumps(dict(found.metrics))  # plain numbers alone
    assert table.rows() == [(1.0, pytest.approx(2**0.5), 64, 1.0, 2.0)]


def test_a_batch_whose_latents_are_too_many_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated = evaluate_on(tmp_path, plain_documents(), noise(8), TopK(8, 12, 3).requires_grad_(False))
    whole = Shrinkage(tolerance=1e-6, n_boot=20).measure(evaluated)
    monkeypatch.setattr("latentese.evaluation.shrinkage.MAX_VALUES", 3 * 8 * 7)  # seven tokens
    parts = Shrinkage(tolerance=1e-6, n_boot=20).measure(evaluated)
    assert parts.metrics["n_values"] == whole.metrics["n_values"]
    assert parts.metrics["ratio"]["value"] == pytest.approx(whole.metrics["ratio"]["value"], rel=1e-5)


def test_topk_is_measured_as_its_own_encoder_and_decoder_say(tmp_path: Path) -> None:
    topk = TopK(8, 12, 3).requires_grad_(False)
    evaluated = evaluate_on(tmp_path, plain_documents(), noise(8), topk)
    one, many = (Shrinkage(batch_tokens=size, tolerance=1e-6, n_boot=20).measure(evaluated) for size in (5, 1000))
    assert one.metrics["fvu_refined"]["value"] < one.metrics["fvu_encoded"]["value"]
    for figure in ("ratio", "fvu_encoded", "fvu_refined"):
        assert one.metrics[figure]["value"] == pytest.approx(many.metrics[figure]["value"], rel=1e-5)
    acts = evaluated.activations.gather(torch.tensor(list(evaluated.activations.rows_of("test"))).numpy())
    code = topk.encode(acts)
    missed = ((acts - topk.decode(code)) / code.norm).square().sum()
    explain = evaluated.activations.gather(torch.tensor(list(evaluated.activations.rows_of("explain"))).numpy())
    means = topk.encode(explain)
    mean = ((explain - means.mean) / means.norm).mean(dim=0)
    distance = ((acts - code.mean) / code.norm - mean).square().sum()
    assert one.metrics["fvu_encoded"]["value"] == pytest.approx((missed / distance).item(), rel=1e-5)


@pytest.mark.parametrize("norm", ["none", "unit_norm", "layernorm_std"])
def test_the_decoder_is_read_off_what_it_makes_of_each_latent(norm: Any) -> None:
    topk = TopK(6, 9, 2, norm=norm).requires_grad_(False)
    topk.b_dec.copy_(torch.arange(6.0))
    decoder = read_decoder(topk)
    torch.testing.assert_close(decoder.W_dec, topk.W_dec.data, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(decoder.b_dec, topk.b_dec.data)


def test_a_latent_that_only_hurts_is_put_to_0() -> None:
    # the second points away from x, and adds to no other
    code = Code(torch.tensor([[1.0, -1.0]]), torch.tensor([[0.2, 0.3]]), torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
    refined = refine(code, EXACT)
    torch.testing.assert_close(refined, torch.tensor([[1.0, 0.0]]))


def test_tokens_with_fewer_latents_keep_their_empty_places_at_0() -> None:
    directions = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    code = Code(torch.tensor([[3.0, 5.0], [3.0, 5.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]]), directions)
    torch.testing.assert_close(refine(code, EXACT), torch.tensor([[3.0, 0.0], [3.0, 5.0]]))


def best_of_all_supports(x: Tensor, directions: Tensor) -> float:
    """Smallest squared error of nonnegative values: least squares on every subset, of those without a negative."""
    errors = [x.square().sum().item()]
    for size in range(1, len(directions) + 1):
        for subset in combinations(range(len(directions)), size):
            rows = directions[list(subset)]
            values = torch.linalg.lstsq(rows.T, x[:, None]).solution[:, 0]
            if (values >= 0).all():
                errors.append((x - values @ rows).square().sum().item())
    return min(errors)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_refined_values_are_the_best_of_all_nonnegative_ones(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 6, generator=generator)
    directions = unit_rows(4 * 4, 6, seed).view(4, 4, 6)
    refined = refine(Code(x, torch.full((4, 4), 0.1), directions), EXACT)
    assert (refined >= 0).all()
    errors = (x - (refined[:, None] @ directions)[:, 0]).square().sum(dim=1)
    for token in range(4):
        assert errors[token].item() == pytest.approx(best_of_all_supports(x[token], directions[token]), abs=1e-3)


def test_units_that_go_below_0_are_not_measured(tmp_path: Path) -> None:
    found = Shrinkage().measure(evaluate_on(tmp_path, plain_documents(), noise(3), Neurons(3)))
    assert list(found.metrics) == ["not_measured"]
    assert not found.tables


def test_a_dictionary_that_never_fires_has_no_ratio(tmp_path: Path) -> None:
    topk = TopK(4, 6, 2).requires_grad_(False)
    topk.b_enc.fill_(-100.0)
    found = Shrinkage(n_boot=5).measure(evaluate_on(tmp_path, plain_documents(), noise(4), topk))
    assert found.metrics["ratio"] == {"value": None, "low": None, "high": None}
    assert (found.metrics["n_values"], found.metrics["share_zeroed"]) == (0, None)
    assert found.metrics["fvu_encoded"] == found.metrics["fvu_refined"]
    assert found.tables["values"].is_empty()


@pytest.mark.parametrize("wrong", [{"n_tokens": 0}, {"n_steps": 0}, {"tolerance": 0.0}, {"batch_tokens": -1}])
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=f"evaluations.shrinkage.{next(iter(wrong))}"):
        Shrinkage(**wrong)
