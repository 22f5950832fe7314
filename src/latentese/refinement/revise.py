"""The revision arm: show an explanation's counterexamples to a language model and ask for a better explanation."""

from __future__ import annotations

from dataclasses import dataclass, field

from latentese.errors import AnswerError, SettingError
from latentese.explainers.answer import read_reply
from latentese.explainers.base import explanation_id
from latentese.explainers.prompt import ExplainPrompt
from latentese.explainers.rendering import MarkedExcerpts, Window
from latentese.lm.protocol import Chat, Reply, Request
from latentese.records import Explanation, Unit, Usage
from latentese.refinement.base import Evidence, Shown, contexts_of
from latentese.refinement.prompt import REVISION_PROMPT, render_evidence


@dataclass(frozen=True)
class Reviser:
    """One question per unit and round: the explanation, some of the original examples, the counterexamples."""

    chat: Chat
    name: str = "revision"
    prompt: ExplainPrompt = REVISION_PROMPT
    rendering: MarkedExcerpts = field(default_factory=lambda: MarkedExcerpts(window=Window(10, 5)))
    n_originals: int = 5
    max_words: int = 30
    """Longer answers count as failed."""
    max_tokens: int = 48
    temperature: float = 0.0

    def __post_init__(self) -> None:
        if self.n_originals < 1:
            raise SettingError("n_originals", self.n_originals, "at least 1")

    def shows(self, evidence: Evidence) -> Shown:
        """Name the counterexamples of both kinds."""
        found = evidence.counterexamples
        return Shown(contexts_of(found, "false_positive"), contexts_of(found, "false_negative"))

    async def propose(self, unit: Unit, parent: Explanation, evidence: Evidence, revision: int) -> Explanation:
        """Revise `parent`; an unusable answer gives `text=None` and `error`."""
        text, error, usage = None, None, Usage()
        try:
            reply = await self._ask(parent, evidence)
            usage = reply.usage
            text = read_reply(reply, self.prompt.answer, self.max_words)
        except AnswerError as problem:
            error = str(problem)
        originals = [example.context.context for example in evidence.originals[: self.n_originals]]
        found = [item.example.context.context for item in evidence.counterexamples]
        return Explanation(
            explanation=explanation_id(unit.unit, self.name, revision),
            unit=unit.unit,
            explainer=self.name,
            revision=revision,
            text=text,
            model=self.chat.name,
            prompt_sha256=self.prompt.sha256,
            # Texts from outside the study have negative numbers, and stand in the decision.
            examples=(*originals, *(context for context in found if context >= 0)),
            parent=parent.explanation,
            error=error,
            usage=usage,
        )

    async def _ask(self, parent: Explanation, evidence: Evidence) -> Reply:
        shown = render_evidence(parent.text or "", evidence, self.n_originals, self.rendering)
        messages = self.prompt.messages(shown)
        return await self.chat.complete(
            Request(messages, self.max_tokens, self.temperature, ("\n",), n_shared=len(self.prompt.shared))
        )
