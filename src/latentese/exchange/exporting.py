"""From our tables to files of the 2023 release, one unit at a time.

Tools of the release cut the top excerpts of a record into train, calibration, valid and test, and the random ones into
the last three, by taking every fourth or third one. Ours are laid out so that this cutting gives our own splits:
explain, calibrate, select, test. Both files of a unit have the counted tokens alone, by which tools match them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, compress, cycle

import polars as pl

from latentese.exchange.release import (
    Excerpt,
    Neuron,
    NeuronRecord,
    NeuronResults,
    ScoredText,
    SimulatedExcerpt,
)
from latentese.metrics.correlation import pearson, token_sums
from latentese.records import Context, Example, Explanation, Split

TOP_SPLITS: tuple[Split, ...] = ("explain", "calibrate", "select", "test")
RANDOM_SPLITS: tuple[Split, ...] = ("calibrate", "select", "test")


@dataclass(frozen=True)
class UnitExamples:
    """One unit's examples, by split, strongest first; bands of the quantile examples, by context."""

    by_split: Mapping[Split, Sequence[Example]]
    band_of: Mapping[int, int]

    def of_kind(self, split: Split, kind: str) -> list[Excerpt]:
        """Excerpts of one kind."""
        return [excerpt_of(example) for example in self.by_split[split] if example.kind == kind]


def excerpt_of(example: Example) -> Excerpt:
    """Take an example's counted tokens; the activation is 0 wherever the unit does not fire."""
    return Excerpt(counted_tokens(example.context), tuple(compress(example.acts, example.context.keep)))


def counted_tokens(context: Context) -> tuple[str, ...]:
    """Text of the tokens that count: without the first one and padding."""
    return tuple(compress(context.tokens, context.keep))


def interleaved(by_split: Sequence[Sequence[Excerpt]]) -> tuple[Excerpt, ...]:
    """Take one excerpt of each split in turn, as long as every split has one.

    Where a split has none at all, no cutting can be right: the excerpts are then all of one split, the first with any.
    """
    rounds = tuple(chain.from_iterable(zip(*by_split, strict=False)))
    return rounds or next((tuple(excerpts) for excerpts in by_split if excerpts), ())


def beside_test(by_split: Sequence[Sequence[Excerpt]]) -> tuple[Excerpt, ...]:
    """Take every excerpt of the last split, each behind one of every other split, in turn and again from the first.

    So all that was simulated is there, whichever split has more. Where another split has none at all, no cutting can be
    right: the excerpts are then all of the last split.
    """
    *others, last = by_split
    if not all(others):
        return tuple(last)
    return tuple(chain.from_iterable(zip(*map(cycle, others), last, strict=False)))


def record_of(neuron: Neuron, examples: UnitExamples, bands: Sequence[float], mean: float) -> NeuronRecord:
    """Gather a unit's excerpts. bands: edges of the quantile bands. mean: over all tokens, silent ones included."""
    by_quantile = [
        tuple(
            excerpt_of(example)
            for split in TOP_SPLITS
            for example in examples.by_split[split]
            if example.kind == "quantile" and examples.band_of.get(example.context.context) == band
        )
        for band in range(len(bands) - 1)
    ]
    return NeuronRecord(
        neuron=neuron,
        top=interleaved([examples.of_kind(split, "top") for split in TOP_SPLITS]),
        random=beside_test([examples.of_kind(split, "random") for split in RANDOM_SPLITS]),
        by_quantile=tuple(by_quantile),
        boundaries=tuple(bands),
        mean=mean,
    )


def scored_text(explanation: Explanation, simulations: pl.DataFrame, contexts: Mapping[int, Context]) -> ScoredText:
    """Gather the simulations of one explanation; those without an answer have no place in the files.

    The simulations are on the simulator's own scale, so only the correlation is stated.
    """
    rows = simulations.filter(pl.col("expected_acts").is_not_null()).to_dicts()
    simulated = tuple(
        _simulated(contexts[row["context"]], tuple(row["true_acts"]), tuple(row["expected_acts"])) for row in rows
    )
    true = tuple(chain.from_iterable(excerpt.true_acts for excerpt in simulated))
    expected = tuple(chain.from_iterable(excerpt.expected_acts for excerpt in simulated))
    return ScoredText(explanation.text or "", simulated, {"correlation": correlation(true, expected)})


def _simulated(context: Context, true: tuple[float, ...], expected: tuple[float, ...]) -> SimulatedExcerpt:
    return SimulatedExcerpt(counted_tokens(context), true, expected, correlation(true, expected))


def correlation(true: Sequence[float], expected: Sequence[float]) -> float | None:
    """Correlate over tokens; None where a side is constant."""
    value = float(pearson(token_sums(true, expected)))
    return value if math.isfinite(value) else None


def results_of(neuron: Neuron, explanations: Sequence[ScoredText]) -> NeuronResults:
    """Put a unit's explanations into one file, best first, as the release does; those without a score come last."""
    return NeuronResults(neuron, tuple(sorted(explanations, key=_rank)))


def _rank(scored: ScoredText) -> float:
    value = scored.scores.get("correlation")
    return -value if value is not None else 2.0
