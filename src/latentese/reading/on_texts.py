"""What units do on texts of token ids that the subject reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentese.dictionaries.base import Dictionary, UnitActs
from latentese.patterns.n2g import TokenIds
from latentese.subject.capture import Capture


@dataclass(frozen=True)
class UnitOnTexts:
    """What one unit does at the last token of texts: a `patterns.n2g.Strength`."""

    capture: Capture
    dictionary: Dictionary
    unit: int
    threshold: float
    """At or below this the unit is silent."""
    batch_texts: int

    def __call__(self, texts: Sequence[TokenIds]) -> list[float]:
        """Read texts of any lengths, those of like length together."""
        acts = [0.0] * len(texts)
        for batch in batches_of_like_length(texts, self.batch_texts):
            for i, act in zip(batch, self._read([texts[i] for i in batch]), strict=True):
                acts[i] = act if act > self.threshold else 0.0
        return acts

    @torch.no_grad()
    def _read(self, texts: Sequence[TokenIds]) -> list[float]:
        lengths = torch.tensor([len(text) for text in texts])
        at_end = self.capture(padded(texts))[torch.arange(len(texts)), lengths - 1].cpu().float()
        code = self.dictionary.encode(at_end)
        acts: list[float] = columns_of(code, np.array([self.unit]), self.dictionary.n_units)[:, 0].tolist()
        return acts


@torch.no_grad()
def read_texts(
    capture: Capture, dictionary: Dictionary, texts: Sequence[TokenIds], units: np.ndarray, batch_texts: int
) -> list[np.ndarray]:
    """Activations of some units at every token of each text: a list of [n_tokens, len(units)] fp32."""
    found: list[np.ndarray] = [np.zeros((0, len(units)), dtype=np.float32)] * len(texts)
    for batch in batches_of_like_length(texts, batch_texts):
        lengths = [len(texts[i]) for i in batch]
        read = capture(padded([texts[i] for i in batch])).cpu().float()
        rows = torch.cat([acts[:length] for acts, length in zip(read, lengths, strict=True)])
        columns = columns_of(dictionary.encode(rows), units, dictionary.n_units)
        for i, part in zip(batch, torch.split(columns, lengths), strict=True):
            found[i] = part.numpy()
    return found


def columns_of(code: UnitActs, units: np.ndarray, n_units: int) -> Tensor:
    """Activations of some units, 0 where they are not active: [n_tokens, len(units)]."""
    column_of = torch.full((n_units,), -1)
    column_of[torch.from_numpy(units)] = torch.arange(len(units))
    column = column_of[code.indices]
    token, place = (column >= 0).nonzero(as_tuple=True)
    acts = torch.zeros(len(code.values), len(units))
    # Added, not set: padding has the value 0 and may name a unit that is active elsewhere in the row.
    acts.index_put_((token, column[token, place]), code.values[token, place].float(), accumulate=True)
    return acts


def batches_of_like_length(texts: Sequence[TokenIds], batch_texts: int) -> Iterator[list[int]]:
    """Places of the texts, shortest first, some at a time."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), batch_texts):
        yield order[start : start + batch_texts]


def padded(texts: Sequence[TokenIds]) -> Tensor:
    """Texts as one tensor [n_texts, longest]; what stands behind a text, its tokens have not read."""
    token_ids = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.int64)
    for row, text in zip(token_ids, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    return token_ids
