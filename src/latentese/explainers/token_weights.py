"""Explain a unit by its weights alone: a baseline that asks no language model and reads no text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np

from latentese.errors import SettingError
from latentese.explainers.base import explanation_id
from latentese.reading.base import Reader, needed
from latentese.reading.token_weights import Strongest, strongest_inputs, strongest_outputs
from latentese.records import Example, Explanation, Unit


@dataclass(frozen=True)
class TokenWeightsExplainer:
    """The tokens with the largest input weights as text and table, and those with the largest output weights as text.

    See `reading.token_weights`. It needs no examples, so a score of it is what the weights know by themselves.
    """

    name: str = "token_weights"
    n_entries: int = 200
    """Tokens in the table."""
    n_named: int = 10
    """Input tokens named in the text."""
    n_outputs: int = 5
    """Output tokens named in the text; 0 leaves them out."""
    reader: Reader | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, least in (("n_entries", 1), ("n_named", 1), ("n_outputs", 0)):
            if getattr(self, name) < least:
                raise SettingError(name, getattr(self, name), f"at least {least}")

    def with_reader(self, reader: Reader) -> Self:
        """Give the same explainer with a reader."""
        return replace(self, reader=reader)

    async def explain(self, unit: Unit, examples: Sequence[Example]) -> Explanation:
        """Explain `unit` from its weights; equal texts of different tokens have the larger weight."""
        table: dict[str, float] = {}
        texts = self._texts(self._inputs.token_ids[unit.unit])
        for text, weight in zip(texts, self._inputs.weights[unit.unit].tolist(), strict=True):
            if text and weight > 0:
                table.setdefault(text, weight)
        return Explanation(
            explanation=explanation_id(unit.unit, self.name, 0),
            unit=unit.unit,
            explainer=self.name,
            revision=0,
            text=self._say(unit, list(table)) if table else None,
            model="none",
            prompt_sha256="",
            examples=(),
            table=tuple(table.items()),
            error=None if table else "no token has a weight above the mean",
        )

    def _say(self, unit: Unit, inputs: Sequence[str]) -> str:
        said = f"tokens: {', '.join(map(repr, inputs[: self.n_named]))}"
        if not self.n_outputs:
            return said
        outputs = strongest_outputs(needed(self.reader, self.name).loaded, np.array([unit.unit]), self.n_outputs)
        return f"{said}; makes likelier: {', '.join(map(repr, self._texts(outputs.token_ids[0])))}"

    def _texts(self, token_ids: np.ndarray) -> list[str]:
        return needed(self.reader, self.name).token_texts(token_ids.tolist())

    @cached_property
    def _inputs(self) -> Strongest:
        return strongest_inputs(needed(self.reader, self.name).loaded, self.n_entries)
