"""The token-table explainer."""

from __future__ import annotations

import asyncio

from latentese.explainers.token_table import TokenTableExplainer
from latentese.patterns.token_table import TableSettings
from latentese.records import Context, Example, Explanation, Unit

UNIT = Unit(7, 0.1, 4.0, 2.0, 0.0)


def explain(acts: tuple[float, ...]) -> Explanation:
    context = Context(3, ("On", " the", " mill", " the"), (False, True, True, True), 0, "prose", "explain")
    explainer = TokenTableExplainer(table=TableSettings(n_prior=0.0))
    return asyncio.run(explainer.explain(UNIT, [Example(7, context, "top", acts)]))


def test_the_strongest_tokens_are_named_and_the_table_kept() -> None:
    explanation = explain((9.0, 1.0, 4.0, 2.0))
    assert explanation.explanation == "7.token_table.0"
    assert explanation.text == "tokens: ' mill', ' the'"
    assert explanation.table == ((" mill", 4.0), (" the", 1.5))
    assert explanation.examples == (3,)


def test_a_silent_unit_is_a_counted_failure() -> None:
    explanation = explain((9.0, 0.0, 0.0, 0.0))
    assert (explanation.text, explanation.error) == (None, "no example in which the unit fires")
