"""How well patterns say on which tokens a unit fires: counts per document, and what is made of them."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from latentese.evaluation.base import Evaluated
from latentese.evaluation.unit_firings import UnitTokens
from latentese.metrics.correlation import Floats, Metric
from latentese.patterns.n2g import PatternTrie


def precision(sums: Floats) -> Floats:
    """Share of predicted firings that are true; sums [..., 4]: true and false positives, false and true negatives."""
    return _ratio(sums[..., 0], sums[..., 0] + sums[..., 1])


def recall(sums: Floats) -> Floats:
    """Share of firings that are predicted."""
    return _ratio(sums[..., 0], sums[..., 0] + sums[..., 2])


def f1(sums: Floats) -> Floats:
    """Harmonic mean of precision and recall: 0 where no firing is predicted, not defined where there is none."""
    hits, n_firings = sums[..., 0], sums[..., 0] + sums[..., 2]
    return np.where(n_firings > 0, _ratio(2 * hits, hits + n_firings + sums[..., 1]), np.nan)


def precision_balanced(sums: Floats) -> Floats:
    """Precision to expect on all firings and as many silent tokens, drawn at random.

        recall / (recall + share of silent tokens on which a firing is predicted)

    Unlike precision it does not depend on how often a unit fires.
    """
    return _ratio(recall(sums), recall(sums) + _ratio(sums[..., 1], sums[..., 1] + sums[..., 3]))


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide; NaN where the denominator is 0 or not defined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


METRICS: dict[str, Metric] = {
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "precision_balanced": precision_balanced,
}


class HeldOut:
    """Tokens that patterns are tried on, with what stands before each in its context."""

    def __init__(self, evaluated: Evaluated, tokens: UnitTokens) -> None:
        self._tokens = tokens
        contexts = evaluated.contexts.get(np.unique(tokens.context))
        self._texts = {context.context: context.tokens for context in contexts}

    def predict(self, trie: PatternTrie) -> np.ndarray:
        """Say on which tokens a pattern ends, [n_tokens]."""
        fires = np.zeros(len(self._tokens.context), dtype=bool)
        for text in {pattern.tokens[-1] for pattern in trie.patterns}:
            for row in self._rows_of.get(text, ()):
                context, position = int(self._tokens.context[row]), int(self._tokens.position[row])
                fires[row] = trie.match(self._texts[context], position) is not None
        return fires

    def compare(self, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
        """Count true and false positives, false and true negatives of each document, [n_documents, 4]."""
        outcomes = (predicted & true, predicted & ~true, ~predicted & true, ~predicted & ~true)
        _, document = np.unique(self._tokens.document, return_inverse=True)
        return np.stack([np.bincount(document, outcome) for outcome in outcomes], axis=1)

    @cached_property
    def _rows_of(self) -> dict[str | None, list[int]]:
        """Tokens by their text: most units' patterns end in few of them."""
        rows: dict[str | None, list[int]] = {}
        pairs = zip(self._tokens.context.tolist(), self._tokens.position.tolist(), strict=True)
        for row, (context, position) in enumerate(pairs):
            rows.setdefault(self._texts[context][position], []).append(row)
        return rows
