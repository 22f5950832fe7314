"""Expect a unit to fire on the tokens that its explanation makes likelier: one reading, no digits, any model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentese.errors import AnswerError
from latentese.lm.protocol import Message, TextReader, TextReply, TextRequest
from latentese.lm.together import reply_all
from latentese.lm.usage import spent_on
from latentese.lm.visible import one_line
from latentese.records import Context, Explanation, Simulation, Usage
from latentese.simulators.base import require_probabilities

Floats = NDArray[np.float64]

TOLD = "The following passage contains {explanation}.\n\nPassage:"
UNTOLD = "The following passage is a part of a longer text.\n\nPassage:"


@dataclass(frozen=True)
class LogprobGainSimulator:
    """How much the explanation raises the log-probability of each token that stands in the text.

        expected(token) = max(0, ln P(token | told, text before it) - ln P(token | untold, text before it))

    Told is that the passage contains what the explanation says; untold says nothing. What a model reads is cut by its
    own tokenizer: the gain of each of its tokens is spread evenly over the characters of that token, and a token of the
    subject has what lies on its own characters. Each text is read once per explanation, behind a beginning that
    is read once for all texts, and once untold for all explanations (with a cached model).
    """

    reader: TextReader
    name: str = "logprob_gain"

    def __post_init__(self) -> None:
        require_probabilities("reader", self.reader, "token_logprobs")

    def reads(self, explanation: Explanation) -> bool:
        """Any explanation in words."""
        return explanation.is_in_words

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        """Simulate the contexts concurrently, one question each."""
        told = TOLD.format(explanation=one_line(explanation.text or ""))
        return list(await asyncio.gather(*(self._simulate(told, context) for context in contexts)))

    async def _simulate(self, told: str, context: Context) -> Simulation:
        if not context.text:
            return Simulation(context.context, (0.0,) * len(context.tokens))
        usage = Usage()
        try:
            replies = await reply_all(self._read(beginning, context) for beginning in (told, UNTOLD))
            usage = replies[0].usage + replies[1].usage
            with_it, without = (per_character(reply, len(context.text)) for reply in replies)
        except AnswerError as error:
            return Simulation(context.context, None, str(error), usage + spent_on(error))
        gains = np.round(np.maximum(per_token(with_it - without, context.tokens), 0.0), 6)
        counted = np.where(context.keep, gains, 0.0)
        return Simulation(context.context, tuple(map(float, counted)), usage=usage)

    async def _read(self, beginning: str, context: Context) -> TextReply:
        messages = (Message("user", beginning), Message("assistant", context.text))
        return await self.reader.token_logprobs(TextRequest(messages, n_shared=1))


def per_character(reply: TextReply, n_characters: int) -> Floats:
    """Spread each token's log-probability evenly over its characters: [n_characters]."""
    lengths = np.diff((0, *reply.ends))
    if not reply.ends or reply.ends[-1] != n_characters or len(reply.logprobs) != len(lengths) or lengths.min() < 1:
        raise AnswerError(f"log-probabilities of tokens that do not spell a text of {n_characters} characters")
    if not np.isfinite(reply.logprobs).all():
        raise AnswerError("log-probabilities that are no numbers")
    return np.repeat(np.asarray(reply.logprobs, dtype=np.float64) / lengths, lengths)


def per_token(of_characters: Floats, tokens: Sequence[str]) -> Floats:
    """Add up what lies on each token's characters [n_tokens]; the rest of a split character has its first token's."""
    values: list[float] = []
    start = 0
    for token in tokens:
        end = start + len(token)
        values.append(float(of_characters[start:end].sum()) if token or not values else values[-1])
        start = end
    return np.array(values, dtype=np.float64)
