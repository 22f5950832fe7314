"""Explanations from weights: in the planted model neuron j of layer 0 reads the embeddings of class j's words."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import CLASSES
from planted_study import PlantedStudy, write_planted_study

from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.errors import LatenteseError, SettingError
from latentese.explainers.token_weights import TokenWeightsExplainer
from latentese.reading.base import Loaded
from latentese.reading.subject_reader import SubjectReader
from latentese.reading.token_weights import directions, strongest_inputs, strongest_outputs, written_to_stream

CLASS_WORDS = list(CLASSES.values())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PlantedStudy:
    return write_planted_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def reader(study: PlantedStudy) -> SubjectReader:
    return study.reader()


@pytest.mark.parametrize("unit", range(len(CLASS_WORDS)))
def test_the_words_that_drive_a_neuron_top_its_table(study: PlantedStudy, reader: SubjectReader, unit: int) -> None:
    explainer = TokenWeightsExplainer(n_entries=20, n_named=5, n_outputs=0).with_reader(reader)
    explanation = asyncio.run(explainer.explain(study.unit(unit), []))
    assert {text.strip() for text, _ in explanation.table[:5]} == set(CLASS_WORDS[unit])
    weights = [weight for _, weight in explanation.table]
    assert weights == sorted(weights, reverse=True) and min(weights) > 0 and len(weights) <= 20
    assert explanation.text == "tokens: " + ", ".join(repr(text) for text, _ in explanation.table[:5])
    assert (explanation.explanation, explanation.examples) == (f"{unit}.token_weights.0", ())


def test_outputs_are_named_behind_the_inputs(study: PlantedStudy, reader: SubjectReader) -> None:
    explainer = TokenWeightsExplainer(n_named=1, n_outputs=2).with_reader(reader)
    text = asyncio.run(explainer.explain(study.unit(0), [])).text or ""
    found = strongest_outputs(reader.loaded, np.array([0]), 2).token_ids[0].tolist()
    assert text.endswith("; makes likelier: " + ", ".join(map(repr, reader.token_texts(found))))


def test_output_weights_are_the_formula(reader: SubjectReader) -> None:
    model = reader.loaded.subject.model
    # (final gain * W_out[n]) . W_U[:, t]; nn.Linear keeps W_out transposed: [d_model, d_mlp].
    w_out = model.model.layers[0].mlp.down_proj.weight[:, 3]
    expected = (model.model.norm.weight * w_out) @ model.lm_head.weight.t()
    values, ids = expected.topk(4)
    found = strongest_outputs(reader.loaded, np.array([3]), 4)
    np.testing.assert_allclose(found.weights[0], values.detach().numpy(), rtol=1e-4)
    assert found.token_ids[0].tolist() == ids.tolist()


def test_input_weights_of_a_gated_neuron_are_gate_times_up(reader: SubjectReader) -> None:
    layer = reader.loaded.subject.layers[0]
    embedding = reader.loaded.subject.model.get_input_embeddings().weight
    normed = layer.post_attention_layernorm(embedding)
    acts = torch.nn.functional.silu(normed @ layer.mlp.gate_proj.weight[2]) * (normed @ layer.mlp.up_proj.weight[2])
    values, ids = acts.topk(6)
    found = strongest_inputs(reader.loaded, 6)
    assert found.token_ids[2].tolist() == ids.tolist()
    np.testing.assert_allclose(found.weights[2], (values - acts.mean()).detach().numpy(), rtol=1e-3, atol=1e-5)


def test_input_weights_of_a_latent_are_the_encoders_column(reader: SubjectReader) -> None:
    subject = reader.loaded.subject
    dictionary = TopK(subject.shape.d_model, n_latents=4, k=1, norm="none")
    loaded = Loaded(subject, dictionary, "layers.0.resid_post")
    weights = subject.model.get_input_embeddings().weight @ dictionary.W_enc  # biases are the same for all tokens
    centred = weights - weights.mean(dim=0)
    values, ids = centred.topk(3, dim=0)
    found = strongest_inputs(loaded, 3)
    assert found.token_ids.tolist() == ids.t().tolist()
    np.testing.assert_allclose(found.weights, values.t().detach().numpy(), rtol=1e-3, atol=1e-5)


def test_what_a_unit_writes_is_its_decoder_row_or_column_of_the_down_projection(reader: SubjectReader) -> None:
    subject = reader.loaded.subject
    dictionary = TopK(subject.shape.d_model, n_latents=4, k=1, norm="unit_norm")
    rows = directions(dictionary, np.array([2, 0]))
    torch.testing.assert_close(rows, dictionary.W_dec[[2, 0]].detach())
    assert written_to_stream(subject, "layers.1.resid_post", rows) is rows
    one = directions(Neurons(subject.shape.d_mlp), np.array([5]))
    down = subject.down_projection(1).weight
    torch.testing.assert_close(written_to_stream(subject, "layers.1.mlp_act", one)[0], down[:, 5].detach())  # type: ignore[index]


def test_batches_of_the_vocabulary_change_nothing(reader: SubjectReader, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = strongest_inputs(reader.loaded, 7)
    monkeypatch.setattr("latentese.reading.token_weights.BATCH_TOKENS", 5)
    parts = strongest_inputs(reader.loaded, 7)
    np.testing.assert_allclose(parts.weights, whole.weights, rtol=1e-4, atol=1e-6)
    assert (parts.token_ids[:, :3] == whole.token_ids[:, :3]).all()


def test_without_a_reader_it_says_what_it_needs(study: PlantedStudy, tmp_path: Path) -> None:
    with pytest.raises(LatenteseError, match="token_weights runs the subject: give it a reader first"):
        asyncio.run(TokenWeightsExplainer().explain(study.unit(0), []))
    with pytest.raises(SettingError, match="n_named=0"):
        TokenWeightsExplainer(n_named=0)


def test_more_outputs_than_tokens_are_all_tokens(reader: SubjectReader) -> None:
    n_tokens = len(reader.loaded.subject.model.get_output_embeddings().weight)
    found = strongest_outputs(reader.loaded, np.array([0]), n_tokens + 5).token_ids
    assert sorted(found[0].tolist()) == list(range(n_tokens))
