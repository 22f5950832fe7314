"""Planted units as cases: their meaning in words beside all others', and their examples of `test` documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from latentese.corpus.contexts import Contexts
from latentese.examples.store import Examples
from latentese.metrics.scores import KINDS_OF
from latentese.puzzles.meanings import Meaning, Recovered
from latentese.puzzles.puzzle import Case, sentences_of
from latentese.stages.judging import SplitExamples


def planted_cases(
    contexts: Path, examples: Path, meanings: Sequence[Meaning], recovered: Mapping[str, Recovered]
) -> dict[int, Case]:
    """Make a case of each meaning that was found and is live, by its unit; false sentences are all other meanings."""
    reader = SplitExamples(Contexts(contexts), Examples(examples))
    n_live = reader.examples.units["draw"].count()
    live = {unit.unit: unit for unit in reader.examples.study(n_live)}
    cases = {}
    for meaning in meanings:
        one = recovered[meaning.name]
        if not one.found or one.unit not in live:
            continue
        others = [other.true for other in meanings if other is not meaning]
        held_out = tuple(reader.of(one.unit, "test", KINDS_OF["top_and_random"]))
        sentences = sentences_of(one.unit, [meaning.true, *others])
        cases[one.unit] = Case(meaning.name, meaning.kind, live[one.unit], sentences, (), held_out)
    return cases
