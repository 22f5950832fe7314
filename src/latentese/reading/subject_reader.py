"""The reader of a study: its subject and dictionary, loaded when they are first needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from latentese.corpus.contexts import Contexts
from latentese.corpus.cutting import tokenize_texts
from latentese.dictionaries import checkpoints
from latentese.errors import ArtifactError, SettingError
from latentese.patterns.n2g import TokenIds
from latentese.patterns.padding import pad_candidates
from latentese.reading.base import Loaded, ReadText
from latentese.reading.on_texts import UnitOnTexts, read_texts
from latentese.records import Context, Example, Unit
from latentese.store.artifact import open_artifact
from latentese.subject.capture import Capture, capture_at
from latentese.subject.hookpoints import hookpoint_width
from latentese.subject.model import SubjectChoice
from latentese.weights.load import load_tokenizer

LEAD = "\n"
"""Stands before a typed text, so that its first word counts: nothing at position 0 does."""
_BEFORE = "a"
"""Stands before a token whose text is wanted. A letter: a line break may be a token of a byte, which joins the next."""
N_PADS = 8
"""Frequent tokens among those that may stand for nothing, beside the subject's special ones."""


@dataclass(frozen=True)
class StudyPlaces:
    """Folders of the artifacts that a target's units are known from."""

    contexts: Path
    examples: Path
    dictionary: Path


class SubjectReader:
    """Reads with the subject and dictionary that a target's examples come from; see `reading.base.Reader`."""

    def __init__(self, places: StudyPlaces, subject: SubjectChoice, hookpoint: str, batch_texts: int = 64) -> None:
        self._places, self._subject, self._hookpoint = places, subject, hookpoint
        self._batch_texts = batch_texts

    def strength(self, unit: Unit) -> UnitOnTexts:
        """Give what one unit does at the last token of texts of token ids."""
        return UnitOnTexts(self._capture, self.loaded.dictionary, unit.unit, unit.threshold, self._batch_texts)

    def read(self, texts: Sequence[str], units: Sequence[int] | None = None) -> list[ReadText]:
        """Read typed texts; raises SettingError for an empty one."""
        dictionary = self.loaded.dictionary
        wanted = np.arange(dictionary.n_units) if units is None else np.asarray(units, dtype=np.int64)
        cut = [self._cut(text) for text in texts]
        acts = read_texts(self._capture, dictionary, [ids for ids, _ in cut], wanted, self._batch_texts)
        for (_, context), of_text in zip(cut, acts, strict=True):
            of_text[~np.array(context.keep)] = 0.0
        return [ReadText(context, of_text) for (_, context), of_text in zip(cut, acts, strict=True)]

    def examples(self, units: Sequence[Unit], texts: Sequence[str]) -> list[list[Example]]:
        """Read typed texts and make examples of them, 0 where a unit does not fire: [n_units][n_texts]."""
        read = self.read(texts, [unit.unit for unit in units])
        return [
            [Example(unit.unit, text.context, "random", _fired(text.acts[:, i], unit.threshold)) for text in read]
            for i, unit in enumerate(units)
        ]

    def token_ids(self, contexts: Sequence[int]) -> list[TokenIds]:
        """Token ids of contexts of the study, padding left out."""
        numbers = list(contexts)
        ids, keep = self._contexts.token_ids[numbers].tolist(), self._contexts.keep[numbers].bool().tolist()
        return [
            (row[0], *(token for token, counts in zip(row[1:], kept[1:], strict=True) if counts))
            for row, kept in zip(ids, keep, strict=True)
        ]

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """Text of each of these tokens of the subject as it stands inside a text, '' for special ones."""
        decode = self._tokenizer.backend_tokenizer.decode_batch
        # Decoded alone, a token of Llama 2 loses the space before it, which the pieces of contexts have.
        before = self._tokenizer.encode(_BEFORE, add_special_tokens=False)
        shown, *behind = decode([before, *([*before, token] for token in token_ids)], skip_special_tokens=True)
        return [text[len(shown) :] for text in behind]

    @cached_property
    def pads(self) -> tuple[int, ...]:
        """The subject's special tokens, and the most frequent ones of the `explain` contexts."""
        chosen = self._contexts.of_split("explain").tolist()
        counted = self._contexts.token_ids[chosen][self._contexts.keep[chosen].bool()]
        config = self.loaded.subject.model.config.get_text_config(decoder=True)
        return tuple(pad_candidates(config, counted.numpy(), N_PADS))

    @cached_property
    def loaded(self) -> Loaded:
        """Load the subject and the dictionary; raises before it does where they are not those of the examples."""
        self._check()
        dictionary, subject = checkpoints.load(self._places.dictionary), self._subject.load()
        width = hookpoint_width(subject.shape, self._hookpoint)
        if dictionary.d_model != width:
            raise SettingError("hookpoint", self._hookpoint, f"one of width {dictionary.d_model}, as the dictionary's")
        return Loaded(subject, dictionary, self._hookpoint)

    def _check(self) -> None:
        examples = open_artifact(self._places.examples, "examples")
        read = {"contexts": self._contexts.artifact, "dictionary": open_artifact(self._places.dictionary, "dictionary")}
        for name, artifact in read.items():
            if examples.manifest.inputs.get(name) != artifact.sha256:
                raise ArtifactError(examples.path, f"not sampled from {artifact.path}; run the sample stage again")
        cut_for = self._contexts.artifact.manifest.settings["subject"]
        if self._subject.source.name != cut_for:
            raise SettingError("subject", self._subject.source.name, f"the contexts are those of {cut_for}")

    @cached_property
    def _contexts(self) -> Contexts:
        return Contexts(self._places.contexts)

    @cached_property
    def _capture(self) -> Capture:
        return capture_at(self.loaded.subject, self._hookpoint)

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._subject.source.folder())

    def _cut(self, text: str) -> tuple[TokenIds, Context]:
        """Tokenize a text behind the lead, and cut it at the length of the study's contexts."""
        lead, typed = tokenize_texts(self._tokenizer, [LEAD, text])
        if not typed.token_ids:
            raise SettingError("text", text, "a text with at least one token")
        n_tokens = self._contexts.ctx_len
        n_lead = len(lead.token_ids)
        ids = (*lead.token_ids, *typed.token_ids)[:n_tokens]
        pieces = (*lead.pieces, *typed.pieces)[:n_tokens]
        keep = tuple(position >= n_lead for position in range(len(ids)))
        number = -1 - int.from_bytes(sha256(text.encode()).digest()[:4], "big") // 2
        return ids, Context(number, pieces, keep, number, "typed", "explain")


def _fired(acts: np.ndarray, threshold: float) -> tuple[float, ...]:
    return tuple(np.where(acts > threshold, acts, 0.0).tolist())
