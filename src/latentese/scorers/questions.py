"""Yes-or-no questions to a language model, as data: every word of them can be replaced in the configuration."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from latentese.errors import AnswerError, SettingError
from latentese.lm.protocol import MarkRequest, Message, Request
from latentese.lm.visible import one_line

ANSWERS = (" yes", " no")
_ANSWER = "Answer:"


@dataclass(frozen=True)
class WorkedQuestion:
    """A question with its answer."""

    explanation: str
    text: str
    yes: bool


@dataclass(frozen=True)
class YesNoPrompt:
    """System text, worked questions, and the question of which explanation and text are put into their places."""

    system: str
    worked: Sequence[WorkedQuestion] = field(default_factory=tuple)
    question: str = "Explanation: {explanation}\nText: {text}"

    def __post_init__(self) -> None:
        for part in ("{explanation}", "{text}"):
            if self.question.count(part) != 1:
                raise SettingError("prompt.question", self.question, f"a text with {part} in it once")

    @cached_property
    def shared(self) -> tuple[Message, ...]:
        """The messages that are the same for all questions."""
        messages = [Message("system", self.system)]
        for worked in self.worked:
            answer = ANSWERS[0] if worked.yes else ANSWERS[1]
            messages += [self._asked(worked.explanation, worked.text), Message("assistant", _ANSWER + answer)]
        return tuple(messages)

    def messages(self, explanation: str, text: str) -> tuple[Message, ...]:
        """Ask one question; all messages but the last two are shared. text: one line, escaped."""
        return (*self.shared, self._asked(explanation, text), Message("assistant", _ANSWER))

    def _asked(self, explanation: str, text: str) -> Message:
        # In one pass, and not by str.format: braces in a corpus or an explanation are text.
        parts = {"{explanation}": one_line(explanation), "{text}": text}
        return Message("user", re.sub("|".join(map(re.escape, parts)), lambda found: parts[found[0]], self.question))


@dataclass(frozen=True)
class YesNo:
    """Asks a language model, and reads how far its answer is a yes."""

    lm: Any
    """A `Marker` for `probabilities`, a `Chat` for `text`."""
    prompt: YesNoPrompt
    answers: str
    """`probabilities`: P(yes) / (P(yes) + P(no)) of the next token; `text`: 1 or 0, from the answer's first word."""

    def __post_init__(self) -> None:
        needed = {"probabilities": "next_token_logprobs", "text": "complete"}
        if self.answers not in needed:
            raise SettingError("answers", self.answers, f"one of {', '.join(needed)}")
        if not hasattr(self.lm, needed[self.answers]):
            raise SettingError("lm", type(self.lm).__name__, f"a language model that gives {self.answers}")

    async def ask(self, explanation: str, text: str) -> float:
        """Ask about one text; raises AnswerError when there is no usable answer."""
        messages, n_shared = self.prompt.messages(explanation, text), len(self.prompt.shared)
        if self.answers == "probabilities":
            reply = await self.lm.next_token_logprobs(MarkRequest(messages, (len(_ANSWER),), ANSWERS, n_shared))
            return share_of_yes(reply.logprobs)
        reply = await self.lm.complete(Request(messages, max_tokens=4, n_shared=n_shared))
        return read_yes_no(reply.text)


def share_of_yes(logprobs: Sequence[Sequence[float]]) -> float:
    """P(yes) / (P(yes) + P(no)) from logprobs [1][2]; raises AnswerError where neither has a probability."""
    if [len(row) for row in logprobs] != [len(ANSWERS)] or any(math.isnan(value) for value in logprobs[0]):
        raise AnswerError(f"log-probabilities {logprobs!r:.60} are not of yes and no")
    yes, no = logprobs[0]
    if max(yes, no) == -math.inf:
        raise AnswerError("no probability on yes or no")
    return 1 / (1 + math.exp(min(no - yes, 700.0)))


def read_yes_no(answer: str) -> float:
    """1 for an answer that begins with yes, 0 for no; raises AnswerError for any other."""
    word = next(iter(re.findall(r"[a-z]+", answer.lower())), "")
    if word not in {"yes", "no"}:
        raise AnswerError(f"neither yes nor no: {answer[:40]!r}")
    return float(word == "yes")
