"""What a process does that is killed in the test of stage `refine`: STUDY ARMS CACHE OUT."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from test_stages_refine import SETTINGS, WordReader, improve
from toy_units import WordListSimulator

from latentese.explainers.token_activation import TokenActivationExplainer
from latentese.lm.cached import CachedChat
from latentese.lm.protocol import Chat, Reply, Request
from latentese.lm.usage import Ledger
from latentese.reading.base import give_reader
from latentese.records import Usage
from latentese.refinement.base import Arm
from latentese.refinement.generated import GeneratedSentences, RandomSentences
from latentese.refinement.patterns import RandomExamples, TableRevision
from latentese.refinement.re_explanation import ReExplanation
from latentese.refinement.revise import Reviser
from latentese.refinement.sentences import SentenceWriter
from latentese.simulators.base import Simulator
from latentese.simulators.token_table import TokenTableSimulator
from latentese.stages.refine import RefineInputs, refine

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


def written_arms(chat: Chat) -> dict[str, Arm]:
    """All arms of conf/refinement/generated.yaml."""
    generated = GeneratedSentences(Reviser(chat), SentenceWriter(chat))
    arms: dict[str, Arm] = {
        "revision": Reviser(chat),
        "re_explanation": ReExplanation(TokenActivationExplainer(chat)),
        "generated": generated,
        "both": replace(generated, name="both", with_mined=True),
        "random_sentences": RandomSentences(generated),
    }
    return give_reader(arms, WordReader())  # type: ignore[arg-type]


def pattern_arms(chat: Chat) -> dict[str, Arm]:
    """All arms of conf/refinement/patterns.yaml."""
    del chat
    return {"revision": TableRevision(), "random_examples": RandomExamples(TableRevision())}


ARMS = {"written": written_arms, "patterns": pattern_arms}
SIMULATORS: Mapping[str, Simulator] = {"written": WordListSimulator(), "patterns": TokenTableSimulator()}
EXPLAINERS = {"written": "reader", "patterns": "token_table"}
FOLDERS = {"written": ("explanations", "scores"), "patterns": ("tables", "table_scores")}


def main(study: str, kind: str, cache: str, out: str) -> Ledger:
    """Run the stage; return what was asked."""
    folders = [Path(study) / name for name in ("contexts", "examples", *FOLDERS[kind])]
    chat = CachedChat(SlowChat(), cache)
    settings = replace(SETTINGS, explainer=EXPLAINERS[kind], threshold=1.1, n_rounds=2)
    refine(RefineInputs(*folders), SIMULATORS[kind], ARMS[kind](chat), settings, Path(out))
    return chat.ledger


if __name__ == "__main__":
    main(*sys.argv[1:])
