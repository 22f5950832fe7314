"""Stage `explain`: write explanations of the study's units from their `explain` examples."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from latentese.corpus.contexts import Contexts
from latentese.errors import ArtifactError, SettingError
from latentese.examples.store import Examples, join_contexts
from latentese.explainers.base import KnowsUnits, PartialExplainer
from latentese.records import Example, Explanation, Unit
from latentese.stages.running import run_async
from latentese.store.artifact import open_draft
from latentese.store.tables import write_explanations

EXPLANATIONS = "explanations.jsonl"


@dataclass(frozen=True)
class ExplainSettings:
    """How much is explained."""

    n_units: int
    """The first so many of the seeded draw among live units."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Name of a costly explainer -> how many of these units it explains: the first ones of the draw."""

    def __post_init__(self) -> None:
        for name, n_units in self.limits.items():
            if n_units < 1:
                raise SettingError(f"explaining.limits.{name}", n_units, "at least 1")


def explain(
    contexts: Path, examples: Path, explainers: Mapping[str, PartialExplainer], settings: ExplainSettings, out: Path
) -> Path:
    """Write the explanations artifact: one line per unit and explainer, failed ones included.

    Of a unit that an explainer has nothing to say of, as a person of most, there is none.

    Counts: n_units, and per explainer n_explained, n_failed, prompt_tokens and completion_tokens (of kept answers too).
    """
    check_explainers(explainers, settings)
    context_reader, example_reader = Contexts(contexts), Examples(examples)
    inputs = {"contexts": context_reader.artifact, "examples": example_reader.artifact}
    units = example_reader.study(settings.n_units)
    for explainer in explainers.values():
        if isinstance(explainer, KnowsUnits):
            explainer.check_units([unit.unit for unit in units])
    shown = {unit: _explain_examples(unit, example_reader, context_reader) for unit in units}
    described = {**asdict(settings), "explainers": sorted(explainers)}
    with open_draft(out, "explanations", inputs, described) as draft:
        explanations = run_async(_explain_all(shown, explainers, settings.limits))
        explanations.sort(key=lambda explanation: (explanation.unit, explanation.explainer, explanation.revision))
        write_explanations(explanations, draft.path / EXPLANATIONS)
        draft.publish({"n_units": len(units), "explainers": {name: _counts(explanations, name) for name in explainers}})
    return out


def check_explainers(explainers: Mapping[str, PartialExplainer], settings: ExplainSettings) -> None:
    """Raise SettingError for an explainer under another name than its own, or a limit of one that is not there."""
    for name, explainer in explainers.items():
        if explainer.name != name:
            raise SettingError(f"explainers.{name}.name", explainer.name, f"{name!r}, as it is called in the group")
    for name in settings.limits:
        if name not in explainers:
            allowed = f"explainers are {', '.join(explainers)}"
            raise SettingError(f"explaining.limits.{name}", settings.limits[name], allowed)


def _explain_examples(unit: Unit, examples: Examples, contexts: Contexts) -> list[Example]:
    """Join a unit's `explain` examples with their contexts, and trust the contexts about the split."""
    rows = examples.of(unit.unit, "explain")
    joined = join_contexts(rows, contexts.get(rows["context"].to_list()))
    for example in joined:
        if example.context.split != "explain":
            problem = f"shows context {example.context.context} of split {example.context.split} for explaining"
            raise ArtifactError(examples.artifact.path, f"{problem}; sample again from these contexts")
    return joined


async def _explain_all(
    shown: Mapping[Unit, list[Example]], explainers: Mapping[str, PartialExplainer], limits: Mapping[str, int]
) -> list[Explanation]:
    """Explain all units at once: a language model in this process answers them in batches."""
    asked = [(explainer, unit) for name, explainer in explainers.items() for unit in list(shown)[: limits.get(name)]]
    with tqdm(total=len(asked), desc="explain", unit="explanation") as bar:

        async def explain_one(explainer: PartialExplainer, unit: Unit) -> Explanation | None:
            explanation = await explainer.explain(unit, shown[unit])
            bar.update()
            return explanation

        explanations = await asyncio.gather(*(explain_one(explainer, unit) for explainer, unit in asked))
        return [explanation for explanation in explanations if explanation is not None]


def _counts(explanations: list[Explanation], explainer: str) -> dict[str, Any]:
    own = [explanation for explanation in explanations if explanation.explainer == explainer]
    return {
        "n_explained": sum(explanation.text is not None for explanation in own),
        "n_failed": sum(explanation.text is None for explanation in own),
        "prompt_tokens": sum(explanation.usage.prompt_tokens for explanation in own),
        "completion_tokens": sum(explanation.usage.completion_tokens for explanation in own),
    }
