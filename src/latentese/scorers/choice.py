"""Which of a unit's examples a scorer is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentese.errors import SettingError
from latentese.records import KINDS, Example


@dataclass(frozen=True)
class KindCounts:
    """So many examples of each kind, a seeded draw in a seeded order: neither kind nor strength shows in the order."""

    top: int = 5
    quantile: int = 5
    random: int = 5
    near_miss: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for kind in KINDS:
            if getattr(self, kind) < 0:
                raise SettingError(f"examples.{kind}", getattr(self, kind), "0 or more")
        if not any(getattr(self, kind) for kind in KINDS):
            raise SettingError("examples", 0, f"at least one of {', '.join(KINDS)}")

    def of(self, examples: Sequence[Example]) -> list[Example]:
        """Draw among the examples of one unit and split; fewer where there are fewer. Any order gives the same."""
        if not examples:
            return []
        rng = np.random.default_rng([self.seed, examples[0].unit])
        drawn: list[Example] = []
        for kind in KINDS:
            of_kind = sorted((e for e in examples if e.kind == kind), key=lambda e: e.context.context)
            drawn += [of_kind[i] for i in rng.permutation(len(of_kind))[: getattr(self, kind)]]
        return [drawn[i] for i in rng.permutation(len(drawn))]


def fires(example: Example) -> bool:
    """Whether the unit fires in an example: examples hold activations above the unit's threshold only."""
    return any(act != 0 for act in example.acts)
