"""Explanations from weights: in the planted model neuron j of layer 0 reads the embeddings of class j's words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted import CLASSES
from planted_study import PlantedStudy, write_planted_study
from transformers import Gemma2Config, Gemma2ForCausalLM, Olmo2Config, Olmo2ForCausalLM

from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.errors import LatenteseError, SettingError
from latentese.explainers.token_weights import TokenWeightsExplainer
from latentese.reading.base import Loaded
from latentese.reading.subject_reader import SubjectReader
from latentese.reading.token_weights import (
    direct_acts,
    directions,
    strongest_inputs,
    strongest_outputs,
    written_to_stream,
)
from latentese.subject.model import Subject
from latentese.subject.shape import shape_of

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


SHAPE = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64,
}  # fmt: skip


def subject_of(model: Any) -> Subject:
    """A subject with random norms, which a new model does not have."""
    generator = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.2, 2.0, generator=generator)
    return Subject("random", model.eval(), shape_of(model.config))


@torch.no_grad()
def test_norms_that_multiply_by_one_more_than_their_weight_and_scaled_embeddings() -> None:
    torch.manual_seed(0)
    subject = subject_of(Gemma2ForCausalLM(Gemma2Config(**SHAPE, head_dim=8)))
    model, layer = subject.model, subject.layers[1]
    gain = (1 + layer.post_feedforward_layernorm.weight) * (1 + model.model.norm.weight)
    expected = gain * layer.mlp.down_proj.weight[:, 3] @ model.lm_head.weight.t()
    found = strongest_outputs(Loaded(subject, Neurons(24), "layers.1.mlp_act"), np.array([3]), 40)
    np.testing.assert_allclose(found.weights[0], expected.sort(descending=True).values, rtol=1e-4, atol=1e-7)
    rows = subject.embedding(torch.arange(40))
    assert not torch.allclose(rows, model.model.embed_tokens.weight)  # scaled by 4, the root of the width
    dictionary = TopK(16, n_latents=4, k=1, norm="none")
    weights = rows @ dictionary.W_enc
    inputs = strongest_inputs(Loaded(subject, dictionary, "embed"), 1)
    best = (weights - weights.mean(dim=0)).amax(dim=0)
    np.testing.assert_allclose(inputs.weights[:, 0], best.numpy(), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_an_mlp_with_a_norm_behind_it_alone_reads_the_stream_as_it_is() -> None:
    torch.manual_seed(0)
    subject = subject_of(Olmo2ForCausalLM(Olmo2Config(**SHAPE, pad_token_id=0)))
    layer, rows = subject.layers[0], subject.embedding(torch.arange(40))
    expected = torch.nn.functional.silu(layer.mlp.gate_proj(rows)) * layer.mlp.up_proj(rows)
    torch.testing.assert_close(direct_acts(subject, "layers.0.mlp_act", rows), expected)
    one = torch.eye(16)[:2]
    written = written_to_stream(subject, "layers.0.mlp_out", one)
    torch.testing.assert_close(written, one * layer.post_feedforward_layernorm.weight, rtol=1e-4, atol=1e-6)
