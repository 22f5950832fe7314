from __future__ import annotations

from dataclasses import replace
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from planted_subject import (
    N_CODE,
    N_PROSE,
    A,
    Study,
    code_logit,
    leave_random_,
    make_study,
    plant_directions,
    two_latents,
)

from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.errors import SettingError
from latentese.evaluation.compute_equivalent import KnownCheckpoint, MeasuredCheckpoint
from latentese.evaluation.downstream import CONTEXTS, PATCHES, SUMS, Downstream, figures_of, patched_sums
from latentese.evaluation.edits import reconstruct
from latentese.metrics.intervals import Bootstrap
from latentese.subject.intervene import intervene_at
from latentese.weights.local import LocalModel


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("planted"), plant_directions())


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("random"), leave_random_)


def measured(study: Study, dictionary: Any, **settings: Any) -> tuple[dict[str, Any], dict[str, pl.DataFrame]]:
    found = Downstream(**settings).measure(study.evaluated(dictionary))
    return dict(found.metrics), dict(found.tables)


def only(latent: int) -> TopK:
    """The dictionary without the other latent."""
    topk = two_latents()
    with torch.no_grad():
        topk.b_enc[1 - latent] = -100.0
    return topk


def cross_entropy(source: str, logit: float, n_vocab: int) -> float:
    """Nats of a token of a source when every code token has this logit, and every other token 0."""
    total = log(N_CODE * exp(logit) + n_vocab - N_CODE)
    return total - logit if source == "code" else total


def test_cross_entropies_are_those_computed_by_hand(planted: Study) -> None:
    # Latent 1 alone reconstructs A * d + e as e, so the code tokens' logit is 0 everywhere: all tokens alike likely.
    metrics, tables = measured(planted, only(1))
    n_vocab = planted.load().model.config.vocab_size
    share_code = _share_of_code(planted, "explain")
    for row in tables["contexts"].to_dicts():
        source, own = row["source"], A if row["source"] == "code" else 0.0
        assert row["ce_original"] == pytest.approx(cross_entropy(source, code_logit(own), n_vocab), abs=1e-4)
        assert row["ce_reconstruction"] == pytest.approx(log(n_vocab), abs=1e-4)
        assert row["ce_zero"] == pytest.approx(log(n_vocab), abs=1e-4)
        mean = cross_entropy(source, code_logit(A * share_code), n_vocab)
        assert row["ce_mean"] == pytest.approx(mean, abs=1e-4)
        assert row["kl_reconstruction"] == pytest.approx(_divergence(code_logit(own), 0.0, n_vocab), abs=1e-4)
    assert tables["contexts"].schema == CONTEXTS
    assert metrics["recovered"]["zero"]["value"] == pytest.approx(0.0, abs=1e-5)
    assert metrics["cross_entropy"]["zero"] == pytest.approx(log(n_vocab), abs=1e-4)


def _share_of_code(study: Study, split: str) -> float:
    """Share of the counted tokens of a split that are code."""
    numbers = study.contexts.of_split(split)  # type: ignore[arg-type]
    keep = study.contexts.keep[torch.from_numpy(numbers)].bool()
    return float((study.contexts.token_ids[torch.from_numpy(numbers)][keep] >= N_PROSE).double().mean())


def _divergence(logit: float, patched: float, n_vocab: int) -> float:
    """KL of two distributions in which code tokens have one logit and the others 0."""
    totals = [log(N_CODE * exp(value) + n_vocab - N_CODE) for value in (logit, patched)]
    p_code = N_CODE * exp(logit - totals[0])
    return p_code * (logit - patched) + totals[1] - totals[0]


def test_the_whole_dictionary_changes_nothing_and_recovers_all(planted: Study) -> None:
    intervention = intervene_at(planted.load(), "layers.0.resid_post")
    numbers = torch.from_numpy(planted.contexts.of_split("test"))
    edits = {patch: reconstruct(Neurons(16)) for patch in PATCHES} | {"zero": torch.zeros_like}
    sums = patched_sums(intervention, planted.contexts.token_ids[numbers], planted.contexts.keep[numbers], edits)
    columns = dict(zip(SUMS, sums.T, strict=True))
    assert torch.equal(columns["ce_reconstruction"], columns["ce_original"])
    assert bool((columns["kl_reconstruction"] == 0).all())
    per_token = {name: column / columns["n_tokens"] for name, column in columns.items() if name != "n_tokens"}
    head = planted.contexts.table[numbers.tolist()].select("context", "document", "source")
    table = head.with_columns(n_tokens=columns["n_tokens"].numpy(), **{k: v.numpy() for k, v in per_token.items()})
    figures = figures_of(table.cast(CONTEXTS), Bootstrap(100))
    assert figures["recovered"]["zero"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert figures["kl"]["reconstruction"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    # The "mean" patch of this test changes nothing, so there is no harm to recover from.
    assert figures["recovered"]["mean"] == {"value": None, "low": None, "high": None}


def test_an_exact_reconstruction_says_that_there_is_nothing_to_measure(planted: Study) -> None:
    found = Downstream().measure(replace(planted.evaluated(Neurons(16)), load_subject=_never))
    assert found.metrics == {"not_measured": "the reconstruction is exact, so it changes nothing"}
    assert not found.tables


def _never() -> Any:
    raise AssertionError("the subject is not needed")


def test_a_reconstruction_of_nothing_recovers_nothing(planted: Study) -> None:
    silent = TopK(16, 4, 1, norm="none")
    with torch.no_grad():
        silent.b_enc.fill_(-100.0)
    metrics, _ = measured(planted, silent)
    assert metrics["recovered"]["zero"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert metrics["cross_entropy"]["reconstruction"] == metrics["cross_entropy"]["zero"]
    assert metrics["kl"]["reconstruction"] == metrics["kl"]["zero"]


def test_figures_are_means_over_counted_predictions(random: Study) -> None:
    """Compared with transformers' own loss on whole contexts, one by one."""
    metrics, tables = measured(random, TopK(16, 8, 2), n_contexts=1000, batch_contexts=5)
    model = random.load().model
    total = n_tokens = 0.0
    for number in random.contexts.of_split("test").tolist():
        ids, keep = random.contexts.token_ids[number].long(), random.contexts.keep[number].bool()
        labels = torch.where(keep, ids, -100)[None]
        labels[0, 1] = -100  # predicted from position 0, which counts nowhere
        n = int((labels != -100).sum())
        total, n_tokens = total + float(model(ids[None], labels=labels).loss) * n, n_tokens + n
    assert metrics["cross_entropy"]["original"] == pytest.approx(total / n_tokens, rel=1e-5)
    assert metrics["n_tokens"] == n_tokens == tables["contexts"]["n_tokens"].sum()
    assert metrics["n_contexts"] == 24
    assert metrics["n_documents"] == 12


def test_the_batch_size_does_not_matter_and_the_draw_is_seeded(random: Study) -> None:
    topk = TopK(16, 8, 2)
    runs = [measured(random, topk, n_contexts=10, batch_contexts=size, seed=seed) for size, seed in ((3, 0), (10, 0))]
    assert runs[0][1]["contexts"]["context"].to_list() == runs[1][1]["contexts"]["context"].to_list()
    assert runs[0][0]["kl"]["reconstruction"]["value"] == pytest.approx(runs[1][0]["kl"]["reconstruction"]["value"])
    other = measured(random, topk, n_contexts=10, seed=1)[1]["contexts"]["context"].to_list()
    assert other != runs[0][1]["contexts"]["context"].to_list()
    assert set(other) <= set(random.contexts.of_split("test").tolist())


def test_where_ablation_does_no_harm_there_is_nothing_to_recover(random: Study) -> None:
    metrics, _ = measured(random, TopK(16, 8, 2))  # a random subject predicts no better than without its stream
    assert metrics["cross_entropy"]["zero"] < metrics["cross_entropy"]["original"]
    assert metrics["recovered"]["zero"] == {"value": None, "low": None, "high": None}


def test_intervals_hold_their_value_and_divergences_are_not_negative(planted: Study) -> None:
    metrics, tables = measured(planted, TopK(16, 8, 2))
    for group in ("kl", "cross_entropy_change", "recovered"):
        for name, interval in metrics[group].items():
            assert interval["low"] <= interval["value"] <= interval["high"], (group, name)
    assert tables["contexts"]["kl_zero"].min() > -1e-6  # type: ignore[operator]
    change = metrics["cross_entropy"]["mean"] - metrics["cross_entropy"]["original"]
    assert metrics["cross_entropy_change"]["mean"]["value"] == pytest.approx(change)


def test_one_document_has_no_interval(random: Study) -> None:
    metrics, _ = measured(random, TopK(16, 8, 2), n_contexts=1)
    interval = metrics["kl"]["reconstruction"]
    assert interval["value"] > 0
    assert (interval["low"], interval["high"]) == (None, None)


def test_known_checkpoints_give_the_compute_equivalent(planted: Study) -> None:
    n_vocab = planted.load().model.config.vocab_size
    known = [KnownCheckpoint(10.0**i, loss) for i, loss in enumerate([7.0, log(n_vocab), 1.0], start=18)]
    metrics, tables = measured(planted, only(1), series=tuple(known))
    # With the reconstruction the subject is as good as the second checkpoint; as it is, it lies further on.
    assert metrics["compute"]["reconstruction"] == pytest.approx(1e19, rel=1e-3)
    assert metrics["compute"]["original"] > 1.1e19
    assert metrics["compute"]["fraction"] == pytest.approx(1e19 / metrics["compute"]["original"], rel=1e-3)
    assert tables["series"]["compute"].to_list() == [1e18, 1e19, 1e20]


def test_outside_the_series_there_is_no_compute_equivalent(planted: Study) -> None:
    known = (KnownCheckpoint(1e18, 3.0), KnownCheckpoint(1e19, 2.0))
    metrics, _ = measured(planted, only(1), series=known)
    assert metrics["compute"] == {"original": None, "reconstruction": None, "fraction": None}


def test_a_checkpoint_that_is_the_subject_has_its_loss(planted: Study) -> None:
    series = (KnownCheckpoint(1e18, 9.0), MeasuredCheckpoint(4e18, LocalModel(planted.folder)))
    metrics, tables = measured(planted, only(1), series=series)
    assert tables["series"]["cross_entropy"][1] == metrics["cross_entropy"]["original"]
    assert metrics["compute"]["original"] == pytest.approx(4e18)
    assert 0 < metrics["compute"]["fraction"] < 1


def test_a_checkpoint_of_another_vocabulary_is_refused(planted: Study, tmp_path: Path) -> None:
    from tiny_models import make_tiny_llama

    other = LocalModel(make_tiny_llama(tmp_path, n_vocab=300))
    series = (KnownCheckpoint(1e18, 9.0), MeasuredCheckpoint(4e18, other))
    with pytest.raises(SettingError, match="a model with the tokenizer of"):
        measured(planted, only(1), series=series)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_contexts": 0}, r"evaluations.downstream.n_contexts=0"),
        ({"split": "tset"}, r"split='tset'"),
        ({"series": (KnownCheckpoint(1.0, 2.0),)}, r"evaluations.downstream.series=\[1.0\]"),
        ({"n_boot": 0}, r"n_boot=0"),
        ({"mean_split": "test"}, r"evaluations.downstream.mean_split='test' is not allowed: another than split"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Downstream(**settings)


def test_a_split_without_contexts_says_so(planted: Study) -> None:
    metrics, _ = measured(planted, only(1), split="calibrate")
    assert metrics == {"not_measured": "no context of calibrate has two tokens that count"}


def test_mean_of_documents_weighs_tokens_alike() -> None:
    # Two documents: 1 prediction with change 4, and 3 with change 0 each: 1 nat per token.
    row = {"source": "prose", "ce_original": 1.0, **{f"{k}_{p}": 1.0 for k in ("ce", "kl") for p in PATCHES}}
    rows = [
        {"context": 0, "document": 0, "n_tokens": 1, **row, "ce_reconstruction": 5.0},
        {"context": 1, "document": 1, "n_tokens": 3, **row},
    ]
    figures = figures_of(pl.DataFrame(rows).select(CONTEXTS.names()).cast(CONTEXTS), Bootstrap(200))
    assert figures["cross_entropy_change"]["reconstruction"]["value"] == 1.0
    assert figures["cross_entropy_change"]["reconstruction"]["high"] == 4.0  # both draws are the first document
    assert np.isclose(figures["cross_entropy"]["reconstruction"], 2.0)
