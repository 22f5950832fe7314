"""Counted positions only, failures as rows, and controls in which no explanation keeps its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_units import WordListSimulator, make_context, make_example, make_explanation

from latentese import schemas
from latentese.records import Context, Explanation, Judgement, Simulation
from latentese.scorers.controls import draw_wrong_explanations, wrong_explanations
from latentese.scorers.simulation import SimulationScorer
from latentese.scorers.table import Question, simulation_rows


class Scripted(WordListSimulator):
    """Gives the simulations it was made with."""

    def __init__(self, *simulations: Simulation) -> None:
        self.simulations = list(simulations)

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        return self.simulations


EXAMPLE = make_example(make_context(5, "boat boat cow", document=2), {"boat"})


def judge(simulation: Simulation) -> Judgement:
    [judgement] = asyncio.run(SimulationScorer(Scripted(simulation)).judge(make_explanation("boats"), [EXAMPLE]))
    return judgement


def test_only_counted_positions_are_judged() -> None:
    assert judge(Simulation(5, (9.0, 1.0, 0.5))) == Judgement(5, (4.0, 0.0), (1.0, 0.5))


def test_failures_and_wrong_lengths_keep_their_reason() -> None:
    assert judge(Simulation(5, None, "timed out")) == Judgement(5, (4.0, 0.0), None, "timed out")
    wrong = Judgement(5, (4.0, 0.0), None, "2 expected activations for 3 tokens")
    assert judge(Simulation(5, (1.0, 2.0))) == wrong


def test_a_simulation_of_another_context_is_refused() -> None:
    with pytest.raises(ValueError, match="context 6"):
        judge(Simulation(6, (0.0, 0.0, 0.0)))


def test_rows_of_the_table() -> None:
    question = Question("1.reader.0", 1, "words", "none", "test")
    table = simulation_rows(question, [EXAMPLE] * 2, [Judgement(5, (4.0,), (1.0,)), Judgement(5, (4.0,), None, "no")])
    assert table.schema == schemas.SIMULATIONS
    assert table["document"].to_list() == [2, 2]
    assert table["expected_acts"].to_list() == [[1.0], None]
    assert table["error"].to_list() == [None, "no"]
    assert simulation_rows(question, [], []).equals(pl.DataFrame(schema=schemas.SIMULATIONS))


@given(st.dictionaries(st.integers(0, 5000), st.floats(0, 1), min_size=2, max_size=30), st.integers(0, 99))
def test_every_explanation_is_used_once_for_another_unit(densities: dict[int, float], seed: int) -> None:
    own = [make_explanation(f"unit {unit}", unit) for unit in densities]
    wrong = draw_wrong_explanations(own, densities, seed)
    assert set(wrong) == {explanation.explanation for explanation in own}
    assert {other.explanation for other in wrong.values()} == set(wrong)
    assert all(name != other.explanation for name, other in wrong.items())
    assert draw_wrong_explanations(own[::-1], densities, seed) == wrong


def test_units_of_similar_density_exchange_explanations() -> None:
    densities = {unit: 0.001 if unit < 8 else 0.3 for unit in range(16)}
    wrong = draw_wrong_explanations([make_explanation("x", unit) for unit in densities], densities, 3)
    assert all((int(own.split(".")[0]) < 8) == (other.unit < 8) for own, other in wrong.items())


def test_one_explanation_has_no_wrong_one() -> None:
    assert draw_wrong_explanations([make_explanation("alone")], {1: 0.5}, 0) == {}


@pytest.mark.parametrize("seed", range(10))
def test_a_control_says_something_else(seed: int) -> None:
    own = [make_explanation("the same" if unit < 6 else f"words {unit}", unit) for unit in range(8)]
    wrong = draw_wrong_explanations(own, dict.fromkeys(range(8), 0.1), seed)
    assert set(wrong) == {explanation.explanation for explanation in own}
    assert all(wrong[explanation.explanation].text != explanation.text for explanation in own)
    assert draw_wrong_explanations(own[:6], dict.fromkeys(range(6), 0.1), seed) == {}


def test_wrong_explanations_are_of_the_same_explainer_and_only_of_those_that_are_read() -> None:
    own = [make_explanation(text, unit, by) for by in ("a", "b") for unit, text in enumerate(["x", "y", None])]
    wrong = wrong_explanations(own, lambda e: e.text is not None, {0: 0.1, 1: 0.2, 2: 0.3}, 0)
    assert {name: other.explanation for name, other in wrong.items()} == {
        "0.a.0": "1.a.0",
        "1.a.0": "0.a.0",
        "0.b.0": "1.b.0",
        "1.b.0": "0.b.0",
    }
