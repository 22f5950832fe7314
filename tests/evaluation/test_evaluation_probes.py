"""Probes on planted units: one that is the label, noise, and a word that says it half of the time."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from written_corpus import Written, evaluate_on, noise

from latentese.dictionaries.neurons import Neurons
from latentese.errors import SettingError
from latentese.evaluation.base import Findings
from latentese.evaluation.labelled_texts import LabelledTexts
from latentese.evaluation.labels import NEGATIVE, OUT, POSITIVE
from latentese.evaluation.probe_rows import Balance, ContextDraw, label_rows
from latentese.evaluation.probes import TABLE, Probes
from latentese.evaluation.tasks import SourceTask
from latentese.evaluation.text_tasks import CONTROL, TEXT_TASKS
from latentese.records import Context

WIDTH = 40
WORDS = (" one", " 7", " 12", " cat", " slowly", " 305", " tree", " 9")
PROBES = Probes(tasks=("digit",), n_per_class=60, min_per_class=20, n_boot=100)


def documents(n_per_split: int = 12) -> list[Written]:
    """Random words and numbers, three contexts of 12 tokens per document; sources take turns."""
    draw = random.Random(0)
    return [
        Written(
            split,
            ("prose", "code", "speech")[i % 3],
            [[f" {split}{i}-{j}", *(draw.choice(WORDS) for _ in range(11))] for j in range(3)],
        )
        for split in ("explain", "test")
        for i in range(n_per_split)
    ]


def digits_in_unit_3(context: Context) -> torch.Tensor:
    """Noise, but unit 3 is 5 on tokens of digits and 4 elsewhere."""
    acts = noise(WIDTH)(context)
    acts[:, 3] = torch.tensor([5.0 if token.strip().isdigit() else 4.0 for token in context.tokens])
    return acts


def row_of(found: Findings, task: str) -> dict[str, Any]:
    return found.tables["tasks"].filter(task=task).row(0, named=True)


def test_the_unit_that_is_the_label_is_chosen_and_costs_nearly_nothing(tmp_path: Path) -> None:
    evaluated = evaluate_on(tmp_path, documents(), digits_in_unit_3, Neurons(WIDTH))
    found = PROBES.measure(evaluated)
    row = row_of(found, "digit")
    assert row["unit"] == 3
    assert 0 < row["loss_fit"] < 2e-3
    assert 0 < row["loss"] < 2e-3
    assert row["base_entropy"] == pytest.approx(log(2))
    assert row["n_tokens"] == 120
    assert row["low"] <= row["loss"] <= row["high"]
    assert found.metrics["loss"]["value"] == pytest.approx(row["loss"])
    assert (found.metrics["n_tasks"], found.metrics["n_too_few"]) == (1, 0)
    assert found.tables["tasks"].schema == TABLE
    json.dumps(dict(found.metrics))  # plain numbers alone


def test_of_noise_the_best_looks_good_where_it_was_chosen_and_not_where_it_is_reported(tmp_path: Path) -> None:
    evaluated = evaluate_on(tmp_path, documents(), noise(400), Neurons(400))
    found = PROBES.measure(evaluated)
    for row in found.tables["tasks"].iter_rows(named=True):
        # 120 tokens: the loss of the best of 400 is lower by about log(400) / 120
        assert row["loss_fit"] < log(2) - 0.02
        assert row["loss"] > log(2) - 0.01
    assert found.metrics["loss_fit"] < found.metrics["loss"]["value"]
    control = row_of(found, "coin")
    assert found.metrics["control"] == {"loss": control["loss"], "loss_fit": control["loss_fit"]}


def test_more_units_of_noise_look_better_where_chosen(tmp_path: Path) -> None:
    few, many = (
        PROBES.measure(evaluate_on(tmp_path / str(n), documents(), noise(n), Neurons(n))).metrics for n in (5, 500)
    )
    assert many["loss_fit"] < few["loss_fit"]


def test_the_loss_of_a_unit_that_tells_three_of_four_is_its_entropy(tmp_path: Path) -> None:
    """Unit 0 is 1 on three of four digit tokens and on one of four others, in both splits."""

    def acts_of(context: Context) -> torch.Tensor:
        acts = torch.zeros(len(context.tokens), 2)
        for position, token in enumerate(context.tokens):
            turn = (context.context * 11 + position) % 4
            acts[position, 0] = float(turn != 0) if token.strip().isdigit() else float(turn == 0)
        return acts

    evaluated = evaluate_on(tmp_path, documents(40), acts_of, Neurons(2))
    row = row_of(replace(PROBES, n_per_class=500).measure(evaluated), "digit")
    entropy = -(0.75 * log(0.75) + 0.25 * log(0.25))
    assert row["unit"] == 0
    assert row["loss_fit"] == pytest.approx(entropy, abs=0.04)
    assert row["loss"] == pytest.approx(entropy, abs=0.04)


def test_all_built_in_tasks_are_asked_and_those_with_too_few_tokens_are_counted_not_zero(tmp_path: Path) -> None:
    evaluated = evaluate_on(tmp_path, documents(), digits_in_unit_3, Neurons(WIDTH))
    found = replace(PROBES, tasks=None, code_sources=("code",)).measure(evaluated)
    table = found.tables["tasks"]
    assert table["task"].to_list() == [task.name for task in (*TEXT_TASKS, CONTROL)]
    asked = table.filter(pl.col("task") != "coin")
    assert found.metrics["n_tasks"] + found.metrics["n_too_few"] == len(TEXT_TASKS)
    silent = asked.filter(pl.col("unit").is_null())
    assert found.metrics["n_too_few"] == len(silent) > 20
    assert silent.select("loss", "loss_fit", "low", "high", "base_entropy", "n_tokens").null_count().row(0) == (
        (len(silent),) * 6
    )
    # Nothing here has a comma; every word completes one.
    assert row_of(found, "comma")["n_positive"] == 0
    measured = asked.drop_nulls("unit")
    assert found.metrics["loss"]["value"] == pytest.approx(measured["loss"].mean())
    assert found.metrics["loss_fit"] == pytest.approx(measured["loss_fit"].mean())


def test_a_task_gets_the_same_figures_whichever_others_are_asked(tmp_path: Path) -> None:
    evaluated = evaluate_on(tmp_path, documents(), digits_in_unit_3, Neurons(WIDTH))
    alone = row_of(PROBES.measure(evaluated), "digit")
    among_others = row_of(replace(PROBES, tasks=("seen_before", "digit", "ly")).measure(evaluated), "digit")
    assert alone == among_others
    assert alone != row_of(replace(PROBES, seed=1).measure(evaluated), "digit")


def test_without_any_task_that_can_be_measured_there_is_no_mean(tmp_path: Path) -> None:
    evaluated = evaluate_on(tmp_path, documents(), noise(4), Neurons(4))
    metrics = replace(PROBES, tasks=("comma",), min_per_class=1000).measure(evaluated).metrics
    assert metrics["loss"] == {"value": None, "low": None, "high": None}
    assert (metrics["loss_fit"], metrics["n_tasks"], metrics["n_too_few"]) == (None, 0, 1)
    assert metrics["control"] == {"loss": None, "loss_fit": None}


def test_sources_are_tasks_too(tmp_path: Path) -> None:
    def acts_of(context: Context) -> torch.Tensor:
        acts = noise(6)(context)
        acts[:, 2] = float(context.source == "speech")
        return acts

    evaluated = evaluate_on(tmp_path, documents(18), acts_of, Neurons(6))
    sources = {"speech": SourceTask(["speech"], ["prose"]), "latin": SourceTask(["vulgata"])}
    probes = replace(PROBES, tasks=("speech", "latin"), sources=sources)
    found = probes.measure(evaluated)
    assert row_of(found, "speech")["unit"] == 2
    assert row_of(found, "speech")["loss"] < 2e-3
    assert row_of(found, "speech")["n_documents"] == 12  # six of speech, six of prose, none of code
    assert row_of(found, "latin")["loss"] is None


def write_reviews(path: Path, rows: list[dict[str, Any]]) -> LabelledTexts:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return LabelledTexts(str(path), positive="good")


def text_of(document: Written) -> str:
    return "".join(token for context in document.contexts for token in context)


def test_labelled_texts_are_found_in_the_corpus_and_asked_at_the_last_token(tmp_path: Path) -> None:
    written = documents()
    evaluated = evaluate_on(tmp_path, written, noise(3), Neurons(3))
    rows = [
        {"text": f"\n{text_of(written[0])} ", "label": "good"},
        {"text": text_of(written[1]), "label": "bad"},
        {"text": text_of(written[2]), "label": None},
        {"text": text_of(written[3]), "label": "good"},
        {"text": text_of(written[3]), "label": "bad"},
        {"text": "not in the corpus", "label": "good"},
    ]
    task = write_reviews(tmp_path / "reviews.jsonl", rows).task("sentiment", evaluated.contexts)
    assert task.definition == "The text is labelled 'good' in reviews.jsonl; among last tokens of contexts."
    draw = ContextDraw("explain", 1000, 0)
    found = label_rows(evaluated, [task], (), draw, lambda _: None)
    # documents have three contexts of 11 counted tokens, the last of which is asked about
    per_context = found.labels[0].reshape(-1, 11)
    assert set(per_context[:, :-1].flatten().tolist()) == {OUT}
    asked = {POSITIVE: [0, 1, 2], NEGATIVE: [3, 4, 5]}
    for label, contexts in asked.items():
        assert np.flatnonzero(per_context[:, -1] == label).tolist() == contexts


def test_a_task_of_your_own_is_measured(tmp_path: Path) -> None:
    written = documents(20)
    good = {i for i in range(40) if i % 2}

    def acts_of(context: Context) -> torch.Tensor:
        acts = noise(5)(context)
        acts[:, 4] = float(context.document in good)
        return acts

    evaluated = evaluate_on(tmp_path, written, acts_of, Neurons(5))
    numbered = sorted(written, key=lambda document: document.split)  # explain, then test: as the corpus numbers them
    rows = [{"text": text_of(d), "label": "good" if i in good else "bad"} for i, d in enumerate(numbered)]
    texts = write_reviews(tmp_path / "reviews.jsonl", rows)
    row = row_of(replace(PROBES, tasks=("sentiment",), labelled={"sentiment": texts}).measure(evaluated), "sentiment")
    assert (row["unit"], row["n_positive"], row["n_documents"]) == (4, 30, 20)
    assert row["loss"] < 2e-3


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"text": "a", "label": 1}\n{"text": "a"}\n', "line 2 has not both"),
        ("[1]\n", "line 1 has not both"),
        ('{"text": \n', "JSON lines; line 1: "),
        ('{"text": "elsewhere", "label": 1}\n', "let it read this file too"),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path: Path, content: str, problem: str) -> None:
    evaluated = evaluate_on(tmp_path, documents(), noise(3), Neurons(3))
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(SettingError, match=problem) as raised:
        LabelledTexts(str(tmp_path / "x.jsonl")).task("mine", evaluated.contexts)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"path=.*nowhere"):
        LabelledTexts(str(tmp_path / "nowhere.jsonl"))


def test_labelled_rows_are_where_the_activations_are(tmp_path: Path) -> None:
    evaluated = evaluate_on(tmp_path, documents(), digits_in_unit_3, Neurons(WIDTH))
    advanced: list[int] = []
    draw = ContextDraw("test", 20, seed=4)
    found = label_rows(evaluated, [TEXT_TASKS[0], CONTROL], (), draw, advanced.append)
    assert TEXT_TASKS[0].name == "digit"
    assert sum(advanced) == 20
    assert found.rows.tolist() == sorted(set(found.rows.tolist()))
    assert len(found.rows) == 20 * 11
    acts = evaluated.activations.gather(found.rows)
    np.testing.assert_array_equal(acts[:, 3].numpy() == 5, found.labels[0] == POSITIVE)
    contexts = evaluated.contexts.table["document"].to_numpy()
    assert set(found.document.tolist()) <= set(contexts[evaluated.contexts.of_split("test")].tolist())


def test_shards_without_a_drawn_context_are_passed_over(tmp_path: Path) -> None:
    evaluated = evaluate_on(tmp_path, documents(), digits_in_unit_3, Neurons(WIDTH))
    assert len(evaluated.activations.spans_of("test")) > 1  # so that one context leaves a shard without any
    found = label_rows(evaluated, [CONTROL], (), ContextDraw("test", 1, seed=4), lambda _: None)
    assert len(found.rows) == 11
    assert found.labels.shape == (1, 11)
    assert len(set(found.document.tolist())) == 1


def test_draws_are_balanced_and_refused_when_a_class_is_small() -> None:
    labels = np.array([POSITIVE] * 6 + [NEGATIVE] * 30 + [OUT] * 10, dtype=np.int8)
    document = np.arange(46) % 3
    rng = np.random.default_rng(0)
    drawn = Balance(100, 6, 3).draw(labels, document, rng)
    assert drawn is not None
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    assert (labels[drawn] == POSITIVE).sum() == (labels[drawn] == NEGATIVE).sum() == 6
    small = Balance(4, 4, 3).draw(labels, document, rng)
    assert small is not None
    assert len(small) == 8
    assert Balance(100, 7, 3).draw(labels, document, rng) is None
    assert Balance(100, 6, 4).draw(labels, document, rng) is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_per_class": 0}, r"probes\.n_per_class=0"),
        ({"min_documents": 0}, r"probes\.min_documents=0"),
        ({"tasks": ("digit", "digits")}, r"probes\.tasks='digits' is not allowed: one of digit, "),
        ({"report_split": "explain"}, r"probes\.report_split='explain'"),
        ({"sources": {"digit": SourceTask(["a"])}}, r"\['digit'\] is not allowed: one task per name"),
    ],
)
def test_settings_are_checked(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Probes(**wrong)
