"""Which of a unit's examples an explainer is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from latentese.errors import SettingError
from latentese.records import Example, Kind


class Choice(Protocol):
    """Chooses what is shown of a unit."""

    def of(self, examples: Sequence[Example]) -> tuple[Example, ...]:
        """Choose among a unit's examples, in the order shown; none where there is no firing one."""
        ...


@dataclass(frozen=True)
class ExampleChoice:
    """How many examples of each kind are shown, the strongest; random ones and near misses never are."""

    n_top: int = 8
    n_quantile: int = 4
    spread: bool = False
    """Show quantile examples at even distances, from strong to weak, instead of the strongest: weak firings too."""

    def __post_init__(self) -> None:
        if self.n_top < 1 or self.n_quantile < 0:
            raise SettingError("choice", (self.n_top, self.n_quantile), "n_top at least 1, n_quantile at least 0")

    def of(self, examples: Sequence[Example]) -> tuple[Example, ...]:
        """Choose among a unit's examples: those in which it fires, strongest first, other documents before repeats."""
        top, quantile = (_firing(examples, kind) for kind in ("top", "quantile"))
        chosen = _spread(quantile, self.n_quantile) if self.spread else quantile[: self.n_quantile]
        return (*_sorted(top[: self.n_top]), *_sorted(chosen))


@dataclass(frozen=True)
class EveryFiring:
    """All examples in which the unit fires, those of kind `top` first."""

    def of(self, examples: Sequence[Example]) -> tuple[Example, ...]:
        """Choose all firing ones, strongest first of each kind."""
        return tuple(example for kind in ("top", "quantile") for example in _sorted(_firing(examples, kind)))


def _firing(examples: Sequence[Example], kind: Kind) -> list[Example]:
    """List those of a kind in which the unit fires, strongest first; a document's others come behind all documents."""
    documents: set[int] = set()
    first: list[Example] = []
    repeats: list[Example] = []
    for example in _sorted([e for e in examples if e.kind == kind and e.max_act > 0]):
        (repeats if example.context.document in documents else first).append(example)
        documents.add(example.context.document)
    return first + repeats


def _spread(examples: Sequence[Example], n: int) -> list[Example]:
    """Take `n` of them at even distances, or all."""
    n_taken = min(n, len(examples))
    return [examples[(2 * i + 1) * len(examples) // (2 * n_taken)] for i in range(n_taken)]


def _sorted(examples: Sequence[Example]) -> list[Example]:
    return sorted(examples, key=lambda example: (-example.max_act, example.context.context))
