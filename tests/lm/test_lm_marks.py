"""Log-probabilities through a server: the same numbers as in process, whichever way the server tells them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from served_models import make_lm
from tiny_models import make_tiny_llama

from latentese.errors import AnswerError, SettingError
from latentese.lm.local import LocalLM
from latentese.lm.marks import Echo, MarkReading, NextToken, PromptLogprobs, candidate_logprobs
from latentese.lm.places import Place, read_places, read_prompt_places
from latentese.lm.prompts import MarkedPrompt, TokenPrompts, TranscriptPrompts
from latentese.lm.protocol import MarkReply, MarkRequest, Message
from latentese.lm.testing.models import FolderModel
from latentese.lm.testing.responses import Offers
from latentese.lm.testing.server import LoopbackServer, Served
from latentese.lm.usage import spent_on

ALL = 1000
"""More than the tiny vocabulary has: every candidate is listed."""
TEXT = "the river 12 the river 日本 the mill"
REQUEST = MarkRequest(
    (Message("system", "Words."), Message("assistant", TEXT)), (3, 5, 13, len(TEXT)), ("1", "the", "x"), n_shared=1
)
"""Its second mark is inside a word."""


@dataclass(frozen=True)
class Folder:
    """A model source that is a folder."""

    path: Path

    @property
    def name(self) -> str:
        return f"tiny-{self.path.name}"

    def folder(self) -> Path:
        return self.path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(make_tiny_llama(tmp_path_factory.mktemp("llama"), max_position_embeddings=512, initializer_range=0.3))


def read(
    tiny: Folder, folder: Path, marks: MarkReading, offers: Collection[Offers], request: MarkRequest, **prompts: object
) -> tuple[MarkReply, LoopbackServer]:
    with LoopbackServer(Served(completions=FolderModel(tiny.path), offers=offers)) as server:
        lm = make_lm(server, folder, marks, **prompts)
        return asyncio.run(lm.next_token_logprobs(request)), server


WAYS: list[tuple[MarkReading, Collection[Offers], int]] = [
    (Echo(ALL), ("echo", "logprobs"), 1),
    (PromptLogprobs(ALL), ("prompt_logprobs", "logprobs"), 1),
    (NextToken(ALL), ("logprobs",), 4),
    (NextToken(ALL), ("logprobs_as_content",), 4),
]


@pytest.mark.parametrize(("marks", "offers", "n_asked"), WAYS)
def test_log_probabilities_are_those_of_the_model_in_process(
    tiny: Folder, tmp_path: Path, marks: MarkReading, offers: Collection[Offers], n_asked: int
) -> None:
    expected = asyncio.run(LocalLM(tiny, dtype="float32").next_token_logprobs(REQUEST))
    reply, server = read(tiny, tmp_path, marks, offers, REQUEST, prompts=TokenPrompts(tiny))
    for row, expected_row in zip(reply.logprobs, expected.logprobs, strict=True):
        assert row == pytest.approx(expected_row, abs=1e-4)
    assert len(server.seen) == n_asked
    assert reply.usage.completion_tokens == n_asked
    if n_asked == 1:
        assert reply.usage.prompt_tokens == expected.usage.prompt_tokens


@pytest.mark.parametrize(("marks", "offers", "_n_asked"), WAYS[:2])
def test_a_text_that_the_server_cuts_is_read_by_offsets(
    tiny: Folder, tmp_path: Path, marks: MarkReading, offers: Collection[Offers], _n_asked: int
) -> None:
    # Two marks are inside tokens of the server, " river" and " the": they are asked about alone.
    request = replace(REQUEST, candidates=("1", " the", "x"))
    reply, server = read(tiny, tmp_path, marks, offers, request)
    beginning = "System: Words.\n\nAssistant: "
    asked = [seen.body["prompt"] for seen in server.seen]
    assert asked[0] == beginning + TEXT
    assert sorted(asked[1:]) == [f"{beginning}the r", f"{beginning}the river 12 "]
    alone, _ = read(tiny, tmp_path, NextToken(ALL), ("logprobs",), request)
    for row, expected in zip(reply.logprobs, alone.logprobs, strict=True):
        assert row == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("reading", "offer"), [(Echo, "echo"), (PromptLogprobs, "prompt_logprobs")])
def test_candidates_that_are_not_listed_fail_or_take_the_floor(
    tiny: Folder, tmp_path: Path, reading: type[Echo | PromptLogprobs], offer: Offers
) -> None:
    request, offers = replace(REQUEST, candidates=tuple("0123456789abcdefxyz")), (offer, "logprobs")
    prompts = TokenPrompts(tiny)
    with pytest.raises(AnswerError, match="is not among the tokens that the server lists: raise n_logprobs") as failed:
        read(tiny, tmp_path, reading(2), offers, request, prompts=prompts)
    assert spent_on(failed.value).completion_tokens == 1
    exact, _ = read(tiny, tmp_path, reading(ALL), offers, request, prompts=prompts)
    reply, _ = read(tiny, tmp_path, reading(2, True), offers, request, prompts=prompts)
    floored = [
        (value, true) for row, exact_row in zip(reply.logprobs, exact.logprobs, strict=True)
        for value, true in zip(row, exact_row, strict=True)
    ]  # fmt: skip
    assert all(value >= true - 1e-6 for value, true in floored)
    assert any(value > true for value, true in floored)


@pytest.mark.parametrize(
    ("marks", "offers", "problem"),
    [
        (Echo(5), ("logprobs",), "echo is not supported"),
        (PromptLogprobs(5), ("logprobs",), "prompt_logprobs is not supported"),
        (NextToken(5), (), "gives no log-probabilities"),
        (Echo(5), ("echo",), "gives no log-probabilities"),
    ],
)
def test_a_probe_says_what_the_server_cannot_do(
    tiny: Folder, tmp_path: Path, marks: MarkReading, offers: Collection[Offers], problem: str
) -> None:
    refused = pytest.raises(SettingError, match=rf"^marks='\w+' is not allowed: what the server can do .*{problem}")
    with LoopbackServer(Served(completions=FolderModel(tiny.path), offers=offers)) as server, refused:
        asyncio.run(make_lm(server, tmp_path, marks).probe())


@pytest.mark.parametrize(("marks", "offers", "_n_asked"), WAYS)
def test_a_probe_is_content_with_a_server_that_can(
    tiny: Folder, tmp_path: Path, marks: MarkReading, offers: Collection[Offers], _n_asked: int
) -> None:
    with LoopbackServer(Served(completions=FolderModel(tiny.path), offers=offers)) as server:
        asyncio.run(make_lm(server, tmp_path, marks).probe())
    assert [seen.path for seen in server.seen][:2] == ["/v1/models", "/v1/completions"]


@pytest.mark.parametrize("prompts", [None, TranscriptPrompts()])
def test_ids_are_not_wanted_of_a_transcript(tmp_path: Path, prompts: TranscriptPrompts | None) -> None:
    marks = NextToken(ids_field="logprob_token_ids")
    with (
        LoopbackServer(Served()) as server,
        pytest.raises(SettingError, match=r"^marks\.ids_field='logprob_token_ids'"),
    ):
        make_lm(server, tmp_path, marks, prompts=prompts)


def test_ids_of_the_candidates_are_named_where_the_server_takes_them(tiny: Folder, tmp_path: Path) -> None:
    marks = NextToken(ALL, ids_field="logprob_token_ids")
    _, server = read(tiny, tmp_path, marks, ("logprobs",), REQUEST, prompts=TokenPrompts(tiny))
    [ids] = {tuple(seen.body["logprob_token_ids"]) for seen in server.seen}
    assert ids == TokenPrompts(tiny).marked(REQUEST).candidate_ids


CLASSIC = {"tokens": ["a", "b"], "token_logprobs": [None, -1.0], "top_logprobs": [None, {"b": -1.0, "token_id:7": -2}]}


def test_forms_of_log_probabilities() -> None:
    assert [place.top for place in read_places(CLASSIC)] == [None, {"b": -1.0, 7: -2}]
    content = [{"token": "b", "id": 3, "logprob": -2.0, "top_logprobs": [{"token": "b", "id": 3, "logprob": -1.0}]}]
    assert read_places({"content": content})[0] == ("b", {"b": -1.0, 3: -1.0}, -2.0)
    # Two tokens that look alike: the likelier, listed first, gives its text.
    twins = [{"token": "?", "logprob": -1.0}, {"token": "?", "logprob": -3.0}]
    assert read_places({"content": [{"token": "?", "top_logprobs": twins}]})[0].top == {"?": -1.0}


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        [],
        {},
        CLASSIC | {"tokens": ["a"]},
        CLASSIC | {"top_logprobs": None},
        CLASSIC | {"top_logprobs": [None, {"b": "-1"}]},
        CLASSIC | {"top_logprobs": [None, {"b": float("nan")}]},
        CLASSIC | {"top_logprobs": [None, {"b": True}]},
        CLASSIC | {"top_logprobs": [None, {"b": -(10**400)}]},
        CLASSIC | {"top_logprobs": [None, "b"]},
        {"content": [{"token": "b"}]},
    ],
)
def test_malformed_log_probabilities_are_failed_answers(logprobs: object) -> None:
    with pytest.raises(AnswerError, match="log-probabilities"):
        read_places(logprobs)


def test_a_number_that_no_float_holds_is_a_failed_answer_of_vllms_form_too() -> None:
    with pytest.raises(AnswerError, match="log-probabilities"):
        read_prompt_places([None, {"7": {"logprob": -(10**400), "decoded_token": "b"}}])


OWN = {"9": {"logprob": -25.0, "rank": 900, "decoded_token": "own"}}
LIKELIEST = {
    "1": {"logprob": -0.5, "rank": 1, "decoded_token": "a"},
    "2": {"logprob": -3.0, "rank": 2, "decoded_token": "b"},
}


def test_the_token_that_stands_there_is_known_and_is_no_bound_for_others() -> None:
    prompt = MarkedPrompt("x", (1,), ("own", "5"))
    [place] = read_prompt_places([OWN | LIKELIEST])
    assert candidate_logprobs(place, prompt, floor_unlisted=True) == (-25.0, -3.0)
    assert read_prompt_places([OWN])[0].floor == -25.0  # where it alone is listed, it is the likeliest
    assert Place("", None).floor is None


def test_a_candidate_is_known_by_its_id_before_its_text() -> None:
    prompt = MarkedPrompt([1], (1,), ("1", "2"), (11, 12))
    place = Place("1", {"1": -9.0, 11: -1.0, "2": -2.0})
    assert candidate_logprobs(place, prompt, floor_unlisted=False) == (-1.0, -2.0)


def test_how_many_are_listed_changes_no_name_unless_the_floor_is_taken() -> None:
    assert Echo(5).settings == Echo(50).settings != PromptLogprobs(5).settings
    assert Echo(5, True).settings != Echo(50, True).settings
    with pytest.raises(SettingError, match="n_logprobs=0"):
        Echo(0)
