"""N2G as an explainer, on a model whose neurons respond to known words."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from planted import CLASSES
from planted_study import PlantedStudy, write_planted_study
from toy_units import make_context, make_example

from latentese.errors import LatenteseError, SettingError
from latentese.explainers.n2g import N2GExplainer
from latentese.metrics.correlation import pearson, token_sums
from latentese.patterns.n2g import N2GSettings, TokenIds
from latentese.records import Example, Explanation, Unit
from latentese.scorers.simulation import SimulationScorer
from latentese.simulators.n2g import N2GSimulator
from latentese.store.tables import read_explanations, write_explanations

CATS = list(CLASSES).index("animals")
UNIT = Unit(7, 0.1, 4.0, 2.0, 0.0)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PlantedStudy:
    return write_planted_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def explained(study: PlantedStudy) -> dict[int, Explanation]:
    explainer = N2GExplainer(pad_id=0).with_reader(study.reader())
    return {
        number: asyncio.run(explainer.explain(study.unit(number), study.examples(number, "explain")))
        for number in range(len(CLASSES))
    }


def test_patterns_of_a_planted_neuron_are_the_words_of_its_class(explained: dict[int, Explanation]) -> None:
    for number, words in enumerate(CLASSES.values()):
        strongest = {tokens for tokens, _ in explained[number].patterns[: len(words)]}
        # Attention is silenced: no token before the last can matter.
        assert strongest == {(f" {word}",) for word in words}
    text = explained[CATS].text
    assert text is not None and text.startswith("tokens: ' ") and "; ' " in text


def test_the_right_patterns_predict_other_documents_and_wrong_ones_do_not(
    study: PlantedStudy, explained: dict[int, Explanation]
) -> None:
    def score(explanation: Explanation, number: int) -> float:
        judged = asyncio.run(SimulationScorer(N2GSimulator()).judge(explanation, study.examples(number, "test")))
        return float(pearson(sum(token_sums(j.true_acts, j.expected_acts or ()) for j in judged)))

    for number in range(len(CLASSES)):
        assert score(explained[number], number) > 0.95
        assert score(explained[(number + 1) % len(CLASSES)], number) < 0.3


def test_an_explanation_is_its_patterns_wherever_it_was(explained: dict[int, Explanation], tmp_path: Path) -> None:
    write_explanations(explained.values(), tmp_path / "explanations.jsonl")
    assert read_explanations(tmp_path / "explanations.jsonl") == list(explained.values())
    assert explained[CATS].explanation == f"{CATS}.n2g.0"
    assert N2GSimulator().reads(explained[CATS])
    assert not N2GSimulator().reads(replace(explained[CATS], patterns=()))


class Adds:
    """A reader of a unit that fires on token 5 where token 3 is anywhere before; token 0 is padding."""

    pads = (0,)

    def strength(self, unit: Unit) -> Adds:
        return self

    def __call__(self, texts: Sequence[TokenIds]) -> list[float]:
        return [4.0 if text[-1] == 5 and 3 in text else 0.0 for text in texts]

    def token_ids(self, contexts: Sequence[int]) -> list[TokenIds]:
        return [(1, 3, 2, 5, 2, 2, 5)[:7] for _ in contexts]


def examples() -> list[Example]:
    """new ... york, twice: the second behind a longer gap."""
    return [make_example(make_context(0, "the new big york has a york", "explain"), {"york"}, unit=7)]


def explain(explainer: N2GExplainer, shown: Sequence[Example]) -> Explanation:
    return asyncio.run(explainer.with_reader(Adds()).explain(UNIT, shown))  # type: ignore[arg-type]


def test_what_must_stand_before_is_part_of_a_pattern() -> None:
    explanation = explain(N2GExplainer(n_prior=0.0), examples())
    assert explanation.patterns == (
        ((" new", None, " york"), 4.0),
        ((" new", None, None, None, None, " york"), 4.0),
    )
    assert explanation.text == "tokens: ' new' * ' york'; ' new' * * * * ' york'"
    assert (explanation.examples, explanation.model, explanation.error) == ((0,), "none", None)


def test_the_strongest_firing_of_each_example_comes_first() -> None:
    first = examples()[0]
    second = replace(first, acts=(0, 0, 0, 1.0, 0, 0, 2.0))
    firings = N2GExplainer(n_firings=3).with_reader(Adds()).firings([first, second])  # type: ignore[arg-type]
    assert [(firing.act, len(firing.token_ids)) for firing in firings] == [(4.0, 4), (2.0, 7), (4.0, 7)]
    assert firings[0].texts == ("the", " new", " big", " york")


def test_a_unit_without_firings_or_patterns_is_a_counted_failure() -> None:
    silent = [replace(examples()[0], acts=(0.0,) * 7)]
    assert explain(N2GExplainer(), silent).error == "no example in which the unit fires"
    short = explain(N2GExplainer(patterns=N2GSettings(max_tokens=1)), examples())
    assert (short.text, short.patterns, short.error) == (None, (), "no pattern keeps enough of a firing")


def test_settings_and_a_missing_reader_are_one_line() -> None:
    with pytest.raises(SettingError, match="n_firings"):
        N2GExplainer(n_firings=0)
    with pytest.raises(SettingError, match="n_prior"):
        N2GExplainer(n_prior=-1.0)
    with pytest.raises(LatenteseError, match="n2g runs the subject"):
        asyncio.run(N2GExplainer().explain(UNIT, examples()))
