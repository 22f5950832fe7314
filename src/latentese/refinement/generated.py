"""Revision with sentences that the explanation's own words call forth.

Announced with the 2023 paper (Bills et al., "Language models can explain neurons in language models", revisions): have
about ten sentences written that should activate the unit, run the subject on them, and show those that do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from latentese.errors import AnswerError, SettingError
from latentese.reading.base import Reader, needed
from latentese.records import Example, Explanation, Unit, Usage
from latentese.refinement.base import Counterexample, Evidence, Gathered, Material, Shown, contexts_of
from latentese.refinement.revise import Reviser
from latentese.refinement.sentences import SentenceWriter


@dataclass(frozen=True)
class GeneratedSentences:
    """Revises as `reviser` does, shown written sentences that leave the unit silent as false positives.

    Sentences on which the unit fires confirm the explanation: they are stored, not shown.
    """

    reviser: Reviser
    writer: SentenceWriter
    name: str = "generated"
    with_mined: bool = False
    """Show the mined counterexamples as well."""
    n_shown: int = 4
    """So many sentences at most, those first of which the simulator expects most."""
    reader: Reader | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.n_shown < 1:
            raise SettingError("n_shown", self.n_shown, "at least 1")

    def with_reader(self, reader: Reader) -> Self:
        """Give the same arm with a reader."""
        return replace(self, reader=reader)

    @property
    def wants_mined(self) -> bool:
        """Only where they are shown."""
        return self.with_mined

    async def gather(self, material: Material) -> Gathered:
        """Have sentences written and read them with the subject; a failure leaves the mined evidence, if wanted."""
        mined = material.evidence.counterexamples if self.with_mined else ()
        usage, prompt = Usage(), self.writer.prompt.sha256
        try:
            reply = await self.writer.ask(material.parent.text or "")
            usage = reply.usage
            texts = self.writer.read(reply)
        except AnswerError as problem:
            return Gathered(replace(material.evidence, counterexamples=mined), (), str(problem), usage, prompt)
        [sentences] = needed(self.reader, self.name).examples([material.unit], texts)
        silent = [s for s in sentences if s.max_act <= 0 and s.context.context not in material.shown]
        items = await compare(material, silent)
        items.sort(key=lambda item: (-max(item.expected, default=0.0), item.example.context.context))
        evidence = replace(material.evidence, counterexamples=(*items[: self.n_shown], *mined))
        return Gathered(evidence, tuple(sentences), None, usage, prompt)

    def shows(self, evidence: Evidence) -> Shown:
        """Name the sentences, and the mined counterexamples where they are shown."""
        positives = contexts_of(evidence.counterexamples, "false_positive")
        return Shown(
            tuple(context for context in positives if context >= 0),
            contexts_of(evidence.counterexamples, "false_negative"),
            sentences=tuple(context for context in positives if context < 0),
        )

    async def propose(self, unit: Unit, parent: Explanation, evidence: Evidence, revision: int) -> Explanation:
        """Revise `parent`; the sentences that were shown are named by the decision, not among its examples."""
        return await replace(self.reviser, name=self.name).propose(unit, parent, evidence, revision)


async def compare(material: Material, examples: Sequence[Example]) -> list[Counterexample]:
    """Set what the simulator expects beside each text; where it fails, every counted token is expected alike."""
    simulations = await material.simulator.simulate(material.parent, [example.context for example in examples])
    return [
        Counterexample(
            example,
            tuple(map(float, example.context.keep)) if simulation.expected is None else simulation.expected,
            "false_negative" if example.max_act > 0 else "false_positive",
        )
        for example, simulation in zip(examples, simulations, strict=True)
    ]
