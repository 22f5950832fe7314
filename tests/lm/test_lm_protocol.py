"""Requests that make no sense are refused where they are made."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from latentese.errors import SettingError
from latentese.lm.protocol import ForkRequest, JsonRequest, MarkRequest, Message, Request
from latentese.lm.wire import ChatWire
from latentese.store.files import canonical_json

USER = (Message("user", "abc"),)


@pytest.mark.parametrize(
    ("fields", "setting"),
    [
        ({"messages": ()}, "messages"),
        ({"messages": (*USER, Message("assistant", ""))}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": -1.0}, "temperature"),
        ({"n_shared": 1}, "n_shared"),
    ],
)
def test_a_request_names_the_bad_setting(fields: dict[str, object], setting: str) -> None:
    with pytest.raises(SettingError, match=f"^{setting}="):
        Request(**({"messages": USER, "max_tokens": 1} | fields))  # type: ignore[arg-type]


def test_equal_requests_are_kept_and_seeded_alike() -> None:
    whole, real = (Request(USER, 5, temperature) for temperature in (1, 1.0))
    assert canonical_json(asdict(whole)) == canonical_json(asdict(real)) == (
        '{"max_tokens":5,"messages":[{"content":"abc","role":"user"}],"n_shared":0,"sample_idx":0,"stop":[],'
        '"temperature":1.0}'
    )  # fmt: skip
    assert ChatWire().body(whole)["seed"] == ChatWire().body(real)["seed"]
    assert '"temperature":0.0' in canonical_json(asdict(JsonRequest(USER, 5, -0.0)))


@pytest.mark.parametrize("marks", [(), (0,), (2, 2), (3, 1), (4,)])
def test_marks_ascend_inside_the_last_message(marks: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match=r"ascending offsets in 1\.\.3"):
        MarkRequest(USER, marks, ("a",))


@pytest.mark.parametrize("candidates", [(), ("a", "")])
def test_candidates_are_texts(candidates: tuple[str, ...]) -> None:
    with pytest.raises(SettingError, match="candidates"):
        MarkRequest(USER, (1,), candidates)


@pytest.mark.parametrize("answers", [("x",), ("x", ""), ("x", "y", "z")])
def test_forks_have_an_answer_each(answers: tuple[str, ...]) -> None:
    with pytest.raises(SettingError, match="2, one for each mark"):
        ForkRequest(USER, (1, 3), answers, ("a",))


def test_a_fork_alone_is_the_text_up_to_its_mark_and_the_answer_begun() -> None:
    request = ForkRequest((Message("system", "be brief"), *USER), (1, 3), ("x", "yes"), ("0",), n_shared=1)
    first, second = request.alone
    assert first.messages == (Message("system", "be brief"), Message("user", "a"), Message("assistant", "x"))
    assert (second.messages[1:], second.marks) == ((*USER, Message("assistant", "yes")), (3,))
    assert (second.candidates, second.n_shared) == (("0",), 1)


@pytest.mark.parametrize(("n_shared", "n_characters"), [(1, -1), (1, 4), (0, 1)])
def test_what_some_conversations_begin_alike_with_stands_behind_shared_messages(
    n_shared: int, n_characters: int
) -> None:
    with pytest.raises(SettingError, match="n_shared_characters"):
        JsonRequest((*USER, *USER), 1, n_shared=n_shared, n_shared_characters=n_characters)


@pytest.mark.parametrize("schema", ["true", "[]", "1", "{"])
def test_a_schema_is_a_json_object(schema: str) -> None:
    with pytest.raises(SettingError, match="json_schema"):
        JsonRequest(USER, 1, json_schema=schema)


def test_a_json_answer_is_not_begun() -> None:
    with pytest.raises(SettingError, match="written whole"):
        JsonRequest((*USER, Message("assistant", '{"a": ')), 1)
