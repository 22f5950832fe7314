"""Tables in Markdown, for pages that are read as text too."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from latentese.report.visible import visible


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], is_escaped: bool = False) -> str:
    """Write a table. Nothing in a cell is markup; with `is_escaped`, what is untrusted in it has been made `plain`."""
    table = [columns, *rows]
    head, *cells = table if is_escaped else [[plain(cell) for cell in row] for row in table]
    lines = [head, ["---"] * len(columns), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(text: str) -> str:
    """Make untrusted text safe in Markdown: visible, and nothing in it is markup."""
    return re.sub(r"([\\`*_\[\]#|~])", r"\\\1", html.escape(visible(text), quote=False))


def number_text(value: float | None) -> str:
    """Write a number with four digits; a dash where there is none."""
    return "-" if value is None else f"{value:.4g}"
