"""Where some units fire, on drawn tokens, and what they do on changed texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentese.dictionaries.base import Dictionary, UnitActs
from latentese.evaluation.base import Evaluated
from latentese.evaluation.tokens import Rows, token_batches
from latentese.subject.capture import Capture


@dataclass(frozen=True)
class UnitTokens:
    """Activations of some units on some tokens."""

    acts: np.ndarray
    """[n_tokens, n_units] fp32, in the order of the units asked for."""
    context: np.ndarray
    """[n_tokens]."""
    position: np.ndarray
    """[n_tokens]."""
    document: np.ndarray
    """[n_tokens]."""


def read_units(
    evaluated: Evaluated, rows: Rows, units: np.ndarray, batch_tokens: int, advance: Callable[[int], object]
) -> UnitTokens:
    """Encode `rows` and keep the activations of `units` alone."""
    parts = []
    for tokens in token_batches(evaluated, rows, batch_tokens):
        acts = columns_of(evaluated.dictionary.encode(tokens.acts), units, evaluated.dictionary.n_units)
        parts.append((acts.numpy(), tokens.context, tokens.position, tokens.document.numpy()))
        advance(len(tokens.acts))
    return UnitTokens(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def count_active(evaluated: Evaluated, rows: Rows, batch_tokens: int, advance: Callable[[int], object]) -> np.ndarray:
    """Count for every unit the tokens on which it is above 0, [n_units]."""
    n_units = evaluated.dictionary.n_units
    counts = torch.zeros(n_units, dtype=torch.int64)
    for tokens in token_batches(evaluated, rows, batch_tokens):
        code = evaluated.dictionary.encode(tokens.acts)
        counts += torch.bincount(code.indices[code.values > 0], minlength=n_units)
        advance(len(tokens.acts))
    return counts.numpy()


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


@dataclass(frozen=True)
class UnitOnTexts:
    """What one unit does at the last token of texts that the subject reads: a `patterns.n2g.Strength`."""

    capture: Capture
    dictionary: Dictionary
    unit: int
    threshold: float
    """At or below this the unit is silent."""
    batch_texts: int

    def __call__(self, texts: Sequence[tuple[int, ...]]) -> list[float]:
        """Read texts of any lengths, those of like length together."""
        acts = [0.0] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), self.batch_texts):
            batch = order[start : start + self.batch_texts]
            for i, act in zip(batch, self._read([texts[i] for i in batch]), strict=True):
                acts[i] = act if act > self.threshold else 0.0
        return acts

    @torch.no_grad()
    def _read(self, texts: Sequence[tuple[int, ...]]) -> list[float]:
        lengths = torch.tensor([len(text) for text in texts])
        token_ids = torch.zeros(len(texts), int(lengths.max()), dtype=torch.int64)
        for row, text in zip(token_ids, texts, strict=True):
            row[: len(text)] = torch.tensor(text)  # what stands behind it, the unit at its end has not read
        at_end = self.capture(token_ids)[torch.arange(len(texts)), lengths - 1].cpu().float()
        code = self.dictionary.encode(at_end)
        acts: list[float] = columns_of(code, np.array([self.unit]), self.dictionary.n_units)[:, 0].tolist()
        return acts
