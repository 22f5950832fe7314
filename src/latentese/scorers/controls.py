"""The wrong-explanation control: without it, what ignores the explanation looks decent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

import numpy as np

from latentese.records import Explanation

N_NEIGHBOURS = 4
"""Units of similar density that exchange explanations; a few more where the number of units asks for it."""


def wrong_explanations(
    written: Sequence[Explanation], reads: Callable[[Explanation], bool], densities: Mapping[int, float], seed: int
) -> dict[str, Explanation]:
    """Give each explanation that is read another unit's of the same explainer, as `draw_wrong_explanations` does."""
    wrong: dict[str, Explanation] = {}
    for explainer in sorted({explanation.explainer for explanation in written}):
        own = [e for e in written if e.explainer == explainer and reads(e)]
        wrong |= draw_wrong_explanations(own, densities, seed)
    return wrong


def draw_wrong_explanations(
    explanations: Sequence[Explanation], densities: Mapping[int, float], seed: int
) -> dict[str, Explanation]:
    """Give each explanation another unit's of similar density: seeded cycles of neighbours, so that none keeps its own.

    A frequent unit's explanation is right more often by chance, hence the matching. Where the other unit's explanation
    says the same, the next one that says something else stands in. explanations: of one explainer, one per unit;
    densities: by unit. An explanation that all others repeat has none; empty when there are fewer than two.
    """
    if len({explanation.unit for explanation in explanations}) != len(explanations):
        raise ValueError("one explanation per unit")
    if len(explanations) < 2:
        return {}
    ordered = sorted(explanations, key=lambda explanation: (densities[explanation.unit], explanation.unit))
    cycles = list(_cycles(ordered, seed))
    wrong = {}
    for i, cycle in enumerate(cycles):
        for j, own in enumerate(cycle):
            elsewhere = chain.from_iterable(cycles[(i + step) % len(cycles)] for step in range(1, len(cycles)))
            others = chain(cycle[j + 1 :], cycle[:j], elsewhere)
            if different := next((other for other in others if _says(other) != _says(own)), None):
                wrong[own.explanation] = different
    return wrong


def _cycles(ordered: Sequence[Explanation], seed: int) -> Iterator[list[Explanation]]:
    rng = np.random.default_rng(seed)
    for neighbours in np.array_split(np.arange(len(ordered)), max(1, len(ordered) // N_NEIGHBOURS)):
        yield [ordered[i] for i in rng.permutation(neighbours)]


def _says(explanation: Explanation) -> tuple[object, ...]:
    return (explanation.text, explanation.table, explanation.patterns)
