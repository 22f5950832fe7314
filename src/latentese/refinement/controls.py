"""Controls with random texts: what another arm would show is replaced by random contexts of `explain` documents.

A difference between an arm and its control is what the evidence is worth: the prompt, the number of texts and the rule
of acceptance are the same. The other control, which explains again, is `re_explanation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from latentese.explainers.base import explanation_id
from latentese.reading.base import NeedsReader, Reader
from latentese.records import Example, Explanation, Unit
from latentese.refinement.base import Arm, Evidence, Gathered, Material, Shown
from latentese.refinement.generated import GeneratedSentences, compare


@dataclass(frozen=True)
class RandomSentences:
    """The control: random texts of `explain` documents in the place of the evidence that `arm` would show.

    As many as `arm` finds for this explanation, in the same prompt, cut by the same window. A text in which the unit
    is silent stands where false positives do, one in which it fires where false negatives do.
    """

    arm: GeneratedSentences
    name: str = "random_sentences"

    def with_reader(self, reader: Reader) -> Self:
        """Give the same control with a reader."""
        return replace(self, arm=self.arm.with_reader(reader))

    @property
    def control_of(self) -> str:
        """Name of the arm whose evidence is replaced."""
        return self.arm.name

    @property
    def wants_mined(self) -> bool:
        """As the arm does: it shows as many texts as the arm would."""
        return self.arm.wants_mined

    async def gather(self, material: Material) -> Gathered:
        """Gather as the arm does, then put random texts in the place of what it found."""
        found = await self.arm.gather(material)
        n_wanted = len(found.evidence.counterexamples)
        items = await compare(material, draw_random(material.fresh, n_wanted, material.seed))
        return replace(found, evidence=replace(found.evidence, counterexamples=tuple(items)))

    def shows(self, evidence: Evidence) -> Shown:
        """Name the random texts."""
        return _random_shown(evidence)

    async def propose(self, unit: Unit, parent: Explanation, evidence: Evidence, revision: int) -> Explanation:
        """Revise `parent` as the arm does."""
        return await replace(self.arm, name=self.name).propose(unit, parent, evidence, revision)


@dataclass(frozen=True)
class RandomExamples:
    """The control: for each counterexample a random context, silent for a false positive, firing for a negative.

    Of different documents, and not shown before; `arm`, which goes by what is mined, does with them what it does with
    counterexamples.
    """

    arm: Arm
    name: str = "random_examples"

    def with_reader(self, reader: Reader) -> Self:
        """Give the same control with a reader, if its arm takes one."""
        return replace(self, arm=self.arm.with_reader(reader)) if isinstance(self.arm, NeedsReader) else self

    @property
    def control_of(self) -> str:
        """Name of the arm whose evidence is replaced."""
        return self.arm.name

    @property
    def wants_mined(self) -> bool:
        """It draws a context for each counterexample."""
        return True

    async def gather(self, material: Material) -> Gathered:
        """Put random contexts in the place of counterexamples."""
        found = material.evidence.counterexamples
        n_silent = sum(item.kind == "false_positive" for item in found)
        chosen = draw_both(material.fresh, n_silent, len(found) - n_silent, material.seed)
        items = await compare(material, chosen)
        return Gathered(replace(material.evidence, counterexamples=tuple(items)))

    def shows(self, evidence: Evidence) -> Shown:
        """Name the random contexts."""
        return _random_shown(evidence)

    async def propose(self, unit: Unit, parent: Explanation, evidence: Evidence, revision: int) -> Explanation:
        """Revise `parent` as the arm does."""
        written = await self.arm.propose(unit, parent, evidence, revision)
        return replace(written, explanation=explanation_id(unit.unit, self.name, revision), explainer=self.name)


def _random_shown(evidence: Evidence) -> Shown:
    return Shown(random_examples=tuple(item.example.context.context for item in evidence.counterexamples))


def draw_random(examples: Sequence[Example], n_wanted: int, seed: Sequence[int]) -> list[Example]:
    """Draw texts, firing or silent, one per document, in the order of the draw."""
    drawn: dict[int, Example] = {}
    for i in np.random.default_rng(list(seed)).permutation(len(examples)):
        if len(drawn) == n_wanted:
            break
        drawn.setdefault(examples[i].context.document, examples[i])
    return list(drawn.values())


def draw_both(pool: Sequence[Example], n_silent: int, n_firing: int, seed: Sequence[int]) -> list[Example]:
    """Draw so many silent and so many firing contexts of different documents, in the order of the draw."""
    left = {False: n_silent, True: n_firing}
    drawn: dict[int, Example] = {}
    for i in np.random.default_rng(list(seed)).permutation(len(pool)):
        fires, document = pool[i].max_act > 0, pool[i].context.document
        if left[fires] and document not in drawn:
            drawn[document] = pool[i]
            left[fires] -= 1
    return list(drawn.values())
