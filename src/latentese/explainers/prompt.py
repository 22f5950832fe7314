"""The explainer's prompt as data: system text, worked units, question and how answers begin can be replaced in conf/.

The few words between a unit's excerpts, such as `Marked:`, belong to how they are rendered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

from latentese.errors import SettingError
from latentese.lm.protocol import Message
from latentese.store.files import sha256_json


@dataclass(frozen=True)
class Worked:
    """A worked unit: what is shown of it, as its rendering writes it, and the explanation."""

    shown: str
    explanation: str


@dataclass(frozen=True)
class ExplainPrompt:
    """System text, worked units, and for each unit a question whose answer continues a given beginning."""

    system: str
    worked: Sequence[Worked] = field(default_factory=tuple)
    question: str = "{shown}"
    """What the user says of a unit; `{shown}` stands for its rendered examples."""
    answer: str = "Fires on:"
    """How each answer begins; a space follows."""

    def __post_init__(self) -> None:
        if self.question.count("{shown}") != 1:
            raise SettingError("prompt.question", self.question, "a text with {shown} in it once")
        if not self.answer.strip():
            raise SettingError("prompt.answer", self.answer, "some words with which every answer begins")

    @cached_property
    def shared(self) -> tuple[Message, ...]:
        """The messages that are the same for every unit."""
        messages = [Message("system", self.system)]
        for worked in self.worked:
            messages += self._turn(worked.shown, f"{self.answer} {worked.explanation}")
        return tuple(messages)

    @cached_property
    def sha256(self) -> str:
        """Hash of all its words; those of the rendering, which writes the examples, are not among them."""
        return sha256_json({**asdict(self), "worked": [asdict(worked) for worked in self.worked]})

    def messages(self, shown: str) -> tuple[Message, ...]:
        """Ask about one unit; all messages but the last two are shared."""
        return (*self.shared, *self._turn(shown, self.answer))

    def _turn(self, shown: str, answer: str) -> tuple[Message, Message]:
        # Not str.format: braces in a corpus are text.
        return Message("user", self.question.replace("{shown}", shown)), Message("assistant", answer)
