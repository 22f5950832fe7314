"""Who wins a puzzle, by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from toy_puzzles import ScriptedSimulator, toy_puzzle

from latentese.puzzles.judges import Answer, ScorerJudge, SimulatorJudge, answered_by_all, correlation
from latentese.puzzles.puzzle import Puzzle
from latentese.puzzles.trials import Trial, reads_sentences, try_judge
from latentese.records import Example, Explanation


@pytest.fixture
def puzzle(tmp_path: Path) -> Puzzle:
    return toy_puzzle(tmp_path)


def trial_of(puzzle: Puzzle, simulator: ScriptedSimulator) -> Trial:
    done: list[None] = []
    (trial,) = asyncio.run(try_judge(SimulatorJudge(simulator), [puzzle], lambda: done.append(None)))
    assert len(done) == 1
    return trial


def test_the_true_explanation_wins_by_hand(puzzle: Puzzle) -> None:
    trial = trial_of(puzzle, ScriptedSimulator({}))
    # "red" is the truth itself: 1. "blue" is on one of 14 silent tokens, "cat" on two of them; "nothing" nowhere.
    # For 0/1 sequences of 20 tokens, 6 of them true, m said, none in common: r = -6m / sqrt(6*14 * m*(20-m)).
    assert trial.true == pytest.approx(1.0)
    assert trial.false == (
        pytest.approx(-6 / (6 * 14 * 19) ** 0.5),
        pytest.approx(-12 / (6 * 14 * 2 * 18) ** 0.5),
        None,
    )
    assert trial.best_false == trial.false[0]
    assert trial.won
    assert trial.margin == pytest.approx(1 + 6 / (6 * 14 * 19) ** 0.5)
    assert (trial.n_answers, trial.n_failed) == (40, 0)


@pytest.mark.parametrize(
    ("true", "false", "won", "margin"),
    [
        (0.5, (0.4, None, 0.1), True, 0.1),
        (0.5, (0.5, 0.0, 0.0), False, 0.0),
        (0.2, (None, None, None), True, None),
        (None, (None, None, None), False, None),
        (None, (-0.5, None, None), False, None),
    ],
)  # fmt: skip
def test_winning_and_margin(
    true: float | None, false: tuple[float | None, ...], won: bool, margin: float | None
) -> None:
    trial = Trial("p", "code", "j", "correlation", true, false, 40, 0)
    assert trial.won is won
    assert trial.margin == (None if margin is None else pytest.approx(margin))


def test_a_context_without_an_answer_is_counted_and_counts_for_nobody(puzzle: Puzzle) -> None:
    trial = trial_of(puzzle, ScriptedSimulator({}, mute="the blue hen"))
    assert (trial.n_answers, trial.n_failed) == (40, 4)
    # "blue" is said of no context that is left.
    assert trial.false[0] is None
    assert trial.true == pytest.approx(1.0)


def test_when_nothing_is_answered_nobody_wins(puzzle: Puzzle) -> None:
    trial = trial_of(puzzle, ScriptedSimulator({}, mute=" "))
    assert (trial.true, trial.won, trial.n_failed) == (None, False, 40)


def test_answers_are_kept_where_all_have_one() -> None:
    one, other, none = Answer((1.0,), (0.5,)), Answer((0.0,), (0.1,)), Answer((0.0,), None)
    assert answered_by_all([[one, none, other], [one, other, other]]) == ([[one, other], [one, other]], 1)


def test_a_constant_side_has_no_correlation() -> None:
    assert correlation([]) is None
    assert correlation([((1.0, 0.0), (2.0, 2.0))]) is None
    assert correlation([((1.0, 0.0), (3.0, 1.0)), ((0.0,), (1.0,))]) == pytest.approx(1.0)


@dataclass(frozen=True)
class Verdict:
    truth: bool
    answer: float | None


@dataclass(frozen=True)
class ScriptedScorer:
    """Says yes as far as a context holds the explanation's words; has no answer to contexts with `mute`."""

    mute: str = "no such text"
    name: str = "scorer"

    def reads(self, explanation: Explanation) -> bool:
        return explanation.text is not None

    def choose(self, examples: Sequence[Example]) -> list[Example]:
        return [example for example in examples if "ink" not in example.context.text]

    async def judge(self, explanation: Explanation, examples: Sequence[Example]) -> list[Verdict]:
        texts = [example.context.text for example in examples]
        answers = [None if self.mute in text else float((explanation.text or "") in text) for text in texts]
        return [Verdict(example.max_act > 0, answer) for example, answer in zip(examples, answers, strict=True)]


def scored_by(scorer: ScriptedScorer, puzzle: Puzzle) -> Trial:
    (trial,) = asyncio.run(try_judge(ScorerJudge(scorer), [puzzle], lambda: None))
    return trial


def test_a_scorer_wins_by_how_it_ranks(puzzle: Puzzle) -> None:
    trial = scored_by(ScriptedScorer(), puzzle)
    # 5 firing and 3 silent contexts are chosen. "red" is in all of the former: 1. "blue" is in one of the silent: of 15
    # pairs 5 are lost and 10 tie, 1/3. "cat" is in one of each: 2 won, 4 lost, 9 tie, 6.5/15. "nothing": all tie.
    assert (trial.measure, trial.true) == ("auroc", 1)
    assert trial.false == (pytest.approx(1 / 3), pytest.approx(6.5 / 15), pytest.approx(0.5))
    assert (trial.n_answers, trial.n_failed) == (32, 0)


def test_a_scorer_without_firing_contexts_has_no_value(puzzle: Puzzle) -> None:
    trial = scored_by(ScriptedScorer(mute="red"), puzzle)
    assert (trial.true, trial.won) == (None, False)
    assert trial.n_failed == 20


def test_a_judge_of_tables_cannot_be_tried(puzzle: Puzzle) -> None:
    class Tables(ScriptedSimulator):
        def reads(self, explanation: Explanation) -> bool:
            return bool(explanation.table)

    assert reads_sentences(SimulatorJudge(ScriptedSimulator({})), [puzzle])
    assert not reads_sentences(SimulatorJudge(Tables({})), [puzzle])


def test_what_others_are_tried_on_changes_nothing(puzzle: Puzzle) -> None:
    judge = SimulatorJudge(ScriptedSimulator({}))
    other = replace(puzzle, name="other", true="hen")
    both = asyncio.run(try_judge(judge, [other, puzzle], lambda: None))
    assert both[1] == trial_of(puzzle, ScriptedSimulator({}))
