"""From the release's records to our tables and back, by hand."""

from __future__ import annotations

import math

import polars as pl
import pytest

from latentese import schemas
from latentese.exchange.exporting import (
    TOP_SPLITS,
    UnitExamples,
    beside_test,
    correlation,
    excerpt_of,
    interleaved,
    record_of,
    results_of,
    scored_text,
)
from latentese.exchange.importing import LayerTables, n_disagreeing
from latentese.exchange.release import (
    Excerpt,
    Neuron,
    NeuronRecord,
    NeuronResults,
    ScoredText,
    SimulatedExcerpt,
)
from latentese.metrics.intervals import Bootstrap
from latentese.records import Context, Example, Explanation, Kind, Split

BOOTSTRAP = Bootstrap(n_boot=50)
A, B, C = (("a", "b", "c"), ("d", "e", "f"), ("g", "h", "i"))


def scored(text: str, stated: float | None, *simulated: SimulatedExcerpt) -> ScoredText:
    return ScoredText(text, simulated, {"correlation": stated, "r2": 0.5})


def layer(*read: NeuronRecord | NeuronResults) -> LayerTables:
    tables = LayerTables()
    for one in read:
        tables.add(one)
    return tables


def two_excerpts(stated: float | None = 1.0) -> NeuronResults:
    """Simulated at twice the truth on both excerpts, so the correlation is 1."""
    simulated = [SimulatedExcerpt(tokens, (0.0, 1.0, 0.5), (0.0, 2.0, 1.0), 1.0) for tokens in (A, B)]
    return NeuronResults(Neuron(2, 9), (scored("first", stated, *simulated), scored("second", None)))


def test_explanations_of_a_neuron_are_first_explanations_of_explainers_with_numbers() -> None:
    tables = layer(two_excerpts())
    assert [(e.explanation, e.unit, e.explainer, e.revision, e.text) for e in tables.explanations] == [
        ("9.released.0", 9, "released", 0, "first"),
        ("9.released.2.0", 9, "released.2", 0, "second"),
    ]


def test_each_excerpt_is_a_document_of_its_own_and_all_are_top_where_nothing_else_is_known() -> None:
    simulations = layer(two_excerpts()).simulations
    assert simulations.schema == schemas.SIMULATIONS
    assert simulations.select("context", "document", "kind").rows() == [(0, 0, "top"), (1, 1, "top")]


def test_the_correlation_is_found_again_beside_the_stated_scores() -> None:
    scores = layer(two_excerpts(stated=0.75)).scores(BOOTSTRAP)
    found = {row["metric"]: row for row in scores.filter(explanation="9.released.0").to_dicts()}
    assert set(found) == {"correlation", "correlation.stated", "r2.stated"}
    assert found["correlation"]["value"] == pytest.approx(1.0)
    assert (found["correlation"]["n_documents"], found["correlation"]["n_judged"]) == (2, 2)
    stated = found["correlation.stated"]
    assert (stated["value"], stated["low"], stated["n_judged"]) == (0.75, None, 0)
    assert scores.filter(explanation="9.released.2.0")["metric"].to_list() == ["r2.stated"]


@pytest.mark.parametrize(("stated", "n"), [(1.0, 0), (0.995, 0), (0.75, 1), (None, 0)])
def test_a_stated_correlation_that_is_not_found_again_is_counted(stated: float | None, n: int) -> None:
    assert n_disagreeing(layer(two_excerpts(stated)).scores(BOOTSTRAP)) == n


def test_a_record_says_which_excerpts_are_random_whichever_file_comes_first() -> None:
    record = NeuronRecord(Neuron(2, 9), top=(Excerpt(A, (0.0, 1.0, 0.5)),), random=(Excerpt(B, (0.0, -1.0, 0.0)),))
    for tables in (layer(record, two_excerpts()), layer(two_excerpts(), record)):
        assert tables.simulations["kind"].to_list() == ["top", "random"]
        assert set(tables.scores(BOOTSTRAP)["contexts"]) == {"top_and_random", "random_only"}
        examples = tables.examples.sort("kind", descending=True).to_dicts()
        assert [(e["kind"], e["max_act"], e["positions"], e["acts"]) for e in examples] == [
            ("top", 1.0, [1, 2], [1.0, 0.5]),
            ("random", 0.0, [], []),
        ]
        assert sorted(tables.excerpts["tokens"].to_list()) == [list(A), list(B)]


def test_an_activation_that_is_not_a_number_is_a_counted_failure() -> None:
    good = SimulatedExcerpt(A, (0.0, 1.0, 0.5), (0.0, 2.0, 1.0), None)
    bad = SimulatedExcerpt(B, (0.0, 1.0, 0.5), (0.0, math.nan, 1.0), None)
    worse = SimulatedExcerpt(C, (math.inf, 1.0, 0.5), (0.0, 2.0, 1.0), None)
    tables = layer(NeuronResults(Neuron(2, 9), (scored("x", None, good, bad, worse),)))
    assert tables.simulations["expected_acts"].is_null().to_list() == [False, True]
    assert tables.n_without_truth == 1, "without the truth there is nothing to judge"
    row = tables.scores(BOOTSTRAP).filter(metric="correlation").row(0, named=True)
    assert (row["n_judged"], row["n_failed"]) == (1, 1)
    assert row["value"] == pytest.approx(1.0)


def example(number: int, kind: Kind, split: Split, acts: tuple[float, ...] = (0.0, 1.0, 2.0)) -> Example:
    context = Context(number, ("x", f"{number}", ""), (False, True, False), number, "prose", split)
    return Example(9, context, kind, acts)


def test_an_excerpt_is_of_counted_tokens_alone() -> None:
    assert excerpt_of(example(5, "top", "test")) == Excerpt(("5",), (1.0,))


def test_cutting_a_record_as_the_release_does_gives_our_splits() -> None:
    """Two rounds of four splits: every fourth excerpt from the i-th on is of the i-th split."""
    by_split: dict[Split, list[Example]] = {
        split: [example(10 * i + n, kind, split) for n, kind in enumerate(("top", "top", "random", "quantile"))]
        for i, split in enumerate(TOP_SPLITS)
    }
    record = record_of(Neuron(2, 9), UnitExamples(by_split, {3: 1, 13: 1, 23: 0, 33: 1}), (0.0, 0.5, 1.0), 0.25)
    numbers = [excerpt.tokens[0] for excerpt in record.top]
    assert [numbers[i::4] for i in range(4)] == [["0", "1"], ["10", "11"], ["20", "21"], ["30", "31"]]
    assert [excerpt.tokens[0] for excerpt in record.random] == ["12", "22", "32"]
    assert [[excerpt.tokens[0] for excerpt in band] for band in record.by_quantile] == [["23"], ["3", "13", "33"]]
    assert (record.boundaries, record.mean) == ((0.0, 0.5, 1.0), 0.25)


def test_no_split_gets_more_excerpts_than_another() -> None:
    one, two, three = (Excerpt((name,), (1.0,)) for name in "abc")
    assert interleaved([[one, two], [three]]) == (one, three)
    assert interleaved([[], [one, two], [three]]) == (one, two), "where a split has none, those of the first with any"
    assert interleaved([[], []]) == ()


def test_every_random_excerpt_of_test_is_there_and_cutting_is_right_all_the_same() -> None:
    one, two, three, four, five = (Excerpt((name,), (1.0,)) for name in "abcde")
    laid_out = beside_test([[one], [two, three], [four, five, one]])
    assert [laid_out[i::3] for i in range(3)] == [(one, one, one), (two, three, two), (four, five, one)]
    assert beside_test([[], [one, two], [three]]) == (three,)
    assert beside_test([[one], [two], []]) == ()


def test_what_leaves_as_random_returns_as_random() -> None:
    """Three random contexts of `test`, where `calibrate` and `select` have one each."""
    contexts = [
        Context(n, ("x", f"a{n}", f"b{n}", ""), (False, True, True, False), n, "prose", "test") for n in range(4)
    ]
    kinds: list[Kind] = ["top", "random", "random", "random"]
    examples = [Example(9, c, kind, (0.0, 0.0, float(c.context), 0.0)) for c, kind in zip(contexts, kinds, strict=True)]
    silent = {split: [example(10 + n, "random", split)] for n, split in enumerate(TOP_SPLITS)}
    neuron, by_split = Neuron(2, 9), {**silent, "test": examples}
    record = record_of(neuron, UnitExamples(by_split, {}), (0.0, 1.0), 0.25)
    rows = pl.DataFrame(
        {
            "context": [c.context for c in contexts],
            "true_acts": [list(e.acts[1:3]) for e in examples],
            "expected_acts": [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]],
        }
    )
    explanation = Explanation("9.ex.0", 9, "ex", 0, "words", "m", "", ())
    results = results_of(neuron, [scored_text(explanation, rows, {c.context: c for c in contexts})])
    tables = layer(record, results)
    assert tables.simulations["kind"].to_list() == kinds
    assert tables.examples.group_by("context", "kind").len()["len"].max() == 1
    # Random tokens: truth 0 1 0 2 0 3, expected 0 1 0 1 0 1. r = (6 * 6 - 6 * 3) / sqrt((6 * 14 - 36) (6 * 3 - 9)).
    (found,) = tables.scores(BOOTSTRAP).filter(metric="correlation", contexts="random_only").to_dicts()
    assert found["value"] == pytest.approx(18 / (48 * 9) ** 0.5)
    assert found["n_judged"] == 3


def test_the_best_explanation_comes_first_and_a_constant_side_has_no_score() -> None:
    assert correlation((0.0, 1.0), (1.0, 1.0)) is None
    assert correlation((0.0, 1.0, 0.0), (0.0, 3.0, 0.0)) == pytest.approx(1.0)
    texts = [scored("none", None), scored("low", -1.0), scored("high", 0.5)]
    assert [one.text for one in results_of(Neuron(2, 9), texts).explanations] == ["high", "low", "none"]
