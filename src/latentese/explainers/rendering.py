"""How a unit's examples are written into a prompt: excerpts with marks, or a line per token with its value.

Tokens come from outside. In a prompt each stays on its line, and cannot write marks, columns or control tokens. A
character that is split over tokens is written once, with what the unit does on any of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

from latentese.errors import SettingError
from latentese.explainers.prompt import ExplainPrompt
from latentese.explainers.worked import MARKED_PROMPT, VALUES_PROMPT
from latentese.patterns.characters import shown_acts
from latentese.records import Example

N_LEVELS = 10
MAX_COUNTED = 40
"""Characters shown of a marked text on the last line."""
SPARSE_SHARE = 0.2
"""Below this share of non-zero values, the lines with a value are repeated alone."""


class Rendering(Protocol):
    """Writes examples for a prompt that explains this way of writing them."""

    @property
    def prompt(self) -> ExplainPrompt:
        """The prompt whose worked units are written in the same way."""
        ...

    def render(self, examples: Sequence[Example]) -> str:
        """Write the examples of one unit, at least one of which fires."""
        ...


@dataclass(frozen=True)
class Window:
    """Tokens kept around an example's strongest one."""

    n_before: int = 15
    n_after: int = 8

    def __post_init__(self) -> None:
        if self.n_before < 0 or self.n_after < 0:
            raise SettingError("window", (self.n_before, self.n_after), "0 or more tokens on each side")

    def of(self, example: Example) -> range:
        """Positions kept of an example."""
        acts = shown_acts(example)
        peak = max(acts, key=acts.__getitem__, default=0)
        return range(max(0, peak - self.n_before), min(len(example.acts), peak + self.n_after + 1))


@dataclass(frozen=True)
class MarkedExcerpts:
    """One line per example, the strongest tokens marked <<so>>, neighbours merged; then what is marked, counted.

    The last line keeps a small model with the unit at hand: without it, a 1.5B model gave six of eight real latents
    the explanation of a worked unit.
    """

    prompt: ExplainPrompt = MARKED_PROMPT
    window: Window = field(default_factory=Window)
    min_share: float = 0.4
    """Tokens with at least this share of their example's largest activation are marked."""
    n_counted: int = 8
    """Marked texts on the last line, the most frequent."""

    def __post_init__(self) -> None:
        if not 0 < self.min_share <= 1:
            raise SettingError("min_share", self.min_share, "above 0, at most 1: more than that marks nothing")
        if self.n_counted < 1:
            raise SettingError("n_counted", self.n_counted, "at least 1")

    def render(self, examples: Sequence[Example]) -> str:
        """Write one excerpt per line, and the line of marked texts."""
        marked = Counter(
            _shorten(pieces[i + 1])
            for pieces in map(self._pieces, examples)
            for i, piece in enumerate(pieces)
            if piece == "<<"
        )
        counts = ", ".join(f"{text} ({n})" for text, n in marked.most_common(self.n_counted))
        return "\n".join([*map(self.excerpt, examples), f"Marked: {counts}"])

    def excerpt(self, example: Example) -> str:
        """Write one example as one line, with its marks."""
        return f"- {_join(self._pieces(example)).strip()}"

    def _pieces(self, example: Example) -> list[str]:
        acts = shown_acts(example)
        least = self.min_share * max(acts.values(), default=0.0)
        marked = {position: act > 0 and act >= least for position, act in acts.items()}
        shown = [position for position in self.window.of(example) if position in acts]
        pieces: list[str] = []
        for is_marked, run in groupby(shown, key=marked.__getitem__):
            text = plain("".join(example.context.tokens[position] for position in run))
            pieces += _mark(text) if is_marked else [text]
        return pieces


def _mark(text: str) -> list[str]:
    """Put marks around a text; spaces before its words stay outside, as a person would write."""
    words = text.lstrip(" ") or text
    return [text.removesuffix(words), "<<", words, ">>"]


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_COUNTED else f"{text[:MAX_COUNTED]}…"


_NEVER_JOINED = {"<<", "<>", "><", ">>", "<|", "|>"}


def _join(pieces: Sequence[str]) -> str:
    """Join marks and texts so that no text lengthens a mark, or makes a chat template's marker together with it."""
    joined = ""
    for piece in pieces:
        joined += f" {piece}" if joined[-1:] + piece[:1] in _NEVER_JOINED else piece
    return joined


@dataclass(frozen=True)
class TokenValues:
    """One line `token<TAB>level` per token, levels 0-10, as in the 2023 paper.

    level = floor(10 * relu(act) / M), M = the largest activation over all examples shown
    """

    prompt: ExplainPrompt = VALUES_PROMPT
    window: Window = field(default_factory=lambda: Window(32, 32))

    def render(self, examples: Sequence[Example]) -> str:
        """Write the lines of each example between <start> and <end>, and those above 0 once more if they are few."""
        largest = max(max(shown_acts(example).values(), default=0.0) for example in examples)
        texts = [list(self._lines(example, largest)) for example in examples]
        shown = "\n".join("\n".join(["<start>", *(line for line, _ in lines), "<end>"]) for lines in texts)
        firing = [line for lines in texts for line, level in lines if level > 0]
        if len(firing) < SPARSE_SHARE * sum(len(lines) for lines in texts):
            shown += "\nTokens above 0 again:\n" + "\n".join(firing)
        return shown

    def _lines(self, example: Example, largest: float) -> Iterator[tuple[str, int]]:
        acts = shown_acts(example)
        for position in self.window.of(example):
            if position in acts:
                level = scale_level(acts[position], largest)
                yield f"{plain(example.context.tokens[position])}\t{level}", level


def scale_level(act: float, largest: float) -> int:
    """Activation on the scale 0-10: `floor(10 * relu(act) / largest)`, 0 if nothing fires."""
    return min(N_LEVELS, int(N_LEVELS * max(act, 0.0) / largest)) if largest > 0 else 0


def plain(text: str) -> str:
    """Text on one line that holds no mark, no column and no chat-template marker of its own."""
    visible = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    visible = "".join(char if char.isprintable() else "�" for char in visible)
    visible = re.sub(" {3,}", "  ", visible)  # indentation says little and costs much
    for mark in ("<<", ">>", "<|", "|>"):
        while mark in visible:
            visible = visible.replace(mark, f"{mark[0]} {mark[1]}")
    return visible
