"""What is asked of whom in stage `score`: which explanations, on which examples, right and wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from latentese.errors import SettingError
from latentese.metrics.intervals import Bootstrap
from latentese.metrics.scores import FITTED_ON, KINDS_OF
from latentese.records import Example, Explanation, Split
from latentese.scorers.table import Question

SIMULATED: tuple[Split, ...] = ("calibrate", "select", "test")
SIMULATED_KINDS = KINDS_OF["top_and_random"]
Pick = Callable[[int, Split], list[Example]]
"""Gives the examples of one unit and split that are judged."""


@dataclass(frozen=True)
class Limit:
    """Where a costly simulator is spared; None means no limit."""

    n_units: int | None = None
    """A seeded draw among the units explained."""
    n_contexts: int | None = None
    """Per unit and split: a seeded draw, half of them top, half random."""
    splits: Sequence[str] | None = None
    explainers: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in ("n_units", "n_contexts"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise SettingError(f"scoring.limits.*.{name}", getattr(self, name), "at least 1, or null for no limit")
        if self.splits is not None and (not self.splits or not set(self.splits) <= set(SIMULATED)):
            allowed = f"a list with some of {', '.join(SIMULATED)}, or null for no limit"
            raise SettingError("scoring.limits.*.splits", self.splits, allowed)
        if self.explainers is not None and not self.explainers:
            raise SettingError("scoring.limits.*.explainers", self.explainers, "at least one, or null for no limit")


@dataclass(frozen=True)
class ScoreSettings:
    """What is scored."""

    splits: Sequence[str] = SIMULATED
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name of a simulator or scorer -> fields of `Limit`."""
    n_boot: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.splits or not set(self.splits) <= set(SIMULATED):
            raise SettingError("scoring.splits", list(self.splits), f"some of {', '.join(SIMULATED)}")
        for name in self.limits:
            limited = self.limit_of(name).splits
            if limited and not set(limited) & set(self.splits):
                allowed = f"some that are scored at all: {', '.join(self.splits)}"
                raise SettingError(f"scoring.limits.{name}.splits", limited, allowed)
        self.bootstrap  # noqa: B018  (checks its fields before anything is simulated)

    def limit_of(self, judge: str) -> Limit:
        """Return the limit of one simulator or scorer."""
        return Limit(**(self.limits.get(judge) or {}))

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are computed."""
        return Bootstrap(self.n_boot, self.level, self.seed)

    def check_fitted(self, simulator: str, name: str) -> None:
        """Raise SettingError where a simulator is not asked about the documents that `name` is fitted on."""
        limited = self.limit_of(simulator).splits
        if limited and FITTED_ON not in limited:
            allowed = f"{FITTED_ON} among them, to fit {name} on"
            raise SettingError(f"scoring.limits.{simulator}.splits", list(limited), allowed)

    def check_refined(self, simulator: str, explainer: str, n_units: int) -> None:
        """Raise SettingError where a simulator is spared first explanations that refinement looks at on `select`."""
        limit, why = self.limit_of(simulator), "for refinement compares its scores"
        if "select" not in self.splits:
            raise SettingError("scoring.splits", list(self.splits), f"select among them, {why}")
        if limit.splits and "select" not in limit.splits:
            raise SettingError(f"scoring.limits.{simulator}.splits", list(limit.splits), f"select among them, {why}")
        if limit.explainers and explainer not in limit.explainers:
            allowed = f"{explainer} among them, {why}"
            raise SettingError(f"scoring.limits.{simulator}.explainers", list(limit.explainers), allowed)
        if limit.n_units is not None and limit.n_units < n_units:
            allowed = f"at least the {n_units} units that {explainer} explains, {why}"
            raise SettingError(f"scoring.limits.{simulator}.n_units", limit.n_units, allowed)

    def check_explainers(self, known: Collection[str]) -> None:
        """Raise SettingError for a limit to an explainer that there is not."""
        for name in self.limits:
            limited = self.limit_of(name).explainers
            if limited and not set(limited) <= set(known):
                allowed = f"a list with some of {', '.join(sorted(known))}, or null for no limit"
                raise SettingError(f"scoring.limits.{name}.explainers", limited, allowed)


class Task(NamedTuple):
    """One explanation to be judged on some examples; under a control its words are another unit's."""

    question: Question
    words: Explanation
    examples: list[Example]


def tasks_of(
    judge: str,
    explanations: Sequence[Explanation],
    wrong: Mapping[str, Explanation],
    pick: Pick,
    settings: ScoreSettings,
) -> Iterator[Task]:
    """List what one simulator or scorer is asked, within its limit."""
    limit = settings.limit_of(judge)
    allowed = [e for e in explanations if limit.explainers is None or e.explainer in limit.explainers]
    units = _draw_units(allowed, limit, settings.seed)
    for explanation in allowed:
        if explanation.unit not in units:
            continue
        for split in SIMULATED:
            if split not in settings.splits or split not in (limit.splits or settings.splits):
                continue
            examples = pick(explanation.unit, split)
            question = Question(explanation.explanation, explanation.unit, judge, "none", split)
            yield Task(question, explanation, examples)
            if explanation.explanation in wrong:
                control = question._replace(control="wrong_explanation")
                yield Task(control, wrong[explanation.explanation], examples)


def _draw_units(explanations: Sequence[Explanation], limit: Limit, seed: int) -> set[int]:
    units = sorted({explanation.unit for explanation in explanations})
    drawn = np.random.default_rng(seed).permutation(len(units))
    return {units[i] for i in drawn[: limit.n_units]}


def draw_examples(examples: Sequence[Example], n_contexts: int | None, seed: int) -> list[Example]:
    """Draw at most `n_contexts` examples, half top and half random as far as there are; the order is kept."""
    if n_contexts is None or len(examples) <= n_contexts:
        return list(examples)
    rng = np.random.default_rng([seed, examples[0].unit])
    order = {int(i): rank for rank, i in enumerate(rng.permutation(len(examples)))}
    of_kind = {
        kind: sorted((i for i, e in enumerate(examples) if e.kind == kind), key=order.__getitem__)
        for kind in SIMULATED_KINDS
    }
    n_top = min(len(of_kind["top"]), max(n_contexts // 2, n_contexts - len(of_kind["random"])))
    chosen = of_kind["top"][:n_top] + of_kind["random"][: n_contexts - n_top]
    return [examples[i] for i in sorted(chosen)]
