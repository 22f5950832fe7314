"""A person's explanations, read from a file: scored like any other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from latentese.errors import ArtifactError, SettingError
from latentese.explainers.annotations import Annotation, check_studied, read_lines
from latentese.explainers.base import explanation_id
from latentese.records import Example, Explanation, Unit


@dataclass(frozen=True)
class HumanExplainer:
    """Says of a unit what a person wrote of it; of others nothing, which is no failure.

    The examples that the person saw are not known: whoever looks at `select` or `test` examples before writing should
    trust no score.
    """

    path: str
    """JSON lines or CSV, see `explainers.annotations`."""
    name: str = "human"
    target: str | None = None
    """Whose units are explained: the stage says so."""

    def __post_init__(self) -> None:
        self._lines  # noqa: B018  (a file that cannot be read stops the run before anything is asked)

    def for_target(self, target: str, targets: Collection[str]) -> Self:
        """Give the same explainer for the units of one target; raises ArtifactError for a line of no such target."""
        for line, annotation in self._lines.items():
            if annotation.target not in targets:
                raise self._wrong(line, SettingError("target", annotation.target, f"one of {', '.join(targets)}"))
        return replace(self, target=target)

    def check_units(self, studied: Collection[int]) -> None:
        """Raise ArtifactError for a line about a unit of this target that is not studied."""
        for line, annotation in self._lines.items():
            if annotation.target == self.target:
                try:
                    check_studied(annotation.unit, studied)
                except SettingError as error:
                    raise self._wrong(line, error) from error

    async def explain(self, unit: Unit, examples: Sequence[Example]) -> Explanation | None:
        """Give what the file says of `unit`; None where it says nothing."""
        annotation = self._of_unit.get(unit.unit)
        if annotation is None:
            return None
        return Explanation(
            explanation=explanation_id(unit.unit, self.name, 0),
            unit=unit.unit,
            explainer=self.name,
            revision=0,
            text=annotation.explanation,
            model=f"human: {annotation.author}" if annotation.author else "human",
            prompt_sha256="",
            examples=(),
        )

    @cached_property
    def _of_unit(self) -> dict[int, Annotation]:
        return {each.unit: each for each in self._lines.values() if each.target == self.target}

    @cached_property
    def _lines(self) -> dict[int, Annotation]:
        return read_lines(Path(self.path))

    def _wrong(self, line: int, error: SettingError) -> ArtifactError:
        return ArtifactError(Path(self.path), f"line {line}: {error}")
