"""Token tables: look-up, and a table built from a unit beats another unit's on texts it was not built from."""

from __future__ import annotations

import asyncio

from toy_units import make_context, make_example, make_explanation

from latentese.metrics.correlation import pearson, token_sums
from latentese.patterns.token_table import TableSettings, build_table
from latentese.scorers.simulation import SimulationScorer
from latentese.simulators.n2g import N2GSimulator
from latentese.simulators.token_table import TokenTableSimulator

BUILT_FROM = ("a red boat and a cow", "the boat is red", "one cow in a red field")
JUDGED_ON = ("see the boat near a cow", "no red thing here", "it is a boat")


def score(table_words: set[str], true_words: set[str]) -> float:
    table = build_table(
        [make_example(make_context(i, text, "explain"), table_words) for i, text in enumerate(BUILT_FROM)],
        TableSettings(),
    )
    examples = [make_example(make_context(10 + i, text), true_words) for i, text in enumerate(JUDGED_ON)]
    explanation = make_explanation(None, table=table.entries)
    judged = asyncio.run(SimulationScorer(TokenTableSimulator()).judge(explanation, examples))
    return float(pearson(sum(token_sums(j.true_acts, j.expected_acts or ()) for j in judged)))


def test_the_true_table_beats_false_ones() -> None:
    assert score({"boat"}, {"boat"}) > 0.99
    assert score({"cow"}, {"boat"}) < 0.1
    assert score({"red"}, {"boat"}) < 0.1


def test_conditions_decide_where_they_end() -> None:
    conditions = (((" a", " boat"), 0.5), ((" in", None, " boat"), 0.0))
    explanation = make_explanation(None, table=((" boat", 2.0),), patterns=conditions)
    context = make_context(1, "x boat a boat in a boat in the boat")
    [simulation] = asyncio.run(TokenTableSimulator().simulate(explanation, [context]))
    # Of the two that end at the third ` boat`, both name two tokens, and the longer decides.
    assert simulation.expected == (0.0, 2.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert not N2GSimulator().reads(explanation)


def test_only_explanations_with_a_table_are_read() -> None:
    assert not TokenTableSimulator().reads(make_explanation("boats"))
    assert TokenTableSimulator().reads(make_explanation(None, table=((" boat", 1.0),)))
