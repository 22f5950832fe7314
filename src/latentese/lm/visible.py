"""Texts from outside, made to fit one line of a prompt."""

from __future__ import annotations

MAX_EXPLANATION = 400
"""Characters of an explanation that are shown."""


def visible(text: str) -> str:
    """Escape everything that does not print: a tab becomes a backslash and a t."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(explanation: str) -> str:
    """Show an explanation on one line, cut at `MAX_EXPLANATION` characters."""
    return visible(" ".join(explanation.split()))[:MAX_EXPLANATION]
