"""Tokens in batches and sums per document, on a corpus small enough to write down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from written_corpus import Written, evaluate_on, noise, plain_documents

from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.errors import ArtifactError
from latentese.evaluation.base import Evaluated
from latentese.evaluation.tokens import DocumentSums, draw_rows, ratio_of_sums, seen_mean, token_batches
from latentese.records import SPLITS, Context


def numbered(context: Context) -> torch.Tensor:
    """The activation says where it comes from: context and position."""
    positions = torch.arange(len(context.tokens), dtype=torch.float32)
    return torch.stack([torch.full_like(positions, context.context), positions], dim=1)


@pytest.fixture
def evaluated(tmp_path: Path) -> Evaluated:
    return evaluate_on(tmp_path, plain_documents(), numbered, Neurons(2))


def test_a_written_corpus_is_what_was_written(tmp_path: Path) -> None:
    documents = [Written("test", "b", [["x", " y"], ["z"]]), Written("train", "a", [["x", " z", "x"]])]
    evaluated = evaluate_on(tmp_path, documents, noise(2), Neurons(2))
    assert evaluated.contexts.token_ids.tolist() == [[1, 4, 1], [1, 2, 0], [3, 0, 0]]
    assert evaluated.contexts.table["source"].to_list() == ["a", "b", "b"]
    assert [len(evaluated.contexts.of_split(split)) for split in SPLITS] == [1, 0, 0, 0, 2]
    assert (evaluated.activations.rows_of("train"), evaluated.activations.rows_of("test")) == (range(2), range(2, 3))
    shard = evaluated.activations.read(0)
    np.testing.assert_array_equal(shard.context, [0, 0, 1])
    np.testing.assert_array_equal(shard.position, [1, 2, 1])


@pytest.mark.parametrize("batch_tokens", [1, 3, 1000])
def test_batches_hold_the_rows_asked_for_and_their_documents(evaluated: Evaluated, batch_tokens: int) -> None:
    rows = np.array([0, 1, 7, 8, 50, 55, 56, 57, 200, 319])  # shards have 7 contexts of 8 counted positions: 56 rows
    batches = list(token_batches(evaluated, rows, batch_tokens))
    assert max(len(batch.acts) for batch in batches) <= batch_tokens
    acts = torch.cat([batch.acts for batch in batches])
    # row r is position 1 + r % 8 of context r // 8; a document has two contexts
    assert acts.tolist() == [[r // 8, 1 + r % 8] for r in rows.tolist()]
    assert torch.cat([batch.document for batch in batches]).tolist() == (rows // 16).tolist()


def test_drawn_rows_are_sorted_distinct_and_of_the_split(evaluated: Evaluated) -> None:
    of_split = evaluated.activations.rows_of("test")
    drawn = draw_rows(evaluated.activations, "test", 20, seed=3)
    assert len(drawn) == 20
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    assert set(drawn.tolist()) <= set(of_split)
    assert drawn.tolist() == draw_rows(evaluated.activations, "test", 20, seed=3).tolist()
    assert drawn.tolist() != draw_rows(evaluated.activations, "test", 20, seed=4).tolist()
    assert draw_rows(evaluated.activations, "test", 10**6, seed=3).tolist() == list(of_split)


def test_sums_are_kept_for_documents_that_had_tokens(evaluated: Evaluated) -> None:
    sums = DocumentSums(evaluated, 2)
    sums.add_(torch.tensor([5, 2, 5]), torch.tensor([1.0, 2.0, 4.0]), torch.tensor([True, True, False]))
    sums.add_(torch.tensor([2]), torch.tensor([8.0]), torch.tensor([False]))
    assert sums.rows.tolist() == [[10.0, 1.0], [5.0, 1.0]]


def test_a_ratio_over_nothing_is_not_defined() -> None:
    ratios = ratio_of_sums(np.array([[1.0, 4.0, 9.0], [1.0, 0.0, 9.0]]))
    assert ratios[0] == 0.25
    assert np.isnan(ratios[1])


def test_the_mean_is_taken_behind_the_input_norm(tmp_path: Path) -> None:
    evaluated = evaluate_on(tmp_path, plain_documents(), noise(6), TopK(6, 8, 2).requires_grad_(False))
    acts = evaluated.activations.gather(np.asarray(evaluated.activations.rows_of("explain")))
    centred = acts - acts.mean(dim=1, keepdim=True)
    expected = (centred / centred.norm(dim=1, keepdim=True)).mean(dim=0)
    found = seen_mean(evaluated.dictionary, evaluated.activations, "explain", 10**6, seed=0)
    torch.testing.assert_close(found, expected)


def test_activations_that_are_not_finite_stop(tmp_path: Path) -> None:
    evaluated = evaluate_on(
        tmp_path, plain_documents(), lambda c: torch.full((len(c.tokens), 2), torch.nan), Neurons(2)
    )
    with pytest.raises(ArtifactError, match="NaN"):
        list(token_batches(evaluated, np.arange(4), 2))
