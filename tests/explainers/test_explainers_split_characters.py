"""Units that fire on the later tokens of a split character are explained as if they fired on its first."""

from __future__ import annotations

import asyncio

from latentese.explainers.contrastive import ContrastChoice, ContrastedExcerpts, find_alike, own_tokens
from latentese.explainers.token_table import TokenTableExplainer
from latentese.patterns.token_table import TableSettings
from latentese.records import Context, Example, Kind, Unit

UNIT = Unit(7, 0.01, 6.0, 4.0, 0.0)


def example(number: int, tokens: tuple[str, ...], acts: tuple[float, ...], kind: Kind = "top") -> Example:
    keep = (False, *(True,) * (len(tokens) - 1))
    return Example(7, Context(number, tokens, keep, number, "prose", "explain"), kind, acts)


ON_THE_REST = example(1, ("On", " ", "山", "", " stood"), (0.0, 0.0, 0.0, 5.0, 0.0))
ALIKE = example(2, ("no", " mill", "山", ""), (0.0,) * 4, "near_miss")
UNLIKE = example(3, ("a", " mill", "水", ""), (0.0,) * 4, "random")


def test_the_character_is_the_units_own() -> None:
    own = own_tokens([ON_THE_REST])
    assert dict(own) == {"山": 1}
    assert find_alike(ALIKE.context, own) == 2
    assert ContrastChoice().of([ON_THE_REST, UNLIKE, ALIKE]) == (ON_THE_REST, ALIKE)


def test_own_tokens_are_strong_beside_what_can_be_shown() -> None:
    begun_before = example(4, ("", "", " mill", " ran"), (0.0, 9.0, 2.0, 0.7))
    # .4 of 2, not of the 9 on a character that is not in the text
    assert dict(own_tokens([begun_before])) == {"mill": 1}


def test_contrasted_excerpts_word_for_word() -> None:
    assert ContrastedExcerpts().render([ON_THE_REST, ALIKE]) == (
        "Fires:\n- On <<山>> stood\nSilent:\n- no mill山\nMarked: 山 (1)"
    )


def test_a_token_table_names_the_character() -> None:
    explainer = TokenTableExplainer(table=TableSettings(n_prior=1.0))
    explanation = asyncio.run(explainer.explain(UNIT, [ON_THE_REST, ALIKE]))
    assert (explanation.text, explanation.error) == ("tokens: '山'", None)
    # it occurs twice, not four times: (5 + 0) / (2 + 1)
    assert explanation.table == (("山", 5 / 3),)
