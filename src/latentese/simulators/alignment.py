"""From values of the tokens that were asked about to one value per token of a context."""

from __future__ import annotations

from collections.abc import Mapping

from latentese.records import Context


def spread_over_tokens(expected: Mapping[int, float], context: Context) -> tuple[float, ...]:
    """Give each token a value: 0 where nothing counts; the rest of a split character takes its first token's."""
    values: list[float] = []
    for position, token in enumerate(context.tokens):
        rest_of_character = not token and context.keep[position] and bool(values)
        values.append(values[-1] if rest_of_character else expected.get(position, 0.0))
    return tuple(values)
