"""All-at-once simulation from next-token probabilities (after Bills et al. 2023): a text is read once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentese.errors import AnswerError
from latentese.lm.protocol import Marker, MarkRequest
from latentese.records import Context, Explanation, Simulation
from latentese.simulators.prompts import shared_messages, unit_messages

DIGITS = tuple("0123456789")
"""Single digits: many tokenizers have no single token for '10'."""


@dataclass(frozen=True)
class AllAtOnceSimulator:
    """Shows the whole text, every activation unknown, and reads at each token which digit the model expects there.

        expected(token) = sum over d of d * P(d) / sum over d of P(d),  d in 0..9

    The text is read once per context; the task and the worked examples are the same for all and read once in all.
    """

    marker: Marker
    name: str = "all_at_once"

    def reads(self, explanation: Explanation) -> bool:
        """Any explanation in words."""
        return bool(explanation.text and explanation.text.strip())

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        """Simulate the contexts concurrently, one question each."""
        return list(await asyncio.gather(*(self._simulate(explanation.text or "", context) for context in contexts)))

    async def _simulate(self, explanation: str, context: Context) -> Simulation:
        shown = [position for position, token in enumerate(context.tokens) if token]
        asked = [position for position in shown if context.keep[position]]
        if not asked:
            return Simulation(context.context, (0.0,) * len(context.tokens))
        messages, marks = unit_messages(explanation, [context.tokens[position] for position in shown])
        mark_at = dict(zip(shown, marks, strict=True))
        shared = shared_messages()
        request = MarkRequest(
            messages=shared + messages,
            marks=tuple(mark_at[position] for position in asked),
            candidates=DIGITS,
            n_shared=len(shared),
        )
        try:
            reply = await self.marker.next_token_logprobs(request)
            expected = dict(zip(asked, expected_digits(reply.logprobs, len(asked)), strict=True))
        except AnswerError as error:
            return Simulation(context.context, None, str(error))
        return Simulation(context.context, _spread(expected, context))


def expected_digits(logprobs: Sequence[Sequence[float]], n_marks: int) -> list[float]:
    """Take the expected digit at each mark, after renormalising over the digits: logprobs [n_marks][10]."""
    table = np.asarray(logprobs, dtype=np.float64)
    if table.shape != (n_marks, len(DIGITS)):
        raise AnswerError(f"log-probabilities of shape {table.shape}, expected {(n_marks, len(DIGITS))}")
    highest = table.max(axis=1, keepdims=True)
    if not np.isfinite(highest).all():
        raise AnswerError("no probability on any digit")
    weights = np.exp(table - highest)
    expected = weights @ np.arange(len(DIGITS)) / weights.sum(axis=1)
    return [float(value) for value in np.round(expected, 6)]


def _spread(expected: dict[int, float], context: Context) -> tuple[float, ...]:
    """Give each token a value: 0 where nothing counts; the rest of a split character takes its first token's."""
    values: list[float] = []
    for position, token in enumerate(context.tokens):
        rest_of_character = not token and context.keep[position] and bool(values)
        values.append(values[-1] if rest_of_character else expected.get(position, 0.0))
    return tuple(values)
