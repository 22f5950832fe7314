"""Sentences that a language model writes from an explanation, to see on which of them the unit does not fire."""

from __future__ import annotations

import re
from dataclasses import dataclass

from latentese.errors import AnswerError, SettingError
from latentese.explainers.prompt import ExplainPrompt, Worked
from latentese.lm.protocol import Chat, Reply, Request
from latentese.refinement.prompt import one_line

SENTENCES_PROMPT = ExplainPrompt(
    system=(
        "A neuron of a language model reacts to some words in text. You see a description of what it reacts to, and "
        "write short, varied sentences that contain it, as they might stand in books or on web pages. One numbered "
        "sentence per line, and nothing else."
    ),
    worked=(
        Worked(
            "Description: bowed string instruments",
            "1. He tuned the old violin before dinner.\n"
            "2. A cello stood in the corner of the hall.\n"
            "3. Nobody had played that viola since the war.",
        ),
    ),
    answer="Sentences:",
)
_NUMBERED = re.compile(r"\s*\d{1,2}[.)]\s+(\S.*)")


@dataclass(frozen=True)
class SentenceWriter:
    """One question per explanation. A model's words are untrusted: only numbered lines of bounded length count."""

    chat: Chat
    prompt: ExplainPrompt = SENTENCES_PROMPT
    n_sentences: int = 10
    max_chars: int = 200
    """Longer sentences are left out."""
    max_tokens: int = 300
    temperature: float = 0.0

    def __post_init__(self) -> None:
        for name in ("n_sentences", "max_chars", "max_tokens"):
            if getattr(self, name) < 1:
                raise SettingError(f"writer.{name}", getattr(self, name), "at least 1")

    async def ask(self, description: str) -> Reply:
        """Have sentences written; raises AnswerError when the model does not answer."""
        question = f"Description: {one_line(description)}\nWrite {self.n_sentences} sentences."
        messages = self.prompt.messages(question)
        return await self.chat.complete(
            Request(messages, self.max_tokens, self.temperature, (), n_shared=len(self.prompt.shared))
        )

    def read(self, reply: Reply) -> list[str]:
        """Read distinct sentences from a reply; the last line of one that was cut off does not count.

        Raises AnswerError when no line is a usable sentence.
        """
        lines = reply.text.splitlines()
        if reply.finish != "stop":
            lines = lines[:-1]
        matches = (_NUMBERED.fullmatch(line) for line in lines)
        cleaned = (" ".join(match[1].split()).strip('"“”') for match in matches if match)
        usable = [text for text in cleaned if self._is_usable(text)]
        if not usable:
            raise AnswerError("no numbered sentence in the answer")
        return list(dict.fromkeys(usable))[: self.n_sentences]

    def _is_usable(self, text: str) -> bool:
        return len(text) <= self.max_chars and text.isprintable() and any(char.isalnum() for char in text)
