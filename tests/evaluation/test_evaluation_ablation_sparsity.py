from __future__ import annotations

from dataclasses import replace
from math import pi
from typing import Any

import polars as pl
import pytest
import torch
from planted_subject import Study, leave_random_, make_study, plant_directions, two_latents

from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.errors import SettingError
from latentese.evaluation.ablation_sparsity import ABLATIONS, AblationSparsity, effect_sparsity
from latentese.subject.intervene import intervene_at
from latentese.subject.model import Subject

N_VOCAB = 400  # of the tiny tokenizer
CODE_TOKEN = 15


def one_token() -> torch.Tensor:
    """Let one code token's logit alone read the direction d."""
    return torch.eye(N_VOCAB)[CODE_TOKEN]


@pytest.fixture(scope="module")
def one_hot(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("one_hot"), plant_directions(one_token()), ctx_len=12)


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("random"), leave_random_, ctx_len=12)


def measured(study: Study, dictionary: Any, **settings: Any) -> tuple[dict[str, Any], pl.DataFrame]:
    found = AblationSparsity(**{"n_positions": 4, "n_boot": 100} | settings).measure(study.evaluated(dictionary))
    return dict(found.metrics), found.tables["ablations"]


def test_one_logit_of_all_is_the_sparsest() -> None:
    differences = torch.zeros(1, 3, 10)
    differences[0, 1, 7] = -2.0
    assert effect_sparsity(differences).item() == pytest.approx(1 / 30)


def test_the_median_over_the_vocabulary_does_not_count() -> None:
    # A constant says nothing: the softmax does not see it. What is left is one logit, as above.
    differences = torch.full((1, 3, 10), 5.0)
    differences[0, 1, 7] = -2.0
    assert effect_sparsity(differences).item() == pytest.approx(1 / 30)


def test_sparsity_of_a_small_vector_by_hand() -> None:
    # v = (3, -1, 0, 0, 0), median 0: |v|_1 = 4, |v|_2^2 = 10, so 16 / 10 / 5
    assert effect_sparsity(torch.tensor([[[3.0, -1.0, 0.0, 0.0, 0.0]]])).item() == pytest.approx(0.32)


def test_gaussian_noise_is_near_two_over_pi() -> None:
    noise = torch.randn(3, 16, 3000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(effect_sparsity(noise), torch.full((3,), 2 / pi).double(), atol=0.01, rtol=0)


def test_size_does_not_matter_and_no_change_has_no_sparsity() -> None:
    noise = torch.randn(1, 4, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(effect_sparsity(1e-3 * noise), effect_sparsity(noise))
    assert effect_sparsity(torch.zeros(1, 4, 50)).isnan().all()


def test_a_latent_that_moves_one_logit_at_its_own_position_is_as_sparse_as_can_be(one_hot: Study) -> None:
    # Layers are silenced, so later positions do not change: one logit of 4 positions x 400 tokens.
    only_d = two_latents()
    with torch.no_grad():
        only_d.b_enc[1] = -100.0
    metrics, table = measured(one_hot, only_d, n_ablations=1000)
    units = table.filter(basis="units")
    code = units.filter(source="code")
    assert code["sparsity"].to_numpy() == pytest.approx(1 / (4 * N_VOCAB), rel=1e-4)
    assert code["unit"].unique().to_list() == [0]
    # On prose tokens the latent is silent: nothing to ablate, and counted as such.
    prose = units.filter(source="prose")
    assert prose["unit"].null_count() == prose["sparsity"].null_count() == prose.height > 0
    assert metrics["units"]["n_ablations"] == code.height
    assert metrics["units"]["n_undefined"] == prose.height
    assert metrics["units"]["value"] == pytest.approx(1 / (4 * N_VOCAB), rel=1e-4)


def test_a_gaussian_head_spreads_an_ablation_like_noise(tmp_path: Any) -> None:
    # The head reads d with Gaussian weights and attention is silent: at the ablated position v is Gaussian over the
    # vocabulary. One vocabulary is one draw of 400: its own value is computed from the weights.
    heads = torch.randn(N_VOCAB, generator=torch.Generator().manual_seed(3))
    study = make_study(tmp_path, plant_directions(heads))
    metrics, _ = measured(study, two_latents(), n_positions=1)
    own = effect_sparsity(heads[None, None]).item()
    assert metrics["units"]["value"] == pytest.approx(own, rel=1e-3)
    assert own == pytest.approx(metrics["gaussian"], abs=0.05)


def test_an_ablation_agrees_with_a_forward_pass_by_hand(random: Study) -> None:
    _, table = measured(random, TopK(16, 24, 4), n_ablations=5, batch_contexts=2)
    row = table.filter(basis="channels").row(3, named=True)
    subject = random.load()
    intervention = intervene_at(subject, "layers.0.resid_post")
    token_ids, keep = (x[row["context"]][None] for x in (random.contexts.token_ids, random.contexts.keep))
    reading = intervention.read(token_ids, keep)
    start = row["position"]
    changed = reading.acts.clone()
    assert changed[0, start, row["unit"]].item() == pytest.approx(row["value"])
    changed[0, start, row["unit"]] = 0
    ablated = intervention.logits(reading, lambda _: changed[reading.keep])
    v = (ablated - intervention.logits(reading))[:, start : start + 4]
    v = v - v.median(dim=2, keepdim=True).values
    expected = (v.abs().sum() / v.square().sum().sqrt()).square() / (4 * N_VOCAB)
    assert row["sparsity"] == pytest.approx(expected.item(), rel=1e-3)


def test_both_bases_are_measured_at_the_same_tokens(random: Study) -> None:
    metrics, table = measured(random, TopK(16, 24, 4), n_ablations=7)
    assert table.schema == ABLATIONS
    tokens = [table.filter(basis=basis).select("context", "position") for basis in ("units", "channels")]
    assert tokens[0].equals(tokens[1])
    assert tokens[0].height == 7 == tokens[0].unique().height
    for basis in ("units", "channels"):
        assert 0 < metrics[basis]["low"] <= metrics[basis]["value"] <= metrics[basis]["high"] <= 1
    assert metrics["gaussian"] == 2 / pi


def test_tokens_have_enough_counted_positions_behind_them(random: Study) -> None:
    _, table = measured(random, TopK(16, 24, 4), n_ablations=10_000)
    keep = random.contexts.keep.bool()
    for row in table.filter(basis="units").to_dicts():
        assert bool(keep[row["context"], row["position"] : row["position"] + 4].all())
    # Every such token of the split was drawn: contexts of 12, position 0 aside, 8 starts, 6 where two are padding.
    numbers = torch.from_numpy(random.contexts.of_split("test"))
    n_short = int((~keep[numbers, -1]).sum())
    assert table.height == 2 * (8 * (len(numbers) - n_short) + 6 * n_short)


def test_neurons_are_their_own_channels(random: Study) -> None:
    metrics, table = measured(random, Neurons(16), n_ablations=4)
    assert "channels" not in metrics
    assert table["basis"].unique().to_list() == ["units"]


def test_contexts_that_are_too_short_say_so(random: Study) -> None:
    for n_positions in (12, 13):  # position 0 does not count
        found = AblationSparsity(n_positions=n_positions).measure(random.evaluated(TopK(16, 24, 4)))
        wanted = f"no context of test has {n_positions} positions that count in a row"
        assert found.metrics == {"not_measured": wanted}


def test_same_settings_same_figures_whatever_the_batch_size(random: Study) -> None:
    topk = TopK(16, 24, 4)
    first, again, batched = (measured(random, topk, n_ablations=9, batch_contexts=n)[1] for n in (2, 2, 9))
    assert first.equals(again)
    key = ["basis", "context", "position"]
    assert first.sort(key).select(*key, "unit").equals(batched.sort(key).select(*key, "unit"))
    values = [table.sort(key)["sparsity"].to_numpy() for table in (first, batched)]
    assert values[0] == pytest.approx(values[1], rel=1e-3)


def test_the_subject_is_run_in_the_dtype_asked_for(random: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    plain = Subject.in_dtype
    monkeypatch.setattr(Subject, "in_dtype", lambda subject, dtype: asked.append(dtype) or plain(subject, dtype))
    evaluated = random.evaluated(TopK(16, 24, 4))
    half = replace(evaluated, load_subject=lambda: random.load().in_dtype("bfloat16"))
    found = AblationSparsity(n_positions=4, n_ablations=4, n_boot=10).measure(half)
    exact = AblationSparsity(n_positions=4, n_ablations=4, n_boot=10).measure(evaluated)
    assert asked == ["bfloat16", "float32", "float32"]
    # Weights were rounded once; the arithmetic is not.
    assert found.metrics["units"]["value"] == pytest.approx(exact.metrics["units"]["value"], rel=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"n_positions": 0}, "evaluations.ablation_sparsity.n_positions=0"), ({"dtype": "float16"}, "dtype='float16'")],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        AblationSparsity(**settings)
