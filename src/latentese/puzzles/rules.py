"""What a unit of a puzzle fires on, as regular expressions: activations follow from the text alone."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from latentese.errors import SettingError

TOKEN = re.compile(r"\n| ?[^\W\d_]+| ?\d| ?[^\w\s]| ?_|[^\S\n]+(?!\S)|\s")
"""A word, a digit, a sign, each with the space before it; a line break; what is left of white space."""


@dataclass(frozen=True)
class Rule:
    """A unit fires with `act` on every token that the pattern touches: its group where it has one, else all of it."""

    on: str
    """A regular expression over the whole text; what stands around the group is looked at and does not fire."""
    act: float

    def __post_init__(self) -> None:
        try:
            n_groups = self.pattern.groups
        except re.error as error:
            raise SettingError("fires.on", self.on, f"a regular expression ({error})") from error
        if n_groups > 1:
            raise SettingError("fires.on", self.on, "a pattern with one group at most: write others (?:so)")
        if not 0 < self.act < math.inf:
            raise SettingError("fires.act", self.act, "a number above 0")

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The pattern, compiled."""
        return re.compile(self.on)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Characters [start, stop) on which the unit fires."""
        found = (match.span(self.pattern.groups) for match in self.pattern.finditer(text))
        return [(start, stop) for start, stop in found if start < stop]


def cut(text: str) -> tuple[str, ...]:
    """Cut a text into tokens much as byte-pair tokenizers do; joined, they are the text again."""
    return tuple(TOKEN.findall(text))


def activations(tokens: Sequence[str], rules: Sequence[Rule]) -> tuple[float, ...]:
    """Activation of each token: the largest of the rules that touch it, 0 if none does.

    A space before a word belongs to its token and is not a touch.
    """
    spans = [(*span, rule.act) for rule in rules for span in rule.spans("".join(tokens))]
    acts: list[float] = []
    end = 0
    for token in tokens:
        start, end = end, end + len(token)
        word = start + len(token) - len(token.lstrip()) if token.strip() else start
        acts.append(max((act for low, high, act in spans if low < end and high > word), default=0.0))
    return tuple(acts)
