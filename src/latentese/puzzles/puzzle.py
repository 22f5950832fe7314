"""A puzzle: a unit's contexts with its activations, the true explanation of it, and false ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from latentese.errors import SettingError
from latentese.explainers.base import explanation_id
from latentese.records import Example, Explanation, Unit

KINDS = ("lexical", "syntactic", "positional", "semantic", "multilingual", "code")
N_FALSE = 3
MIN_FIRING, MIN_SILENT = 6, 4
MIN_TOKENS = 2
"""The first token of a context never counts."""


@dataclass(frozen=True)
class Puzzle:
    """One unit. Raises SettingError, naming the puzzle, where it could not tell a good explanation from a bad one."""

    unit: int
    """Number of the puzzle in its run."""
    name: str
    kind: str
    true: str
    false: tuple[str, ...]
    examples: tuple[Example, ...]
    """Firing contexts are of kind `top`, silent ones of kind `random`; every context is a document of its own."""

    def __post_init__(self) -> None:
        self._check("kind", self.kind, f"one of {', '.join(KINDS)}", self.kind in KINDS)
        texts = [self.true, *self.false]
        distinct = len({text.casefold().strip() for text in texts} - {""}) == 1 + N_FALSE == len(texts)
        self._check("false", self.false, f"{N_FALSE} explanations, all different and different from the true", distinct)
        n_firing = len(self.firing)
        n_silent = len(self.examples) - n_firing
        enough = n_firing >= MIN_FIRING and n_silent >= MIN_SILENT
        wanted = f"at least {MIN_FIRING} contexts in which the unit fires, and {MIN_SILENT} in which it does not"
        self._check("contexts", f"{n_firing} + {n_silent}", wanted, enough)
        texts = [example.context.text for example in self.examples]
        self._check("contexts", len(texts), "contexts that are all different", len(set(texts)) == len(texts))
        shortest = min(self.examples, key=lambda example: len(example.context.tokens)).context
        long_enough = len(shortest.tokens) >= MIN_TOKENS
        self._check("contexts", shortest.text, f"contexts of at least {MIN_TOKENS} tokens", long_enough)

    @property
    def firing(self) -> tuple[Example, ...]:
        """Contexts in which the unit fires."""
        return tuple(example for example in self.examples if example.max_act > 0)

    @property
    def explanations(self) -> tuple[Explanation, ...]:
        """The true explanation, then the false ones."""
        return sentences_of(self.unit, [self.true, *self.false])

    def halves(self) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
        """Deal the contexts out: every second one, firing and silent ones apart, to explain from, the others to score.

        Silent contexts were written to look like firing ones, so whoever explains gets them as near misses. Both halves
        have the strongest first.
        """
        ranked = sorted(self.examples, key=lambda example: (-example.max_act, example.context.context))
        silent = [example for example in ranked if example.max_act <= 0]
        firing = ranked[: len(ranked) - len(silent)]
        shown = [
            *(_in_split(example, "explain") for example in firing[::2]),
            *(replace(_in_split(example, "explain"), kind="near_miss") for example in silent[::2]),
        ]
        return tuple(shown), (*firing[1::2], *silent[1::2])

    def _check(self, setting: str, value: object, allowed: str, holds: bool) -> None:
        if not holds:
            raise SettingError(f"puzzle {self.name!r}: {setting}", value, allowed)


@dataclass(frozen=True)
class Case:
    """A unit whose meaning is known, with what whoever explains it is shown and what the explanation is judged on."""

    name: str
    kind: str
    unit: Unit
    sentences: tuple[Explanation, ...]
    """The true explanation, then false ones."""
    shown: tuple[Example, ...]
    held_out: tuple[Example, ...]


def case_of(puzzle: Puzzle) -> Case:
    """Make a puzzle a case: explained from the first half of its contexts, judged on the second."""
    shown, held_out = puzzle.halves()
    return Case(puzzle.name, puzzle.kind, unit_of(puzzle, shown), puzzle.explanations, shown, held_out)


def unit_of(puzzle: Puzzle, examples: Sequence[Example]) -> Unit:
    """Tell a unit's statistics on some of its contexts."""
    pairs = [pair for example in examples for pair in zip(example.acts, example.context.keep, strict=True)]
    acts = [act for act, keep in pairs if keep]
    firing = [act for act in acts if act > 0]
    return Unit(puzzle.unit, len(firing) / len(acts), max(acts), sum(firing) / len(firing), 0.0)


def kinds_of(puzzles: Iterable[Puzzle]) -> list[str]:
    """Kinds that occur, in the order of KINDS."""
    present = {puzzle.kind for puzzle in puzzles}
    return [kind for kind in KINDS if kind in present]


def sentences_of(unit: int, texts: Sequence[str]) -> tuple[Explanation, ...]:
    """Make explanations of sentences, of which the first is the true one."""
    named = [(text, "false" if number else "true", number) for number, text in enumerate(texts)]
    return tuple(
        Explanation(explanation_id(unit, name, number), unit, name, number, text, "", "", ())
        for text, name, number in named
    )


def _in_split(example: Example, split: str) -> Example:
    return replace(example, context=replace(example.context, split=split))  # type: ignore[arg-type]
