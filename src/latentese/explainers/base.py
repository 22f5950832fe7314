"""What an explainer is, and how explanations are named."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

from latentese.records import Example, Explanation, Unit


class Explainer(Protocol):
    """Writes an explanation of one unit from its examples."""

    @property
    def name(self) -> str:
        """Name in the configuration; part of the explanation's identity."""
        ...

    async def explain(self, unit: Unit, examples: Sequence[Example]) -> Explanation:
        """Explain `unit` from examples of `explain` documents, strongest first.

        A question without a usable answer is an explanation with `text=None` and `error`, never an exception.
        """
        ...


class PartialExplainer(Protocol):
    """Explains some units, and has nothing to say of others: what stage `explain` runs. Every explainer is one."""

    @property
    def name(self) -> str:
        """Name in the configuration."""
        ...

    async def explain(self, unit: Unit, examples: Sequence[Example]) -> Explanation | None:
        """Explain `unit` as an `Explainer` does; None, and no row, where nothing was to be said of it."""
        ...


@runtime_checkable
class ForTarget(Protocol):
    """An explainer that has to know whose units it explains."""

    def for_target(self, target: str, targets: Collection[str]) -> PartialExplainer:
        """Give the same explainer for the units of one of the study's targets.

        Raises ArtifactError where it has something to say of a target that the study has not.
        """
        ...


@runtime_checkable
class KnowsUnits(Protocol):
    """An explainer that can tell of which units it has something to say before it is asked."""

    def check_units(self, studied: Collection[int]) -> None:
        """Raise ArtifactError where that is a unit which is not studied: it would never be asked for."""
        ...


def explanation_id(unit: int, explainer: str, revision: int) -> str:
    """Identity of an explanation in every table."""
    return f"{unit}.{explainer}.{revision}"
