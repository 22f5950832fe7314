"""Sentence embeddings of a transformers encoder, run in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentese.weights.load import load_encoder, load_tokenizer
from latentese.weights.source import ModelSource

N_ROWS = 32
"""Texts per pass: always so many, since the number of rows may change a row's last bits."""
LENGTHS = (4, 8, 16, 32, 64, 128, 256)
"""Texts are padded to the next of these; longer ones are cut at the last, which is what MiniLM was trained for."""


@dataclass
class _Pass:
    """What calls that come together want embedded, and why it could not be."""

    texts: dict[str, None] = field(default_factory=dict)
    error: Exception | None = None


class MeanPoolEmbedder:
    """Mean of an encoder's last hidden states over a text's tokens, scaled to unit norm.

    Every text is embedded once and kept in memory; a failure is not kept. Shapes depend on the text alone, so its
    vector does too.
    """

    def __init__(self, source: ModelSource) -> None:
        self._source = source
        self._kept: dict[str, np.ndarray] = {}
        self._next = _Pass()

    @property
    def name(self) -> str:
        """Name of the encoder."""
        return self._source.name

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embed each text: float32 [n_texts, d_embedding], unit norm; zeros for a text without any token."""
        missing = [text for text in texts if text not in self._kept]
        if missing:
            await self._embed_together(missing)
        return np.stack([self._kept[text] for text in texts]) if texts else np.zeros((0, 0), np.float32)

    async def _embed_together(self, texts: Sequence[str]) -> None:
        own = self._next
        own.texts |= dict.fromkeys(texts)
        await asyncio.sleep(0)  # concurrent calls come together: a batch of a few texts costs as much as a full one
        if own is self._next:  # the first to go on embeds for all
            self._next = _Pass()
            self._run(own)
        if own.error is not None:
            raise own.error

    def _run(self, own: _Pass) -> None:
        """Embed a pass; an error is for all of its calls, or each would fetch and load the encoder in vain."""
        try:
            model, tokenizer = _load(str(self._source.folder()))
            for length, batch in _batches(list(own.texts), tokenizer):
                self._kept.update(zip(batch, _embed(model, tokenizer, batch, length), strict=False))
        except Exception as error:
            own.error = error


@cache
def _load(folder: str) -> tuple[Any, Any]:
    return load_encoder(Path(folder)), load_tokenizer(Path(folder))


def _batches(texts: Sequence[str], tokenizer: Any) -> Iterator[tuple[int, list[str]]]:
    """Group texts by the length they are padded to."""
    by_length: dict[int, list[str]] = {}
    encoded = tokenizer(list(texts), truncation=True, max_length=LENGTHS[-1])["input_ids"]
    for text, ids in zip(texts, encoded, strict=True):
        by_length.setdefault(next(length for length in LENGTHS if len(ids) <= length), []).append(text)
    for length, group in sorted(by_length.items()):
        for start in range(0, len(group), N_ROWS):
            yield length, group[start : start + N_ROWS]


@torch.inference_mode()
def _embed(model: Any, tokenizer: Any, batch: Sequence[str], length: int) -> np.ndarray:
    rows = [*batch, *[""] * (N_ROWS - len(batch))]
    encoded = tokenizer(rows, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    hidden = model(**encoded).last_hidden_state
    counted = encoded["attention_mask"].unsqueeze(-1)
    mean = hidden.masked_fill(counted == 0, 0).sum(1) / counted.sum(1).clamp(min=1)
    return np.asarray(torch.nn.functional.normalize(mean, dim=-1).numpy())
