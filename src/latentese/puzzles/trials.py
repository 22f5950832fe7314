"""Trials of a judge: does the true explanation of a puzzle beat every false one in its eyes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from latentese.puzzles.judges import Judge, answered_by_all
from latentese.puzzles.puzzle import Puzzle


@dataclass(frozen=True)
class Trial:
    """One puzzle before one judge: the values of its explanations, all on the same contexts."""

    puzzle: str
    kind: str
    judge: str
    measure: str
    true: float | None
    false: tuple[float | None, ...]
    """Values are None where not defined: a simulation that is the same everywhere says nothing."""
    n_answers: int
    n_failed: int
    """Of all answers, those of false explanations too; a context without one of them counts for no explanation."""

    @property
    def best_false(self) -> float | None:
        """The largest value of a false explanation; None where none is defined."""
        return max((value for value in self.false if value is not None), default=None)

    @property
    def won(self) -> bool:
        """Whether the true explanation has a value, and a larger one than every false explanation that has one."""
        return self.true is not None and (self.best_false is None or self.true > self.best_false)

    @property
    def margin(self) -> float | None:
        """By how much the true explanation beats the best false one; None where a side is not defined."""
        return None if self.true is None or self.best_false is None else self.true - self.best_false


def reads_sentences(judge: Judge, puzzles: Sequence[Puzzle]) -> bool:
    """Say whether a judge reads explanations in words: one that needs a table or patterns cannot be tried."""
    return all(judge.reads(explanation) for puzzle in puzzles for explanation in puzzle.explanations)


async def try_judge(judge: Judge, puzzles: Sequence[Puzzle], done: Callable[[], object]) -> list[Trial]:
    """Put every puzzle before a judge, all at once, so that a language model can batch; `done` is called for each."""

    async def try_one(puzzle: Puzzle) -> Trial:
        trial = await _try(judge, puzzle)
        done()
        return trial

    return list(await asyncio.gather(*(try_one(puzzle) for puzzle in puzzles)))


async def _try(judge: Judge, puzzle: Puzzle) -> Trial:
    answered = await asyncio.gather(*(judge.answer(one, puzzle.examples) for one in puzzle.explanations))
    kept, n_failed = answered_by_all(answered)
    true, *false = (judge.value(answers) if answers else None for answers in kept)
    return Trial(
        puzzle=puzzle.name,
        kind=puzzle.kind,
        judge=judge.name,
        measure=judge.measure,
        true=true,
        false=tuple(false),
        n_answers=sum(map(len, answered)),
        n_failed=n_failed,
    )
