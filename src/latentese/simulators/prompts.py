"""The all-at-once prompt: one token per line with its activation, or with a mark where the activation is not known.

Texts and explanations come from outside. A token fills one line whatever is in it: what does not print is escaped,
so no tab or newline of a token can end its line, and an explanation is one line too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from latentese.lm.protocol import Message
from latentese.lm.visible import one_line, visible

UNKNOWN = "unknown"
NO_EXPLANATION = "(no explanation)"

TASK = (
    "We study neurons of a language model. Each neuron reacts to some particular thing in a text. For every neuron we "
    "give an explanation of what it reacts to, then a text, one token per line: the token, a tab, and the neuron's "
    "activation there, a whole number from 0 to 9. Most activations are 0. Where we hide an activation, the line says "
    "unknown."
)


class Worked(NamedTuple):
    """A worked example: the activations before `n_unknown` stay hidden, the others are revealed."""

    explanation: str
    n_unknown: int
    lines: tuple[tuple[str, int], ...]


WORKED = (
    Worked(
        "boats and ships",
        6,
        (
            ("The", 0), (" old", 0), (" ferry", 9), (" left", 1), (" the", 0), (" harbour", 3), (" at", 0),
            (" dawn", 0), (",", 0), (" and", 0), (" two", 0), (" fishing", 3), (" boats", 9), (" followed", 0),
            (" it", 1), (" past", 0), (" the", 0), (" light", 1), ("house", 1), (".", 0), (" Nobody", 0),
            (" on", 0), (" the", 0), (" hill", 0), (" was", 0), (" awake", 0), (".", 0),
        ),
    ),
    Worked(
        "the number after a currency sign",
        3,
        (
            ("Tickets", 0), (" cost", 0), (" $", 2), ("14", 9), (" for", 0), (" adults", 0), (" and", 0),
            (" $", 2), ("6", 9), (" for", 0), (" the", 0), (" 30", 0), (" children", 0), (" of", 0),
            (" class", 0), (" 4", 0), (";", 0), (" lunch", 0), (" was", 0), (" £", 2), ("3", 9), (".", 0),
        ),
    ),
    Worked(
        "words of anger",
        8,
        (
            ("She", 0), (" cut", 0), (" the", 0), (" bread", 0), (",", 0), (" poured", 0), (" some", 0),
            (" tea", 0), (" and", 0), (" waited", 0), (" by", 0), (" the", 0), (" window", 0), (".", 0),
            ("\\n", 0), ("It", 0), (" rained", 0), (" until", 0), (" noon", 0), (".", 0),
        ),
    ),
)  # fmt: skip


def shared_messages() -> tuple[Message, ...]:
    """Return what every question begins with: the task and the worked examples, nothing of any unit."""
    parts = [TASK]
    for number, worked in enumerate(WORKED, 1):
        lines = [
            f"{token}\t{UNKNOWN if i < worked.n_unknown else act}\n" for i, (token, act) in enumerate(worked.lines)
        ]
        parts.append(f"{_opening(number, worked.explanation)}{''.join(lines)}<end>")
    return (Message("user", "\n\n".join(parts)),)


def unit_messages(explanation: str, tokens: Sequence[str]) -> tuple[tuple[Message], tuple[int, ...]]:
    """Ask about one text; also returns, of each token, where in the message its activation would stand."""
    lines = [_opening(len(WORKED) + 1, explanation)]
    marks: list[int] = []
    offset = len(lines[0])
    for token in tokens:
        shown = f"{visible(token)}\t"
        marks.append(offset + len(shown))
        lines.append(f"{shown}{UNKNOWN}\n")
        offset += len(lines[-1])
    # The answer itself holds explanation and text, next to each other: the model continues what the task began.
    return (Message("assistant", "".join(lines)),), tuple(marks)


def _opening(number: int, explanation: str) -> str:
    return f"Neuron {number}\nExplanation: the neuron reacts to {one_line(explanation)}\nActivations:\n<start>\n"
