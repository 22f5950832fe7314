"""Tables in Markdown, for pages that are read as text too."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], is_escaped: bool = False) -> str:
    """Write a table; a bar within a cell is escaped, unless the cells are."""
    cells = rows if is_escaped else [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [list(columns), ["---"] * len(columns), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number_text(value: float | None) -> str:
    """Write a number with four digits; a dash where there is none."""
    return "-" if value is None else f"{value:.4g}"
