"""What the subject predicts once a unit's activation is another one: the unit alone is replaced, all else stays.

    acts' = acts + (value - unit's activation) * norm * direction

with direction what 1 of the unit adds, and norm what the input norm took off. So a latent's part of the residual stream
is exchanged and what the dictionary does not explain is kept, and a neuron's channel is set to the value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from latentese.dictionaries.base import Dictionary
from latentese.patterns.n2g import TokenIds
from latentese.reading.base import Loaded
from latentese.reading.on_texts import batches_of_like_length, columns_of, padded, read_texts
from latentese.reading.token_weights import directions
from latentese.subject.intervene import Intervention, Reading, intervene_at

FAR = -100.0
"""Below this log-ratio the smaller of two probabilities adds nothing in fp32."""


class _Batch(NamedTuple):
    """Some texts, read up to the hookpoint."""

    texts: list[int]
    """Their places in the order given."""
    lengths: list[int]
    """Positions that count in each."""
    reading: Reading
    acts: Tensor  # [n_positions, 1]: the unit's
    part: Tensor  # [n_positions, width]: what 1 of the unit adds


@dataclass(frozen=True)
class Replacing:
    """Replaces units of one dictionary where the subject reads texts."""

    intervention: Intervention
    dictionary: Dictionary
    batch_texts: int
    """Logits of so many texts are in memory at once, twice."""

    @classmethod
    def of(cls, loaded: Loaded, dtype: str, batch_texts: int) -> Replacing:
        """Let the subject compute in bfloat16 or float32: in bfloat16 one unit's effect is lost in rounding."""
        return cls(intervene_at(loaded.subject.in_dtype(dtype), loaded.hookpoint), loaded.dictionary, batch_texts)

    def acts(self, unit: int, texts: Sequence[TokenIds]) -> list[np.ndarray]:
        """Read what a unit does at every token but the first: of each text, [n_tokens - 1] fp32, no threshold."""
        found = read_texts(self.intervention.capture, self.dictionary, texts, np.array([unit]), self.batch_texts)
        return [acts[1:, 0] for acts in found]

    @torch.no_grad()
    def read(self, unit: int, texts: Sequence[TokenIds]) -> UnitInTexts:
        """Read texts of two tokens or more up to the hookpoint, once for all that then takes the unit's place."""
        direction = directions(self.dictionary, np.array([unit]))
        batches = []
        for places in batches_of_like_length(texts, self.batch_texts):
            token_ids, lengths = padded([texts[i] for i in places]), [len(texts[i]) - 1 for i in places]
            position = torch.arange(token_ids.shape[1])
            keep = (position >= 1) & (position <= torch.tensor(lengths)[:, None])
            reading = self.intervention.read(token_ids, keep)
            code = self.dictionary.encode(reading.acts[reading.keep].cpu().float())
            acts = columns_of(code, np.array([unit]), self.dictionary.n_units)
            batches.append(_Batch(places, lengths, reading, acts, code.norm * direction))
        return UnitInTexts(self.intervention, batches, len(texts))


@dataclass(frozen=True)
class UnitInTexts:
    """One unit in texts that were read."""

    intervention: Intervention
    batches: Sequence[_Batch]
    n_texts: int

    @property
    def acts(self) -> list[np.ndarray]:
        """What the unit does at every token but the first: of each text, [n_tokens - 1] fp32."""
        found = [np.empty(0, dtype=np.float32)] * self.n_texts
        for batch in self.batches:
            for place, acts in zip(batch.texts, torch.split(batch.acts[:, 0], batch.lengths), strict=True):
                found[place] = acts.numpy()
        return found

    @torch.no_grad()
    def divergences(
        self, replacements: Sequence[Sequence[np.ndarray]], advance: Callable[[int], object] = lambda _: None
    ) -> np.ndarray:
        """Divergence of the next token's distribution from the untouched subject's, summed over positions.

        replacements: what takes the unit's place, for each text as `acts` gives it. Position by position
        Jensen-Shannon, in nats: [n_replacements, n_texts] fp64. advance: is told of every text run with a replacement.
        """
        sums = np.zeros((len(replacements), self.n_texts))
        for batch in self.batches:
            original = self.intervention.logits(batch.reading)
            for row, values in zip(sums, replacements, strict=True):
                wanted = torch.from_numpy(np.concatenate([values[i] for i in batch.texts])).float()[:, None]
                replaced = self.intervention.logits(batch.reading, _adding((wanted - batch.acts) * batch.part))
                row[batch.texts] = _summed(original, replaced, batch.reading.keep)
                advance(len(batch.texts))
        return sums


def _adding(part: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda acts: acts.float() + part.to(acts.device)


def _summed(original: Tensor, replaced: Tensor, keep: Tensor) -> list[float]:
    """Sum `jensen_shannon` over each text's counted positions, one text at a time: logits are what fills memory."""
    return [
        float(jensen_shannon(first[counted], second[counted]).double().sum())
        for first, second, counted in zip(original, replaced, keep, strict=True)
    ]


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """Jensen-Shannon divergence of two rows of logits [n, n_vocab], in nats: [n] fp32, 0 if equal and at most log 2.

        JSD(p, q) = (KL(p || m) + KL(q || m)) / 2,  m = (p + q) / 2

    Summed as a ((1 + e) d - (2 + e) log(1 + e/2)) / 2 over the vocabulary, with a the larger of the two probabilities,
    d <= 0 the log-ratio of the smaller to it, and e = exp(d) - 1: where p and q all but agree, rounding is a share of
    the small difference and not of the logarithms themselves.
    """
    log_p, log_q = first.float().log_softmax(dim=-1), second.float().log_softmax(dim=-1)
    d = -(log_p - log_q).abs_().clamp_(max=-FAR)
    e = torch.expm1(d)
    terms = (1 + e).mul_(d).sub_((2 + e).mul_(torch.log1p(e / 2)))
    return terms.mul_(torch.maximum(log_p, log_q).exp_()).sum(dim=-1).div_(2).clamp_(min=0.0)
