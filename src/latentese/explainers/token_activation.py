"""Ask a language model what a unit's strongest tokens have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from latentese.errors import AnswerError, SettingError
from latentese.explainers.answer import read_reply
from latentese.explainers.base import explanation_id
from latentese.explainers.rendering import MarkedExcerpts, Rendering
from latentese.explainers.selection import Choice, ExampleChoice
from latentese.lm.protocol import Chat, Reply, Request
from latentese.records import Example, Explanation, Unit, Usage


@dataclass(frozen=True)
class TokenActivationExplainer:
    """One question per unit: its examples with the strongest tokens made visible, answered in one phrase."""

    chat: Chat
    name: str = "token_activation"
    rendering: Rendering = field(default_factory=MarkedExcerpts)
    choice: Choice = field(default_factory=ExampleChoice)
    max_words: int = 30
    """Longer answers count as failed."""
    max_tokens: int = 48
    temperature: float = 0.0
    sample_idx: int = 0
    """Numbers independent samples of one question, at a temperature above 0."""

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise SettingError("max_words", self.max_words, "at least 1")
        if self.max_tokens < 1:
            raise SettingError("max_tokens", self.max_tokens, "at least 1")
        if self.temperature < 0:
            raise SettingError("temperature", self.temperature, "0 (the likeliest answer) or more")

    def sample(self, sample_idx: int, temperature: float) -> Self:
        """Give the same explainer drawing another sample of each answer."""
        return replace(self, sample_idx=sample_idx, temperature=temperature)

    async def explain(self, unit: Unit, examples: Sequence[Example]) -> Explanation:
        """Explain `unit`; a unit without a firing example, or an unusable answer, gives `text=None` and `error`."""
        shown = self.choice.of(examples)
        text, error, usage = None, None, Usage()
        try:
            reply = await self._ask(shown)
            usage = reply.usage
            text = read_reply(reply, self.rendering.prompt.answer, self.max_words)
        except AnswerError as problem:
            error = str(problem)
        return Explanation(
            explanation=explanation_id(unit.unit, self.name, 0),
            unit=unit.unit,
            explainer=self.name,
            revision=0,
            text=text,
            model=self.chat.name,
            prompt_sha256=self.rendering.prompt.sha256,
            examples=tuple(example.context.context for example in shown),
            error=error,
            usage=usage,
        )

    async def _ask(self, shown: Sequence[Example]) -> Reply:
        if not shown:
            raise AnswerError("no example in which the unit fires")
        messages = self.rendering.prompt.messages(self.rendering.render(shown))
        n_shared = len(self.rendering.prompt.shared)
        return await self.chat.complete(
            Request(messages, self.max_tokens, self.temperature, ("\n",), self.sample_idx, n_shared)
        )
