"""What a process does that is killed in the test of stage `refine`: STUDY ARMS CACHE OUT."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scored_study import WORDS
from test_stages_refine import SETTINGS, WordReader, improve
from toy_units import WordListSimulator

from latentese.corpus.contexts import Contexts
from latentese.explainers.n2g import N2GExplainer
from latentese.explainers.selection import EveryFiring
from latentese.explainers.token_activation import TokenActivationExplainer
from latentese.lm.cached import CachedChat
from latentese.lm.protocol import Chat, Reply, Request
from latentese.lm.usage import Ledger
from latentese.patterns.n2g import Strength
from latentese.reading.base import give_reader
from latentese.records import Unit, Usage
from latentese.refinement.base import Arm
from latentese.refinement.controls import RandomExamples, RandomSentences
from latentese.refinement.generated import GeneratedSentences
from latentese.refinement.patterns import PatternRevision, TableRevision
from latentese.refinement.re_explanation import ReExplanation
from latentese.refinement.revise import Reviser
from latentese.refinement.sentences import SentenceWriter
from latentese.simulators.base import Simulator
from latentese.simulators.n2g import N2GSimulator
from latentese.simulators.token_table import TokenTableSimulator
from latentese.stages.refine import refine
from latentese.stages.refining import RefineInputs

SECONDS = 0.02
"""What an answer takes; one at a time, so that a kill falls between two of them."""


class SlowChat:
    """Answers one question at a time."""

    name = "slow"

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def complete(self, request: Request) -> Reply:
        question = request.messages[-2].content
        async with self._turn:
            await asyncio.sleep(SECONDS)
        if question.startswith("Description:"):
            return Reply(f"1. here w9\n2. there w9 w{len(question) % 3}\n3. so w4", Usage(10, 2), "stop")
        return Reply(improve(question), Usage(10, 2), "stop")


def written_arms(chat: Chat, study: Path) -> dict[str, Arm]:
    """All arms of conf/refinement/generated.yaml."""
    del study
    generated = GeneratedSentences(Reviser(chat), SentenceWriter(chat))
    arms: dict[str, Arm] = {
        "revision": Reviser(chat),
        "re_explanation": ReExplanation(TokenActivationExplainer(chat, choice=EveryFiring())),
        "generated": generated,
        "both": replace(generated, name="both", with_mined=True),
        "random_sentences": RandomSentences(generated),
        "random_examples": RandomExamples(Reviser(chat)),
    }
    return give_reader(arms, WordReader())  # type: ignore[arg-type]


class TokenReader:
    """A subject whose units fire on their words as in the study: a word's token is its number."""

    pads = (11,)

    def __init__(self, contexts: Path) -> None:
        self._contexts = Contexts(contexts)

    def token_ids(self, contexts: Sequence[int]) -> list[tuple[int, ...]]:
        texts = [context.tokens for context in self._contexts.get(contexts)]
        return [tuple(int(token.removeprefix(" w")) for token in tokens if token) for tokens in texts]

    def strength(self, unit: Unit) -> Strength:
        acts = {int(word.removeprefix("w")): 3.0 - i for i, word in enumerate(WORDS[unit.unit])}
        return lambda texts: [acts.get(text[-1], 0.0) for text in texts]


def table_arms(chat: Chat, study: Path) -> dict[str, Arm]:
    """All arms of conf/refinement/patterns.yaml."""
    del chat, study
    return {"revision": TableRevision(), "random_examples": RandomExamples(TableRevision())}


def n2g_arms(chat: Chat, study: Path) -> dict[str, Arm]:
    """All arms of conf/refinement/n2g.yaml."""
    del chat
    revision = PatternRevision(N2GExplainer())
    arms: dict[str, Arm] = {"revision": revision, "random_examples": RandomExamples(revision)}
    return give_reader(arms, TokenReader(study / "contexts"))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Kind:
    """What is refined, how, and who judges it."""

    arms: Callable[[Chat, Path], dict[str, Arm]]
    simulator: Simulator
    explainer: str
    folders: tuple[str, str]
    """Explanations and scores."""


KINDS: Mapping[str, Kind] = {
    "written": Kind(written_arms, WordListSimulator(), "reader", ("explanations", "scores")),
    "patterns": Kind(table_arms, TokenTableSimulator(), "token_table", ("tables", "table_scores")),
    "n2g": Kind(n2g_arms, N2GSimulator(), "n2g", ("n2g", "n2g_scores")),
}


def main(study: str, kind: str, cache: str, out: str) -> Ledger:
    """Run the stage; return what was asked."""
    of_kind, chat = KINDS[kind], CachedChat(SlowChat(), cache)
    inputs = RefineInputs(*(Path(study) / name for name in ("contexts", "examples", *of_kind.folders)))
    settings = replace(SETTINGS, explainer=of_kind.explainer, threshold=1.1, n_rounds=2)
    refine(inputs, of_kind.simulator, of_kind.arms(chat, Path(study)), settings, Path(out))
    return chat.ledger


if __name__ == "__main__":
    main(*sys.argv[1:])
