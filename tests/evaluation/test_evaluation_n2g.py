"""N2G on a model whose neurons respond to known words, and agreement counted by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted import CLASSES, write_model, write_text
from written_corpus import Written, evaluate_on, noise

from latentese.corpus.contexts import Contexts
from latentese.corpus.folder import Folder
from latentese.corpus.settings import ContextSettings
from latentese.corpus.source import SourceShare
from latentese.dictionaries.base import UnitActs
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.errors import SettingError
from latentese.evaluation.base import Evaluated, Findings
from latentese.evaluation.firing_agreement import METRICS, HeldOut
from latentese.evaluation.n2g import N2G, TABLE
from latentese.evaluation.unit_firings import UnitTokens, read_units
from latentese.patterns.n2g import N2GSettings, Pattern, build_trie
from latentese.reading.on_texts import UnitOnTexts, columns_of
from latentese.records import SPLITS
from latentese.stages.collect import collect
from latentese.stages.tokenize import tokenize
from latentese.store.shards import Activations
from latentese.subject.capture import capture_at
from latentese.subject.model import load_subject
from latentese.subject.settings import CaptureSettings
from latentese.weights.local import LocalModel

HOOKPOINT = "layers.0.mlp_act"
CLASS_SHARE = 0.2 / len(CLASSES)
"""One word in five is from a class; the words of one class are this share of all."""
# The neuron fires on all words of its class, and, more weakly, on some others.
QUANTILE = 1 - 1.6 * CLASS_SHARE
SMALL = N2G(n_units=12, min_firings=1, quantile=QUANTILE, n_top=20, n_random=20, n_boot=50)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """The planted model's neurons on its text."""
    root = tmp_path_factory.mktemp("planted")
    subject = LocalModel(write_model(root / "model"))
    sources = {"text": SourceShare(Folder(write_text(root / "text")), 1.0)}
    settings = ContextSettings(
        ctx_len=16,
        n_tokens={"train": 100, "explain": 2000, "calibrate": 100, "select": 100, "test": 1500},
        split_shares={"train": 0.1, "explain": 0.4, "calibrate": 0.1, "select": 0.1, "test": 0.3},
        max_contexts_per_document=4,
        min_tokens=4,
    )
    contexts = tokenize(sources, subject, settings, root / "contexts")
    capture = CaptureSettings(splits=SPLITS, dtype="float32", batch_contexts=16, shard_tokens=1000)
    activations = collect(contexts, subject, HOOKPOINT, capture, root / "activations")
    load = partial(load_subject, subject, "float32", "cpu")
    return Evaluated(Neurons(12), Activations(activations), Contexts(contexts), HOOKPOINT, load)


@pytest.fixture(scope="module")
def found(planted: Evaluated) -> Findings:
    return SMALL.measure(planted)


def test_patterns_of_planted_neurons_are_the_words_of_their_class(found: Findings) -> None:
    table = found.tables["units"]
    assert table.schema == TABLE
    assert sorted(table["unit"].to_list()) == list(range(12))
    for unit, words in enumerate(CLASSES.values()):
        row = table.filter(unit=unit).row(0, named=True)
        patterns = [line.partition("\t")[0] for line in row["patterns"].splitlines()]
        # Attention is silenced: no token before the last can matter. The words are the strongest.
        assert set(patterns[: len(words)]) == {f"' {word}'" for word in words}
        assert row["recall"] > 0.9
        assert row["precision"] > 0.75
        assert row["precision_balanced"] > 0.99
        assert row["n_without_pattern"] == 0


def test_counts_add_up_to_the_tokens_and_metrics_follow_from_them(planted: Evaluated, found: Findings) -> None:
    n_tokens = len(planted.activations.rows_of("test"))
    for row in found.tables["units"].iter_rows(named=True):
        counts = [row[name] for name in ("true_positives", "false_positives", "false_negatives", "true_negatives")]
        assert sum(counts) == n_tokens
        assert row["recall"] == pytest.approx(counts[0] / (counts[0] + counts[2]))
        assert row["n_tried"] == min(row["n_firings"], 40)
    means = found.metrics
    assert isinstance(means["pad_id"], int)
    json.dumps(dict(found.metrics))  # plain numbers alone
    assert means["n_units"] == 12
    for name in METRICS:
        values = found.tables["units"][name].drop_nulls()
        assert means[name]["value"] == pytest.approx(values.mean())
        assert means[name]["low"] <= means[name]["value"] <= means[name]["high"]


def test_the_draw_is_seeded_and_few_firings_say_less(planted: Evaluated, found: Findings) -> None:
    few = replace(SMALL, n_units=3, n_top=2, n_random=0, pad_id=0)
    first, again, other = (replace(few, seed=seed).measure(planted) for seed in (0, 0, 5))
    assert first.tables["units"].equals(again.tables["units"])
    assert first.metrics == again.metrics
    assert first.metrics["pad_id"] == 0
    assert first.tables["units"]["unit"].to_list() != other.tables["units"]["unit"].to_list()
    for row in first.tables["units"].iter_rows(named=True):
        full = found.tables["units"].filter(unit=row["unit"]).row(0, named=True)
        assert row["n_patterns"] <= 2 < full["n_patterns"]
        assert row["recall"] < full["recall"]


def test_a_unit_that_fires_too_rarely_is_not_drawn(planted: Evaluated) -> None:
    with pytest.raises(SettingError, match=r"n2g.min_firings=1000000 is not allowed: at most \d+, the firings"):
        replace(SMALL, min_firings=10**6).measure(planted)


def test_texts_of_all_lengths_give_what_the_unit_does_at_their_ends(planted: Evaluated) -> None:
    capture = capture_at(planted.load_subject(), HOOKPOINT)
    texts = [tuple(row.tolist()[:n]) for row, n in zip(planted.contexts.token_ids[:9], range(1, 10), strict=True)]
    one_by_one = [capture(torch.tensor([text]))[0, -1, 3].item() for text in texts]
    for batch_texts in (1, 4, 100):
        unit = UnitOnTexts(capture, planted.dictionary, 3, -np.inf, batch_texts)
        np.testing.assert_allclose(unit(texts), one_by_one, atol=1e-5)
    threshold = sorted(one_by_one)[5]
    silent = UnitOnTexts(capture, planted.dictionary, 3, threshold, 100)(texts)
    assert sum(act == 0 for act in silent) == 6


def test_units_are_read_from_sparse_codes() -> None:
    # the second token's padding names unit 7, which is active in the same row
    indices, values = torch.tensor([[4, 7], [7, 7]]), torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    code = UnitActs(values, indices, torch.zeros(2, 1), torch.ones(2, 1))
    assert columns_of(code, np.array([7, 0, 4]), 8).tolist() == [[2.0, 0.0, 1.0], [3.0, 0.0, 0.0]]


def test_units_of_tokens_are_columns_of_the_dense_code(tmp_path: Path) -> None:
    topk = TopK(6, 10, 3).requires_grad_(False)
    written = [Written("test", "a", [["a", " b", " c", " d"]] * 3)]
    evaluated = evaluate_on(tmp_path, written, noise(6), topk)
    rows = np.array([0, 2, 3, 8])
    found = read_units(evaluated, rows, np.array([5, 1]), 2, lambda _: None)
    code = topk.encode(evaluated.activations.gather(rows))
    dense = torch.zeros(4, 10).scatter(1, code.indices, code.values)
    np.testing.assert_allclose(found.acts, dense[:, [5, 1]], atol=1e-6)
    assert found.context.tolist() == [0, 0, 1, 2]
    assert found.position.tolist() == [1, 3, 1, 3]


def test_agreement_by_hand(tmp_path: Path) -> None:
    written = [Written("test", "a", [["x", " a", " b", " a"], ["x", " c", " b"]]), Written("test", "b", [["x", " a"]])]
    evaluated = evaluate_on(tmp_path, written, noise(2), Neurons(2))
    # counted tokens: a b a | c b | a, of documents 0, 0 and 1
    context, position = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 2, 3, 1, 2, 1])
    tokens = UnitTokens(np.zeros((6, 1)), context, position, np.array([0, 0, 0, 0, 0, 1]))
    held_out = HeldOut(evaluated, tokens)
    predicted = held_out.predict(build_trie([Pattern((" a", " b"), 1.0), Pattern((" c",), 1.0)]))
    assert predicted.tolist() == [False, True, False, True, False, False]
    true = np.array([True, True, False, False, False, True])
    sums = held_out.compare(predicted, true)
    assert sums.tolist() == [[1, 1, 1, 2], [0, 0, 1, 0]]
    values = {name: float(metric(sums.sum(axis=0))) for name, metric in METRICS.items()}
    # 1 hit, 1 false alarm in 3 silent tokens, 2 missed: recall 1/3, alarms 1/3
    assert values["precision"] == pytest.approx(1 / 2)
    assert values["recall"] == pytest.approx(1 / 3)
    assert values["f1"] == pytest.approx(2 / 5)
    assert values["precision_balanced"] == pytest.approx((1 / 3) / (1 / 3 + 1 / 3))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # no pattern: nothing is predicted, so all is missed
        ([0.0, 0.0, 5.0, 9.0], {"precision": None, "recall": 0.0, "f1": 0.0, "precision_balanced": None}),
        # the unit is silent: what is predicted is wrong
        ([0.0, 3.0, 0.0, 9.0], {"precision": 0.0, "recall": None, "f1": None, "precision_balanced": None}),
        ([4.0, 0.0, 0.0, 9.0], {"precision": 1.0, "recall": 1.0, "f1": 1.0, "precision_balanced": 1.0}),
    ],
)
def test_metrics_that_are_not_defined_are_no_numbers(counts: list[float], expected: dict[str, float | None]) -> None:
    values = {name: float(metric(np.array(counts))) for name, metric in METRICS.items()}
    assert {name: None if np.isnan(value) else value for name, value in values.items()} == expected


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"n_units": 0}, "n_units"),
        ({"n_top": -1}, "n_top"),
        ({"n_top": 0, "n_random": 0}, "n_top"),
        ({"quantile": 1.0}, "quantile"),
        ({"test_split": "explain"}, "test_split"),
        ({"batch_texts": 0}, "batch_texts"),
    ],
)
def test_settings_are_checked(wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(SettingError, match=rf"evaluations.n2g.{name}"):
        N2G(**wrong)


def test_settings_of_patterns_reach_the_search(planted: Evaluated) -> None:
    """A suffix must keep nearly all, of a firing that a text of one token gives in full."""
    strict = replace(SMALL, n_units=2, patterns=N2GSettings(share=0.999, max_tokens=1))
    table = strict.measure(planted).tables["units"]
    assert table["n_without_pattern"].sum() == 0
