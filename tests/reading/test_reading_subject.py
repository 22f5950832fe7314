"""A reader tells of typed texts and token ids what the stored examples tell of the corpus."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import CLASSES, write_model
from planted_study import HOOKPOINT, PlantedStudy, write_planted_study
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from latentese.corpus.contexts import Contexts
from latentese.corpus.cutting import tokenize_texts
from latentese.errors import ArtifactError, LatenteseError, SettingError
from latentese.reading.base import NeedsReader, Reader, give_reader, needed
from latentese.reading.subject_reader import StudyPlaces, SubjectReader
from latentese.subject.model import Subject, SubjectChoice
from latentese.weights.load import load_tokenizer
from latentese.weights.local import LocalModel

CATS, COLOURS = list(CLASSES).index("animals"), list(CLASSES).index("colours")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PlantedStudy:
    return write_planted_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def reader(study: PlantedStudy) -> SubjectReader:
    return study.reader()


def test_units_fire_on_their_words_in_typed_text(study: PlantedStudy, reader: SubjectReader) -> None:
    units = [study.unit(COLOURS), study.unit(CATS)]
    texts = [" the cat said the red dog", " green", " when they said so"]
    colours, cats = reader.examples(units, texts)
    fired = [
        [[token for token, act in zip(e.context.tokens, e.acts, strict=True) if act > 1] for e in of_unit]
        for of_unit in (colours, cats)
    ]
    # The first word of a text counts too: it stands behind the lead.
    assert fired == [[[" red"], [" green"], []], [[" cat", " dog"], [], []]]
    assert {example.unit for example in colours} == {COLOURS}
    assert colours[0].context.text == "\n the cat said the red dog"
    assert colours[0].context.keep == (False,) + (True,) * 6


def test_a_text_is_read_the_same_alone_and_among_others(reader: SubjectReader) -> None:
    texts = [" the cat saw the red dog", " green", " iron and gold and silver and july"]
    together = reader.read(texts)
    for text, read in zip(texts, together, strict=True):
        (alone,) = reader.read([text])
        assert alone.context == read.context
        np.testing.assert_allclose(alone.acts, read.acts, atol=1e-5)
    assert len({read.context.context for read in together}) == len(texts)
    assert all(read.context.context < 0 and read.context.document < 0 for read in together)


def test_some_units_are_columns_of_all_units_and_position_0_counts_nowhere(reader: SubjectReader) -> None:
    (all_units,) = reader.read([" the cat"])
    (some,) = reader.read([" the cat"], [5, 0])
    assert all_units.acts.shape == (3, 12)
    np.testing.assert_array_equal(some.acts, all_units.acts[:, [5, 0]])
    assert not all_units.acts[0].any() and all_units.acts[1:].all()


def test_texts_are_cut_where_contexts_end(reader: SubjectReader) -> None:
    (read,) = reader.read([" cat" * 40], [CATS])
    assert len(read.context.tokens) == len(read.acts) == 16
    assert (read.acts[1:] > 0).all()
    with pytest.raises(SettingError, match="text"):
        reader.read([""])


def test_strength_at_the_end_of_contexts_is_what_their_examples_say(study: PlantedStudy, reader: SubjectReader) -> None:
    examples = [e for e in study.examples(CATS, "explain") if e.max_act > 0][:5]
    peaks = [int(np.argmax(e.acts)) for e in examples]
    ids = reader.token_ids([e.context.context for e in examples])
    acts = reader.strength(study.unit(CATS))([row[: peak + 1] for row, peak in zip(ids, peaks, strict=True)])
    np.testing.assert_allclose(acts, [e.max_act for e in examples], rtol=1e-4)
    silent = replace(study.unit(CATS), threshold=1e6)
    assert reader.strength(silent)([ids[0]]) == [0.0]


def test_token_ids_leave_padding_out(study: PlantedStudy, reader: SubjectReader) -> None:
    contexts = Contexts(study.places.contexts)
    for context, ids in zip(contexts.get(range(20)), reader.token_ids(range(20)), strict=True):
        assert len(ids) == 1 + sum(context.keep)
        assert list(ids) == contexts.token_ids[context.context][: len(ids)].tolist()


def test_pads_are_tokens_of_the_model(reader: SubjectReader) -> None:
    n_vocab = reader.loaded.subject.model.config.vocab_size
    assert len(reader.pads) >= 8 and all(0 <= pad < n_vocab for pad in reader.pads)
    assert reader.loaded.hookpoint == HOOKPOINT and reader.loaded.dictionary.n_units == 12


METASPACE = decoders.Metaspace()
LLAMA_2 = decoders.Sequence(
    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)


@pytest.mark.parametrize("decoder", [METASPACE, LLAMA_2], ids=["metaspace", "llama_2"])
def test_texts_of_tokens_are_those_of_contexts_where_a_text_loses_its_first_space(
    study: PlantedStudy, tmp_path: Path, decoder: Any
) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoder
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["<s>"], show_progress=False)
    tokenizer.train_from_iterator([text := "a cat and the cats sat at the tables"] * 2, trainer)
    shutil.copytree(study.model, folder := tmp_path / "model")
    saved = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")
    saved.save_pretrained(folder)
    reader = SubjectReader(study.places, SubjectChoice(LocalModel(folder), "float32", "cpu"), HOOKPOINT)
    (tokenized,) = tokenize_texts(saved, [text])
    # A context's own first token has no space to keep.
    assert reader.token_texts(tokenized.token_ids)[1:] == tokenized.pieces[1:]
    assert " cat" in tokenized.pieces
    assert reader.token_texts([saved.bos_token_id]) == [""]


def test_texts_of_byte_level_tokens_are_what_each_decodes_to(study: PlantedStudy, reader: SubjectReader) -> None:
    tokenizer = load_tokenizer(study.model)
    ids = list(range(len(tokenizer)))
    assert reader.token_texts(ids) == [tokenizer.decode([token], skip_special_tokens=True) for token in ids]
    assert reader.token_texts([]) == []


class Unloadable(SubjectChoice):
    def load(self) -> Subject:
        raise AssertionError("loaded the subject")


def test_nothing_is_loaded_before_it_is_asked_for(study: PlantedStudy, tmp_path: Path) -> None:
    SubjectReader(StudyPlaces(tmp_path / "a", tmp_path / "b", tmp_path / "c"), study.subject, HOOKPOINT)
    unloadable = Unloadable(LocalModel(study.model), "float32", "cpu")
    reader = SubjectReader(study.places, unloadable, HOOKPOINT)
    assert reader.token_ids([0])
    with pytest.raises(AssertionError, match="loaded the subject"):
        reader.read(["a"])


def test_another_subject_dictionary_or_hookpoint_is_refused(study: PlantedStudy, tmp_path: Path) -> None:
    other = LocalModel(write_model(tmp_path / "model", seed=1))
    with pytest.raises(SettingError, match="the contexts are those of"):
        _ = SubjectReader(study.places, SubjectChoice(other, "float32", "cpu"), HOOKPOINT).loaded
    with pytest.raises(SettingError, match=r"layers.0.resid_post.*one of width 12"):
        _ = SubjectReader(study.places, study.subject, "layers.0.resid_post").loaded
    elsewhere = write_planted_study(tmp_path / "elsewhere")
    mixed = replace(study.places, dictionary=elsewhere.places.dictionary, examples=_resampled(study, tmp_path))
    with pytest.raises(ArtifactError, match="not sampled from"):
        _ = SubjectReader(mixed, study.subject, HOOKPOINT).loaded


def _resampled(study: PlantedStudy, folder: Path) -> Path:
    """The study's examples as if sampled with another dictionary."""
    import json

    copy = folder / "examples"
    shutil.copytree(study.places.examples, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["inputs"]["dictionary"] = "another"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


@dataclass(frozen=True)
class Asking:
    reader: Reader | None = None

    def with_reader(self, reader: Reader) -> Asking:
        return replace(self, reader=reader)


def test_a_reader_is_given_to_those_that_need_one(reader: SubjectReader) -> None:
    asking, other = Asking(), object()
    given = give_reader({"asking": asking, "other": other}, reader)
    assert given == {"asking": Asking(reader), "other": other}
    assert isinstance(asking, NeedsReader) and not isinstance(other, NeedsReader)
    assert needed(reader, "n2g") is reader
    with pytest.raises(LatenteseError, match="n2g runs the subject"):
        needed(asking.reader, "n2g")


def test_who_names_the_type_of_a_reader_imports_no_torch(root: Path) -> None:
    code = "import sys, latentese.reading.base; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env={"PYTHONPATH": str(root / "src")})
