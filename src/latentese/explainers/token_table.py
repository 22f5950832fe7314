"""Explain a unit by the tokens on which it is strongest: a baseline that asks no language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from latentese.errors import SettingError
from latentese.explainers.base import explanation_id
from latentese.patterns.token_table import TableSettings, build_table
from latentese.records import Example, Explanation, Unit


@dataclass(frozen=True)
class TokenTableExplainer:
    """The unit's mean activation on each token text of its examples, and the strongest of them as text."""

    name: str = "token_table"
    table: TableSettings = field(default_factory=TableSettings)
    n_named: int = 10
    """Tokens named in the text; the table holds more."""

    def __post_init__(self) -> None:
        if self.n_named < 1:
            raise SettingError("n_named", self.n_named, "at least 1")

    async def explain(self, unit: Unit, examples: Sequence[Example]) -> Explanation:
        """Build the table from all examples, those included in which the unit is silent."""
        entries = build_table(examples, self.table).entries
        named = ", ".join(repr(token) for token, _ in entries[: self.n_named])
        return Explanation(
            explanation=explanation_id(unit.unit, self.name, 0),
            unit=unit.unit,
            explainer=self.name,
            revision=0,
            text=f"tokens: {named}" if entries else None,
            model="none",
            prompt_sha256="",
            examples=tuple(example.context.context for example in examples),
            table=entries,
            error=None if entries else "no example in which the unit fires",
        )
