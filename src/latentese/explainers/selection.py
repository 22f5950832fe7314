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
    """How many examples of each kind are shown; random ones and near misses never are."""

    n_top: int = 8
    n_quantile: int = 4

    def __post_init__(self) -> None:
        if self.n_top < 1 or self.n_quantile < 0:
            raise SettingError("choice", (self.n_top, self.n_quantile), "n_top at least 1, n_quantile at least 0")

    def of(self, examples: Sequence[Example]) -> tuple[Example, ...]:
        """Choose among a unit's examples: those in which it fires, strongest first, other documents before repeats."""
        return (*_strongest(examples, "top", self.n_top), *_strongest(examples, "quantile", self.n_quantile))


def _strongest(examples: Sequence[Example], kind: Kind, n: int) -> list[Example]:
    firing = [example for example in examples if example.kind == kind and example.max_act > 0]
    firing.sort(key=lambda example: (-example.max_act, example.context.context))
    documents: set[int] = set()
    first: list[Example] = []
    repeats: list[Example] = []
    for example in firing:
        (repeats if example.context.document in documents else first).append(example)
        documents.add(example.context.document)
    chosen = (first + repeats)[:n]
    return sorted(chosen, key=lambda example: (-example.max_act, example.context.context))
