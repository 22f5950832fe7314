"""Explainers before a puzzle: what they are shown, what it is scored on, and when it names the unit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from toy_puzzles import ScriptedSimulator, toy_puzzle
from toy_units import make_explanation

from latentese.explainers.token_table import TokenTableExplainer
from latentese.puzzles.explaining import Found, Written, explain_cases, judge_written
from latentese.puzzles.judges import SimulatorJudge
from latentese.puzzles.puzzle import Puzzle, case_of
from latentese.records import Example, Explanation, Unit
from latentese.simulators.token_table import TokenTableSimulator


class Recorder:
    """An explainer that always says the same, and keeps what it was shown."""

    name = "recorder"

    def __init__(self, text: str | None) -> None:
        self.text = text
        self.shown: list[tuple[Unit, Sequence[Example]]] = []

    async def explain(self, unit: Unit, examples: Sequence[Example]) -> Explanation:
        self.shown.append((unit, examples))
        return make_explanation(self.text, unit.unit, self.name)


@pytest.fixture
def puzzle(tmp_path: Path) -> Puzzle:
    return toy_puzzle(tmp_path)


def found_for(puzzle: Puzzle, text: str, other: str = "hen") -> Found:
    written = [
        Written(case_of(puzzle), make_explanation(text, 0)),
        Written(case_of(replace(puzzle, name="other")), make_explanation(other, 1)),
    ]
    return asyncio.run(judge_written(SimulatorJudge(ScriptedSimulator({})), written))[0]


def test_an_explainer_sees_half_of_the_contexts(puzzle: Puzzle) -> None:
    explainer = Recorder("red")
    (written,) = asyncio.run(explain_cases(explainer, [case_of(puzzle)]))
    ((unit, shown),) = explainer.shown
    assert tuple(shown) == puzzle.halves()[0]
    # Three of the ten counted tokens shown fire.
    assert (unit.unit, unit.density, unit.max_act) == (0, 0.3, 4)
    assert written.explanation.text == "red"


def test_the_right_words_are_scored_on_the_other_half(puzzle: Puzzle) -> None:
    found = found_for(puzzle, "red")
    assert (found.value, found.true, found.named) == (pytest.approx(1.0), pytest.approx(1.0), True)
    # "hen" is on 2 of 10 counted tokens, none of which is one of the 3 that fire: r = -3*2 / sqrt(3*7 * 2*8).
    assert found.wrong == pytest.approx(-6 / (3 * 7 * 2 * 8) ** 0.5)
    # Five contexts each for the explanation, the control and the four sentences.
    assert (found.n_answers, found.n_failed) == (30, 0)


def test_a_false_sentence_is_not_the_units_name(puzzle: Puzzle) -> None:
    assert found_for(puzzle, "blue").named is False


def test_an_explanation_that_says_nothing_names_nothing(puzzle: Puzzle) -> None:
    found = found_for(puzzle, "zebra")
    assert (found.value, found.named) == (None, False)


def test_what_failed_is_left_to_the_count_of_explanations(puzzle: Puzzle) -> None:
    written = asyncio.run(explain_cases(Recorder(None), [case_of(puzzle)]))
    assert asyncio.run(judge_written(SimulatorJudge(ScriptedSimulator({})), written)) == []


def test_a_single_explanation_has_no_control(puzzle: Puzzle) -> None:
    written = asyncio.run(explain_cases(Recorder("red"), [case_of(puzzle)]))
    (found,) = asyncio.run(judge_written(SimulatorJudge(ScriptedSimulator({})), written))
    assert found.wrong is None
    assert found.value == pytest.approx(1.0)


def test_a_table_is_judged_where_the_sentence_cannot_be(puzzle: Puzzle) -> None:
    written = asyncio.run(explain_cases(TokenTableExplainer(), [case_of(puzzle)]))
    (found,) = asyncio.run(judge_written(SimulatorJudge(TokenTableSimulator()), written))
    assert (found.value, found.true, found.named) == (pytest.approx(1.0), None, None)
