"""All-at-once simulation from next-token probabilities (after Bills et al. 2023): a text is read once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentese.errors import AnswerError
from latentese.lm.protocol import Marker, MarkRequest
from latentese.lm.together import reply_all
from latentese.lm.usage import spent_on
from latentese.records import Context, Explanation, Simulation, Usage
from latentese.simulators.alignment import spread_over_tokens
from latentese.simulators.base import require_probabilities
from latentese.simulators.digits import DIGITS, digit_table
from latentese.simulators.prompts import NO_EXPLANATION, shared_messages, unit_messages


@dataclass(frozen=True)
class AllAtOnceSimulator:
    """Shows the whole text, every activation unknown, and reads at each token how likely the digits are there.

        digits(token | e) = sum over d of d * P(d | e, text up to the token), d in 0..9
        expected(token)   = max(0, ln digits(token | explanation) - ln digits(token | no explanation))

    A small model all but knows that `unknown` comes next, and what is left on the digits says first of all which
    token stands there: after a number it repeats the number. Only against the same text without an explanation does
    it tell what the explanation did. Hence no renormalising over the digits, as 2023 had it for a far larger model.

    The text is read twice per context, without an explanation only once for all units (with a cached model); the
    task and the worked examples are the same for all and read once in all.
    """

    marker: Marker
    name: str = "all_at_once"

    def __post_init__(self) -> None:
        require_probabilities("marker", self.marker, "next_token_logprobs")

    def reads(self, explanation: Explanation) -> bool:
        """Any explanation in words."""
        return explanation.is_in_words

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        """Simulate the contexts concurrently, two questions each: with the explanation and without any."""
        return list(await asyncio.gather(*(self._simulate(explanation.text or "", context) for context in contexts)))

    async def _simulate(self, explanation: str, context: Context) -> Simulation:
        shown = [position for position, token in enumerate(context.tokens) if token]
        asked = [position for position in shown if context.keep[position]]
        if not asked:
            return Simulation(context.context, (0.0,) * len(context.tokens))
        requests = [_request(text, context, shown) for text in (explanation, NO_EXPLANATION)]
        usage = Usage()
        try:
            replies = await reply_all(self.marker.next_token_logprobs(request) for request in requests)
            usage = replies[0].usage + replies[1].usage
            told, untold = (log_expected_digits(reply.logprobs, len(asked)) for reply in replies)
        except AnswerError as error:
            return Simulation(context.context, None, str(error), usage + spent_on(error))
        gains = np.round(np.maximum(told - untold, 0.0), 6)
        expected = spread_over_tokens(dict(zip(asked, map(float, gains), strict=True)), context)
        return Simulation(context.context, expected, usage=usage)


def log_expected_digits(logprobs: Sequence[Sequence[float]], n_marks: int) -> np.ndarray:
    """Take ln(sum of d * P(d)) at each mark [n_marks], what is not a digit counting as 0: logprobs [n_marks][10]."""
    table = digit_table(logprobs, n_marks)
    if np.isnan(table).any():
        raise AnswerError("log-probabilities that are no numbers")
    log_sum: np.ndarray = np.logaddexp.reduce(table[:, 1:] + np.log(np.arange(1, len(DIGITS))), axis=1)
    if not np.isfinite(log_sum).all():
        raise AnswerError("no probability on any digit above 0")
    return log_sum


def _request(explanation: str, context: Context, shown: Sequence[int]) -> MarkRequest:
    """Ask at every shown token that counts."""
    messages, marks = unit_messages(explanation, [context.tokens[position] for position in shown])
    shared = shared_messages()
    asked = tuple(mark for position, mark in zip(shown, marks, strict=True) if context.keep[position])
    return MarkRequest(shared + messages, asked, DIGITS, n_shared=len(shared))
