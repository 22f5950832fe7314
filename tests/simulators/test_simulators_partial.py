"""A context that a real model reads in part: it fails alone, and tells what was read all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from served_models import make_chat, make_lm
from tiny_models import make_tiny_llama
from toy_units import make_context, make_explanation

from latentese.lm.local import LocalLM
from latentese.lm.marks import NextToken
from latentese.lm.prompts import TokenPrompts
from latentese.lm.protocol import Message, Reply, Request, TextRequest
from latentese.lm.testing.faults import Faults
from latentese.lm.testing.models import FolderModel
from latentese.lm.testing.server import LoopbackServer, Served
from latentese.records import Context, Simulation, Usage
from latentese.simulators.all_at_once import AllAtOnceSimulator
from latentese.simulators.base import Simulator
from latentese.simulators.json_list import JsonSimulator
from latentese.simulators.logprob_gain import UNTOLD, LogprobGainSimulator
from latentese.simulators.one_at_a_time import OneAtATimeSimulator
from latentese.simulators.prompts import NO_EXPLANATION
from latentese.weights.local import LocalModel

WORDS = make_context(1, "the river ran past the old mill and in the evening the boats came home to the town " * 3)
INFLATED = Context(2, ("a", *("\u200b" * 20,) * 40), (False, *(True,) * 40), 2, "toy", "test")
"""Characters that do not print: each is shown as six that do."""


def make_local(folder: Path, longest: int) -> LocalLM:
    path = make_tiny_llama(folder / str(longest), max_position_embeddings=longest, initializer_range=0.2)
    return LocalLM(LocalModel(path), "float32")


def simulate(simulator: Simulator, text: str, contexts: Sequence[Context]) -> list[Simulation]:
    return asyncio.run(simulator.simulate(make_explanation(text), contexts))


@pytest.mark.parametrize("make", [AllAtOnceSimulator, OneAtATimeSimulator, LogprobGainSimulator])
def test_a_text_too_long_for_the_model_fails_its_context_alone(
    make: Callable[[Any], Simulator], tmp_path: Path
) -> None:
    good, failed = simulate(make(make_local(tmp_path, 2048)), "rivers", [make_context(1, "the river"), INFLATED])
    assert good.expected is not None
    assert failed.expected is None
    assert "at most 2048" in str(failed.error)


def test_the_reading_without_an_explanation_counts_when_that_with_one_fails(tmp_path: Path) -> None:
    # Told nothing, both readings are the same.
    [both] = simulate(AllAtOnceSimulator(make_local(tmp_path, 8192)), NO_EXPLANATION, [WORDS])
    n_untold = both.usage.prompt_tokens // 2
    [failed] = simulate(AllAtOnceSimulator(make_local(tmp_path, n_untold + 20)), "river boats " * 30, [WORDS])
    assert (failed.expected, failed.usage) == (None, Usage(n_untold))


def test_the_reading_of_a_text_untold_counts_when_that_of_it_told_fails(tmp_path: Path) -> None:
    untold = TextRequest((Message("user", UNTOLD), Message("assistant", WORDS.text)), n_shared=1)
    usage = asyncio.run(make_local(tmp_path, 2048).token_logprobs(untold)).usage
    tight = make_local(tmp_path, usage.prompt_tokens + 5)
    [failed] = simulate(LogprobGainSimulator(tight), "river boats mill " * 9, [WORDS])
    assert (failed.expected, failed.usage) == (None, usage)


def test_tokens_that_were_answered_count_when_another_fails_their_context(tmp_path: Path) -> None:
    local = make_local(tmp_path, 2048)
    prompts = TokenPrompts(local._source)
    faults = Faults(share=0.3, kinds=("malformed",))
    with LoopbackServer(Served(completions=FolderModel(tmp_path / "2048")), faults) as server:
        lm = make_lm(server, tmp_path, NextToken(1000), prompts=prompts)
        [failed] = simulate(OneAtATimeSimulator(lm), "rivers", [make_context(1, "the river ran past the old mill")])
    assert failed.expected is None
    assert 0 < faults.met["malformed"] < len(server.seen) == 6
    # One token is written for every question that is answered.
    assert failed.usage.completion_tokens == 6 - faults.met["malformed"]


class Censored:
    """Answers, and its server takes the answer away."""

    name = "censored"

    async def complete(self, request: Request) -> Reply:
        return Reply("", Usage(70, 4), "content_filter")  # type: ignore[arg-type]


def test_an_answer_of_a_server_that_cannot_be_used_counts(tmp_path: Path) -> None:
    with LoopbackServer(Served(chat=Censored())) as server:
        [failed] = simulate(JsonSimulator(make_chat(server, tmp_path)), "rivers", [make_context(1, "the river")])
    assert (failed.expected, failed.usage) == (None, Usage(70, 4))
