"""The schema of a JSON simulation holds a model's answers, in this process and behind a server alike."""

from __future__ import annotations

import asyncio
from pathlib import Path

from served_models import make_chat
from tiny_models import make_tiny_llama
from toy_units import make_context, make_explanation

from latentese.lm.local import LocalLM
from latentese.lm.protocol import Chat
from latentese.lm.testing.server import LoopbackServer, Served
from latentese.records import Simulation
from latentese.simulators.json_list import JsonSimulator
from latentese.weights.local import LocalModel

TEXTS = ("the river and the mill", 'a "quoted" \\ word', "Fluß 日本 niño")


def simulate(chat: Chat) -> list[Simulation]:
    contexts = [make_context(number, text) for number, text in enumerate(TEXTS)]
    return asyncio.run(JsonSimulator(chat).simulate(make_explanation("rivers"), contexts))


def test_a_model_that_knows_nothing_still_answers_in_the_form_asked_for(tmp_path: Path) -> None:
    # Of random weights, some that say that something fits.
    path = make_tiny_llama(tmp_path / "model", seed=5, max_position_embeddings=8192, initializer_range=0.2)
    local = LocalLM(LocalModel(str(path)), dtype="float32", n_rows=4)
    found = simulate(local)
    assert [simulation.error for simulation in found] == [None] * len(TEXTS)
    assert all(max(simulation.expected or ()) > 0 for simulation in found)
    with LoopbackServer(Served(chat=local)) as server:
        served = simulate(make_chat(server, tmp_path, timeout_seconds=60.0))
    schemas = [seen.body["response_format"]["json_schema"]["strict"] for seen in server.seen]
    assert schemas == [True] * len(TEXTS)
    assert served == found
