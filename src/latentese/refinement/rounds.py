"""All rounds of a loop, within a budget of prompt tokens that is counted the same whoever answers, and however fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from tqdm import tqdm

from latentese.records import Usage
from latentese.refinement.loop import Course, Loop, Step, stop

WHY_BUDGET = "budget"
UNITS_AT_ONCE = 8
"""Units that go through a round together under a budget: the spending is looked at between them."""


async def run_rounds(
    loop: Loop, courses: Sequence[Course], max_prompt_tokens: int | None
) -> tuple[list[Course], list[Step]]:
    """Take all courses through the rounds; steps in the order of rounds, units and arms.

    Once the arms' questions have as many prompt tokens as are allowed, nothing more is asked: every course that is not
    over gets one last step with the decision `budget`, and ends with the explanation it has. Units go by eights, so at
    most the questions of one round of eight units go beyond. Kept answers count as they did when they were asked, so
    that the result does not depend on them.
    """
    current = {(course.unit.unit, course.arm): course for course in courses}
    steps: list[Step] = []
    for round_idx in tqdm(range(1, loop.settings.n_rounds + 1), desc="refine", unit="round"):
        for group in _groups(list(current.values()), max_prompt_tokens is not None):
            n_spent = sum(spent(step).prompt_tokens for step in steps)
            is_spent = max_prompt_tokens is not None and n_spent >= max_prompt_tokens
            open_ones = [course for course in group if not course.is_over]
            if is_spent:
                taken = [stop(course, round_idx, WHY_BUDGET) for course in open_ones]
            else:
                taken = await loop.run_round(open_ones, round_idx)
            current |= {(step.course.unit.unit, step.course.arm): step.course for step in taken}
            steps += taken
    return list(current.values()), steps


def spent(step: Step) -> Usage:
    """Tokens of a step: of who writes explanations and sentences, and of a simulator that asks a language model."""
    written = Usage() if step.child is None else step.child.usage
    gathered = Usage() if step.gathered is None else step.gathered.usage
    return written + gathered + step.simulated


def _groups(courses: Sequence[Course], in_groups: bool) -> Iterator[list[Course]]:
    """Give courses of some units each, all arms of a unit together; all of them, where nothing limits them."""
    if not in_groups:
        yield list(courses)
        return
    by_unit = [list(own) for _, own in groupby(courses, key=lambda course: course.unit.unit)]
    for first in range(0, len(by_unit), UNITS_AT_ONCE):
        yield [course for own in by_unit[first : first + UNITS_AT_ONCE] for course in own]
