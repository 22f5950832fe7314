"""Token tables and patterns put right by counterexamples: a condition, a branch, and the control, by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from toy_units import make_context, make_example, make_explanation

from latentese.explainers.n2g import N2GExplainer
from latentese.patterns.n2g import Strength, TokenIds
from latentese.patterns.token_table import TableSettings
from latentese.records import Context, Example, Explanation, Unit
from latentese.refinement.base import Counterexample, Evidence, Material, Shown
from latentese.refinement.controls import RandomExamples, draw_both
from latentese.refinement.patterns import PatternRevision, TableRevision, conditions
from latentese.simulators.n2g import N2GSimulator
from latentese.simulators.token_table import TokenTableSimulator

UNIT = Unit(1, 0.1, 4.0, 4.0, 0.0)
TABLE = TableRevision(table=TableSettings(n_prior=0.0))
VOCABULARY = ["", " x", " New", " old", " York", " Paris", " in"]


def firing(number: int, text: str, *words: str) -> Example:
    return make_example(make_context(number, text, "explain"), words)


def false_positive(number: int, text: str, word: str) -> Counterexample:
    example = firing(number, text)
    expected = tuple(3.0 if token.strip() == word else 0.0 for token in example.context.tokens)
    return Counterexample(example, expected, "false_positive")


def false_negative(number: int, text: str, word: str) -> Counterexample:
    example = firing(number, text, word)
    return Counterexample(example, (0.0,) * len(example.acts), "false_negative")


def evidence(*found: Counterexample, earlier: tuple[Example, ...] = ()) -> Evidence:
    return Evidence((firing(1, "x in New York", "York"),), found, (), earlier)


PARENT = make_explanation("tokens: ' York'", explainer="token_table", examples=(1,), table=((" York", 4.0),))
TRIE = make_explanation("tokens: ' York'", explainer="n2g", examples=(1,), patterns=(((" York",), 4.0),))


def propose(arm: TableRevision | PatternRevision, parent: Explanation, shown: Evidence) -> Explanation:
    return asyncio.run(arm.propose(UNIT, parent, shown, 1))


def expected(written: Explanation, text: str) -> tuple[float, ...] | None:
    simulator = TokenTableSimulator() if written.table else N2GSimulator()
    assert simulator.reads(written)
    [simulation] = asyncio.run(simulator.simulate(written, [make_context(9, text)]))
    return simulation.expected


def test_a_false_positive_makes_an_entry_conditional() -> None:
    written = propose(TABLE, PARENT, evidence(false_positive(2, "x old York", "York")))
    # ` York` fired with 4 once and was silent once; behind ` old` it was silent.
    assert written.table == ((" York", 2.0),)
    assert written.patterns == (((" old", " York"), 0.0),)
    assert written.text == "tokens: ' York'; less at: ' old' ' York' (0)"
    assert expected(written, "x old York York") == (0.0, 0.0, 0.0, 2.0)
    assert not N2GSimulator().reads(written)


def test_a_false_negative_adds_an_entry() -> None:
    written = propose(TABLE, PARENT, evidence(false_negative(2, "x in Paris", "Paris")))
    assert dict(written.table) == {" York": 4.0, " Paris": 4.0}
    assert written.patterns == ()


def test_a_firing_on_the_rest_of_a_character_is_one_on_the_character() -> None:
    context = Context(2, ("x", " 山", "", " in"), (False, True, True, True), 2, "toy", "explain")
    example = Example(1, context, "top", (0.0, 0.0, 3.0, 0.0))
    written = propose(TABLE, PARENT, evidence(Counterexample(example, (0.0,) * 4, "false_negative")))
    assert dict(written.table) == {" York": 4.0, " 山": 3.0}
    assert expected(written, "x in York") == (0.0, 0.0, 4.0)


def test_a_false_negative_of_an_entry_that_expects_too_little_is_lengthened() -> None:
    shown = evidence(
        false_negative(2, "x old York", "York"), earlier=(firing(3, "x in York"), firing(4, "x York York"))
    )
    written = propose(TABLE, PARENT, shown)
    # ` York` ends in five places, of which two fire with 4: 8 / 5. Behind ` old` it fires.
    assert written.table == ((" York", 1.6),)
    assert written.patterns == (((" old", " York"), 4.0),)


def test_a_condition_is_lengthened_in_its_turn() -> None:
    parent = replace(PARENT, patterns=(((" old", " York"), 4.0),))
    shown = evidence(false_positive(2, "x in old York", "York"), earlier=(firing(3, "x old York", "York"),))
    assert propose(TABLE, parent, shown).patterns == (
        ((" old", " York"), 2.0),
        ((" in", " old", " York"), 0.0),
    )


def test_a_pattern_at_the_beginning_of_a_text_is_fitted_again_and_not_lengthened() -> None:
    item = false_positive(2, "York York", "York")
    assert conditions([(" York",), ("York", " York")], [item]) == []
    assert conditions([(" York",)], [item]) == [("York", " York")]


def test_lineage_and_what_is_shown() -> None:
    shown = evidence(
        false_positive(2, "x old York", "York"), false_negative(3, "x in Paris", "Paris"), earlier=(firing(4, "x y"),)
    )
    written = propose(TABLE, PARENT, shown)
    assert (written.explanation, written.parent, written.revision) == ("1.revision.1", "1.token_table.0", 1)
    assert written.examples == (1, 4, 2, 3)
    assert TABLE.shows(shown) == Shown((2,), (3,))


class OneTokenReader:
    """A subject whose unit fires with 4 on ` Paris` behind ` in`, and on ` York`."""

    pads = (0,)

    def __init__(self, contexts: Sequence[Context]) -> None:
        self.contexts = {context.context: context for context in contexts}

    def token_ids(self, contexts: Sequence[int]) -> list[TokenIds]:
        texts = [self.contexts[number].tokens for number in contexts]
        return [tuple(VOCABULARY.index(f" {token.strip()}") for token in tokens) for tokens in texts]

    def strength(self, unit: Unit) -> Strength:
        del unit
        in_paris, york = tuple(map(VOCABULARY.index, (" in", " Paris"))), VOCABULARY.index(" York")
        return lambda texts: [4.0 if text[-2:] == in_paris or text[-1] == york else 0.0 for text in texts]


def pattern_arm(shown: Evidence) -> PatternRevision:
    reader = OneTokenReader([item.example.context for item in shown.counterexamples])
    return PatternRevision(N2GExplainer(n_prior=0.0)).with_reader(reader)  # type: ignore[arg-type]


def test_a_false_positive_lengthens_a_pattern() -> None:
    shown = evidence(false_positive(2, "x old York", "York"))
    written = propose(pattern_arm(shown), TRIE, shown)
    assert written.patterns == (((" York",), 2.0), ((" old", " York"), 0.0))
    assert expected(written, "x old York York") == (0.0, 0.0, 0.0, 2.0)


def test_a_false_negative_adds_the_branch_that_the_subject_needs() -> None:
    shown = evidence(false_negative(2, "x old in Paris", "Paris"))
    written = propose(pattern_arm(shown), TRIE, shown)
    # The firing can do without ` old`, not without ` in`; no condition is added to what the branch expects.
    assert set(written.patterns) == {((" York",), 4.0), ((" in", " Paris"), 4.0)}


def test_a_missed_firing_of_a_known_pattern_is_lengthened() -> None:
    shown = evidence(false_negative(2, "x old York", "York"), earlier=(firing(3, "x in York"),))
    written = propose(pattern_arm(shown), TRIE, shown)
    # The subject says ` York` alone, which is known: 8 / 3 in three places, and 4 behind ` old`.
    assert written.patterns == (((" old", " York"), 4.0), ((" York",), 8 / 3))


def test_the_control_gets_as_many_random_contexts_of_each_kind() -> None:
    shown = evidence(false_positive(2, "x old York", "York"), false_negative(3, "x in Paris", "Paris"))
    fresh = tuple(firing(10 + i, "x in York", *(["York"] if i % 2 else [])) for i in range(20))
    control = RandomExamples(TABLE)
    material = Material(UNIT, PARENT, shown, fresh, frozenset({1}), TokenTableSimulator(), (0, 1, 1))
    gathered = asyncio.run(control.gather(material))
    found = gathered.evidence.counterexamples
    assert sorted(item.kind for item in found) == ["false_negative", "false_positive"]
    numbers = tuple(item.example.context.context for item in found)
    assert set(numbers) <= {example.context.context for example in fresh}
    assert control.shows(gathered.evidence) == Shown(random_examples=numbers)
    written = asyncio.run(control.propose(UNIT, PARENT, gathered.evidence, 2))
    assert (written.explanation, written.explainer) == ("1.random_examples.2", "random_examples")
    assert asyncio.run(control.gather(material)) == gathered


def test_random_contexts_are_of_different_documents() -> None:
    pool = [make_example(make_context(i, "x York", "explain", document=i // 2), ["York"] * (i % 2)) for i in range(8)]
    drawn = draw_both(pool, 2, 1, (0,))
    assert [example.max_act > 0 for example in drawn].count(True) == 1
    assert len({example.context.document for example in drawn}) == 3 == len(drawn)
    assert len(draw_both(pool, 9, 9, (0,))) == 4
