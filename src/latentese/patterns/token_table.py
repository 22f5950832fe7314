"""Token table: what a unit is expected to do on a token, whatever stands around it, or behind certain tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from latentese.errors import SettingError
from latentese.patterns.characters import shown_acts
from latentese.patterns.n2g import PatternTrie
from latentese.records import Example


@dataclass(frozen=True)
class TokenTable:
    """Expected activation of a unit on each token text; 0 on all others."""

    entries: tuple[tuple[str, float], ...]
    """Token text and expected activation, strongest first."""
    conditions: PatternTrie = field(default_factory=lambda: PatternTrie(()))
    """Where one of these patterns ends, it decides: an entry behind certain other tokens."""

    def expected(self, tokens: Sequence[str]) -> tuple[float, ...]:
        """Look up each token: one expected activation per token; the rest of a split character has its first one's."""
        acts: list[float] = []
        for position, token in enumerate(tokens):
            looked_up = self._by_token.get(token, 0.0) if token or not acts else acts[-1]
            decided = self.conditions.match(tokens, position)
            acts.append(decided.act if decided else looked_up)
        return tuple(acts)

    @cached_property
    def _by_token(self) -> Mapping[str, float]:
        return dict(self.entries)


@dataclass(frozen=True)
class TableSettings:
    """How much evidence an entry needs."""

    n_prior: float = 1.0
    """So many unseen occurrences with activation 0 are added to each token: one lucky token does not top the table."""
    max_entries: int = 200

    def __post_init__(self) -> None:
        if self.n_prior < 0:
            raise SettingError("n_prior", self.n_prior, "0 or more")
        if self.max_entries < 1:
            raise SettingError("max_entries", self.max_entries, "at least 1")


def build_table(examples: Iterable[Example], settings: TableSettings) -> TokenTable:
    """Average a unit's activation over the counted occurrences of each token text.

        expected(token) = sum(acts at token) / (n_occurrences(token) + n_prior)

    A character that is split over tokens occurs once, with the largest activation of them all. Tokens on which the
    unit never fires are left out; equal values are ordered by token text.
    """
    total: defaultdict[str, float] = defaultdict(float)
    count: defaultdict[str, int] = defaultdict(int)
    for example in examples:
        for position, act in shown_acts(example).items():
            if example.context.keep[position]:
                total[example.context.tokens[position]] += act
                count[example.context.tokens[position]] += 1
    means = [(token, total[token] / (count[token] + settings.n_prior)) for token in total if total[token] > 0]
    means.sort(key=lambda entry: (-entry[1], entry[0]))
    return TokenTable(tuple(means[: settings.max_entries]))
