"""The control of revision: explain afresh, from as many more examples, without counterexamples or a parent's words."""

from __future__ import annotations

from dataclasses import dataclass, replace

from latentese.errors import SettingError
from latentese.explainers.base import Explainer, explanation_id
from latentese.records import Explanation, Unit
from latentese.refinement.base import Evidence, Shown


@dataclass(frozen=True)
class ReExplanation:
    """Gives an explainer the original examples and as many ordinary ones as revision gets counterexamples.

    The explainer must show all that it is given (`explainers.selection.EveryFiring`), or the control would have fewer
    examples than it says; the extra ones come as kind `quantile`.
    """

    explainer: Explainer
    name: str = "re_explanation"

    def shows(self, evidence: Evidence) -> Shown:
        """Name the extra examples."""
        return Shown(extra_examples=tuple(example.context.context for example in evidence.extras))

    async def propose(self, unit: Unit, parent: Explanation, evidence: Evidence, revision: int) -> Explanation:
        """Explain from the originals and the extras; `parent` is named for the lineage alone.

        Raises SettingError where the explainer leaves out some of them.
        """
        given = (*evidence.originals, *(replace(example, kind="quantile") for example in evidence.extras))
        written = await self.explainer.explain(unit, given)
        if len(written.examples) < len(given):
            shown = f"shows {len(written.examples)} of {len(given)} examples"
            raise SettingError(
                f"refinement.arms.{self.name}.explainer", shown, "one that shows all: choice EveryFiring"
            )
        return replace(
            written,
            explanation=explanation_id(unit.unit, self.name, revision),
            explainer=self.name,
            revision=revision,
            parent=parent.explanation,
        )
