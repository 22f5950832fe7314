"""Explain a unit by the token patterns that make it fire: the subject is asked, a language model is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from latentese.errors import SettingError
from latentese.explainers.base import explanation_id
from latentese.patterns.n2g import Firing, N2GSettings, PatternTrie, build_trie, find_patterns
from latentese.patterns.observed import observed_acts
from latentese.patterns.padding import choose_pad
from latentese.reading.base import Reader, needed
from latentese.records import Example, Explanation, Unit

N_PAD_FIRINGS = 4
"""Firings that padding is tried on."""


@dataclass(frozen=True)
class N2GExplainer:
    """Patterns found in the firings of the unit's examples, see `patterns.n2g`; what each is worth, from all examples.

    A pattern that ends in silent places as well is expected to give less: see `patterns.observed`.
    """

    name: str = "n2g"
    n_firings: int = 40
    """The strongest of each example first, then others."""
    n_prior: float = 1.0
    """So many unseen places with activation 0 are added to each pattern."""
    n_named: int = 10
    """Patterns named in the text; simulators read them all."""
    patterns: N2GSettings = field(default_factory=N2GSettings)
    pad_id: int | None = None
    """Token that stands for nothing; None chooses, for each unit, the one that does best in that."""
    reader: Reader | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("n_firings", "n_named"):
            if getattr(self, name) < 1:
                raise SettingError(name, getattr(self, name), "at least 1")
        if self.n_prior < 0:
            raise SettingError("n_prior", self.n_prior, "0 or more")

    def with_reader(self, reader: Reader) -> Self:
        """Give the same explainer with a reader."""
        return replace(self, reader=reader)

    async def explain(self, unit: Unit, examples: Sequence[Example]) -> Explanation:
        """Explain `unit`; one without a firing example, or without a pattern, gives `text=None` and `error`."""
        firings = self.firings(examples)
        trie = observed_acts(self.find(unit, firings), examples, self.n_prior)
        error = None if trie.patterns else "no pattern keeps enough of a firing"
        return Explanation(
            explanation=explanation_id(unit.unit, self.name, 0),
            unit=unit.unit,
            explainer=self.name,
            revision=0,
            text=say_patterns(trie, self.n_named),
            model="none",
            prompt_sha256="",
            examples=tuple(example.context.context for example in examples),
            patterns=as_data(trie),
            error=error if firings else "no example in which the unit fires",
        )

    def firings(self, examples: Sequence[Example]) -> list[Firing]:
        """Take up to `n_firings` of contexts of the study: the strongest of each example, then the next ones."""
        ids = needed(self.reader, self.name).token_ids([example.context.context for example in examples])
        ranked = [
            (rank, -act, number, position)
            for number, example in enumerate(examples)
            for rank, (act, position) in enumerate(_strongest_first(example))
        ]
        return [
            Firing(ids[number][: position + 1], examples[number].context.tokens[: position + 1], -act)
            for _, act, number, position in sorted(ranked)[: self.n_firings]
        ]

    def find(self, unit: Unit, firings: Sequence[Firing]) -> PatternTrie:
        """Find the patterns behind firings of the unit."""
        if not firings:
            return PatternTrie(())
        reader = needed(self.reader, self.name)
        strength = reader.strength(unit)
        some = firings[:: max(1, len(firings) // N_PAD_FIRINGS)]
        pad_id = choose_pad(reader.pads, [(strength, some)]) if self.pad_id is None else self.pad_id
        found = find_patterns(firings, strength, pad_id, self.patterns)
        return build_trie(pattern for pattern in found if pattern is not None)


def say_patterns(trie: PatternTrie, n_named: int) -> str | None:
    """Name the strongest patterns in one line; None where there is none."""
    named = "; ".join(pattern.text for pattern in trie.patterns[:n_named])
    return f"tokens: {named}" if named else None


def as_data(trie: PatternTrie) -> tuple[tuple[tuple[str | None, ...], float], ...]:
    """Patterns as an explanation holds them."""
    return tuple((pattern.tokens, pattern.act) for pattern in trie.patterns)


def _strongest_first(example: Example) -> Iterator[tuple[float, int]]:
    """Activations above 0 and their positions."""
    acts = np.asarray(example.acts)
    for position in np.argsort(-acts, kind="stable"):
        if acts[position] > 0 and example.context.keep[position]:
            yield float(acts[position]), int(position)
