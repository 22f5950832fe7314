"""Progressive recovery by hand, and against the plain fvu."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from written_corpus import ActsOf, evaluate_on, noise, plain_documents

from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.errors import SettingError
from latentese.evaluation.progressive import TABLE, Progressive
from latentese.evaluation.reconstruction import Reconstruction, measure_reconstruction
from latentese.records import Context


def identity_topk(d_model: int, k: int) -> TopK:
    """Latents are the coordinates above 0."""
    topk = TopK(d_model, d_model, k, norm="none")
    with torch.no_grad():
        topk.W_enc.copy_(torch.eye(d_model))
        topk.W_dec.copy_(torch.eye(d_model))
    return topk.requires_grad_(False)


def constant(rows: dict[str, list[float]], mean: list[float]) -> ActsOf:
    """Every token of a split has this activation; `explain`, where the mean comes from, has `mean`."""

    def acts_of(context: Context) -> torch.Tensor:
        return torch.tensor(rows.get(context.split, mean)).expand(len(context.tokens), -1)

    return acts_of


def test_the_largest_latents_alone_leave_the_squares_of_the_others(tmp_path: Path) -> None:
    acts = {"test": [3.0, 2.0, 1.0, -5.0], "select": [3.0, 2.0, 1.0, -5.0]}
    evaluated = evaluate_on(tmp_path, plain_documents(), constant(acts, [0.0] * 4), identity_topk(4, 2))
    found = Progressive(ks=(1, 2, 3, 4), n_boot=20).measure(evaluated)
    # |acts - mean|^2 = 9 + 4 + 1 + 25 = 39; -5 is never kept
    left = {"k1": 4 + 1 + 25, "k2": 1 + 25, "k3": 25, "k4": 25}
    for k, missed in left.items():
        assert found.metrics["largest"][k]["fvu"] == pytest.approx(missed / 39)
    assert [found.metrics["largest"][k]["l0"] for k in left] == [1, 2, 3, 3]
    assert found.tables["curves"].schema == TABLE
    json.dumps(dict(found.metrics))  # plain numbers alone


def test_at_k_latents_it_is_the_plain_fvu(tmp_path: Path) -> None:
    evaluated = evaluate_on(tmp_path, plain_documents(), noise(12), TopK(12, 20, 3).requires_grad_(False))
    found = Progressive(ks=(3,), n_boot=20, batch_tokens=5).measure(evaluated)
    plain = measure_reconstruction(evaluated.dictionary, evaluated.activations, Reconstruction(), lambda _: None)
    assert found.metrics["largest"]["k3"]["fvu"] == pytest.approx(plain.fvu, rel=1e-6)
    assert found.metrics["largest"]["k3"]["l0"] == pytest.approx(plain.l0)
    assert found.metrics["n_tokens"] == plain.n_tokens


def by_position(context: Context) -> torch.Tensor:
    """Latent 0 is 1, 2, 3, ... at positions 0, 1, 2, ...; latent 1 always 0.5; latents 2 and 3 never fire."""
    n = len(context.tokens)
    return torch.stack([1.0 + torch.arange(n), torch.full((n,), 0.5), -torch.ones(n), -torch.ones(n)], dim=1)


def test_a_threshold_keeps_as_many_on_average_but_not_on_each_token(tmp_path: Path) -> None:
    # 4 counted positions: latent 0 is 2, 3, 4, 5, latent 1 is .5. One per token on average: the four values of latent
    # 0 are the largest; so the threshold is .5, the next one.
    documents = plain_documents(n_tokens=5)
    evaluated = evaluate_on(tmp_path, documents, by_position, identity_topk(4, 1))
    table = Progressive(ks=(1, 2, 4), n_boot=20).measure(evaluated).tables["curves"]
    above = table.filter(keeps="above_threshold")
    # two per token are all above 0; four per token do not exist
    assert above["threshold"].to_list() == [0.5, 0.0, 0.0]
    assert above["l0"].to_list() == [1.0, 2.0, 2.0]
    # Every value above 0 is kept either way.
    assert above["fvu"][1] == table.filter(keeps="largest", k=2)["fvu"].item()


def test_a_threshold_spends_latents_where_they_are_worth_most(tmp_path: Path) -> None:
    """Half of the tokens have two large latents, the others two small ones."""

    def acts_of(context: Context) -> torch.Tensor:
        large = torch.arange(len(context.tokens)) % 2 == 0
        size = torch.where(large, 10.0, 0.1)
        return torch.stack([size, 0.9 * size], dim=1)

    evaluated = evaluate_on(tmp_path, plain_documents(n_tokens=9), acts_of, identity_topk(2, 1))
    found = Progressive(ks=(1,), n_boot=20).measure(evaluated)
    # counted positions 1..8: four tokens of each sort, so one per token on average is both of every large token
    assert found.metrics["above_threshold"]["k1"]["l0"] == 1.0
    assert found.metrics["above_threshold"]["k1"]["fvu"] < 0.01 < found.metrics["largest"]["k1"]["fvu"]


def test_the_threshold_comes_from_the_other_split(tmp_path: Path) -> None:
    # One of 5 and 2 per token exceeds 2, and so do both 3 of the measured tokens; the threshold of those would be 3.
    acts = {"test": [3.0, 3.0], "select": [5.0, 2.0]}
    evaluated = evaluate_on(tmp_path, plain_documents(), constant(acts, [0.0, 0.0]), identity_topk(2, 1))
    found = Progressive(ks=(1,), n_boot=20).measure(evaluated)
    assert found.metrics["above_threshold"]["k1"] == {"fvu": 0.0, "l0": 2.0}


def test_signed_units_are_kept_by_magnitude(tmp_path: Path) -> None:
    acts = {"test": [3.0, -4.0], "select": [3.0, -4.0]}
    evaluated = evaluate_on(tmp_path, plain_documents(), constant(acts, [0.0, 0.0]), Neurons(2))
    found = Progressive(ks=(1, 2), n_boot=20).measure(evaluated)
    assert found.metrics["largest"]["k1"]["fvu"] == pytest.approx(9 / 25)
    assert found.metrics["largest"]["k2"]["fvu"] == 0.0


def test_figures_do_not_depend_on_the_batch_size_and_more_latents_leave_less(tmp_path: Path) -> None:
    evaluated = evaluate_on(tmp_path, plain_documents(), noise(12), identity_topk(12, 3))
    tables = [
        Progressive(ks=(1, 2, 4, 8), n_boot=20, batch_tokens=size).measure(evaluated).tables["curves"]
        for size in (4, 1000)
    ]
    for small, large in zip(*(table.iter_rows(named=True) for table in tables), strict=True):
        assert small["fvu"] == pytest.approx(large["fvu"], rel=1e-6)
        assert (small["l0"], small["threshold"]) == (large["l0"], large["threshold"])
    fvu = tables[0].filter(keeps="largest")["fvu"].to_list()
    assert fvu == sorted(fvu, reverse=True)


def test_intervals_hold_the_value_and_need_two_documents(tmp_path: Path) -> None:
    evaluated = evaluate_on(tmp_path / "many", plain_documents(n_per_split=8), noise(6), identity_topk(6, 2))
    row = Progressive(ks=(2,)).measure(evaluated).tables["curves"].row(0, named=True)
    assert row["low"] < row["fvu"] < row["high"]
    alone = evaluate_on(tmp_path / "one", plain_documents(n_per_split=1), noise(6), identity_topk(6, 2))
    row = Progressive(ks=(2,)).measure(alone).tables["curves"].row(0, named=True)
    assert row["fvu"] is not None
    assert (row["low"], row["high"]) == (None, None)


def test_k_above_the_number_of_units_is_left_out(tmp_path: Path) -> None:
    evaluated = evaluate_on(tmp_path, plain_documents(), noise(4), identity_topk(4, 2))
    assert list(Progressive(ks=(2, 4, 8), n_boot=5).measure(evaluated).metrics["largest"]) == ["k2", "k4"]
    with pytest.raises(SettingError, match=r"progressive.ks=\[8\] is not allowed: one of at most 4"):
        Progressive(ks=(8,)).measure(evaluated)


def test_tokens_are_a_seeded_draw(tmp_path: Path) -> None:
    evaluated = evaluate_on(tmp_path, plain_documents(n_per_split=8), noise(6), identity_topk(6, 2))
    first, again, other = (
        Progressive(ks=(2,), n_tokens=30, n_boot=5, seed=seed).measure(evaluated).metrics for seed in (1, 1, 2)
    )
    assert first == again != other
    assert first["n_tokens"] == 30


@pytest.mark.parametrize(
    "wrong",
    [{"ks": ()}, {"ks": (2, 1)}, {"ks": (0, 1)}, {"n_tokens": 0}, {"batch_tokens": 0}, {"threshold_split": "test"}],
)
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingError, match=f"evaluations.progressive.{next(iter(wrong))}"):
        Progressive(**wrong)  # type: ignore[arg-type]
