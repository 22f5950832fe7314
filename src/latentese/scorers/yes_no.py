"""What scorers have in common that ask of texts whether an explanation holds there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from latentese.errors import AnswerError
from latentese.records import Explanation, Verdict
from latentese.scorers.questions import YesNo, YesNoPrompt


@dataclass(frozen=True)
class YesNoScorer:
    """Asks a language model yes-or-no questions about an explanation; a failed one is a verdict without an answer."""

    lm: Any
    name: str
    prompt: YesNoPrompt
    answers: str = "probabilities"
    """How a yes is read: see `questions.YesNo`."""

    def __post_init__(self) -> None:
        self._asks  # noqa: B018  (refuses a language model that cannot answer)

    def reads(self, explanation: Explanation) -> bool:
        """Any explanation in words."""
        return explanation.is_in_words

    async def _verdict(self, explanation: Explanation, context: int, truth: bool, text: str) -> Verdict:
        """Ask about the text of a context. text: one line, escaped."""
        try:
            return Verdict(context, truth, await self._asks.ask(explanation.text or "", text))
        except AnswerError as error:
            return Verdict(context, truth, None, str(error))

    @property
    def _asks(self) -> YesNo:
        return YesNo(self.lm, self.prompt, self.answers)
