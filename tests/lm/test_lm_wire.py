"""What is sent for a request, field by field, and what is taken from responses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from latentese.errors import AnswerError, SettingError
from latentese.lm.prompts import TranscriptPrompts
from latentese.lm.protocol import JsonRequest, MarkRequest, Message, Reply, Request
from latentese.lm.wire import ChatWire, CompletionWire, most_of, most_of_answer
from latentese.records import Usage

USER = Message("user", "rivers")
PREFIX = Message("assistant", "Fires on:")
REQUEST = Request((Message("system", "Name it."), USER, PREFIX), 48, stop=("\n",))
USAGE = Usage(3, 2)


def chat_body(content: object, finish: object = "stop", **message: object) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content} | message, "finish_reason": finish}]}


def test_a_server_that_continues_gets_the_beginning_as_it_is() -> None:
    wire = ChatWire(prefix_fields={"continue_final_message": True})
    assert wire.body(REQUEST) == {
        "messages": [
            {"role": "system", "content": "Name it."},
            {"role": "user", "content": "rivers"},
            {"role": "assistant", "content": "Fires on:"},
        ],
        "max_tokens": 48,
        "temperature": 0.0,
        "stop": ["\n"],
        "continue_final_message": True,
    }


def test_a_server_that_cannot_is_asked_to_begin_so() -> None:
    messages = ChatWire().body(REQUEST)["messages"]
    assert messages[1:] == [
        {
            "role": "user",
            "content": "rivers\n\nBegin your answer with these words, and go on from there: Fires on:",
        }
    ]
    alone = Request((Message("system", "Name it."), PREFIX), 8)
    assert [message["role"] for message in ChatWire().body(alone)["messages"]] == ["system", "user"]


@pytest.mark.parametrize("text", ["Fires on: rivers", "\n Fires on: rivers"])
def test_the_beginning_that_was_asked_for_is_no_part_of_the_answer(text: str) -> None:
    request = replace(REQUEST, stop=())
    assert ChatWire().read(chat_body(text), USAGE, request) == Reply(" rivers", USAGE, "stop")


@pytest.mark.parametrize(
    ("beginning", "text", "rest"),
    [
        ("Fires on", "Fires on rivers", " rivers"),
        ("Fires on", "fires on", ""),
        ("Fires on", "Fires only on rivers", "Fires only on rivers"),
        ("the word", "the words 'a' and 'b'", "the words 'a' and 'b'"),
        ("Fires on:", "Fires on:rivers", "rivers"),
        ("[", "[1, 2]", "1, 2]"),
    ],
)
def test_a_beginning_whose_last_word_goes_on_is_another(beginning: str, text: str, rest: str) -> None:
    request = Request((USER, Message("assistant", beginning)), 48)
    assert ChatWire().read(chat_body(text), USAGE, request).text == rest


def test_what_a_server_does_not_take_is_renamed_or_left_out() -> None:
    wire = ChatWire(renamed={"max_tokens": "max_completion_tokens", "temperature": None}, extra_fields={"user": "x"})
    body = wire.body(Request((USER,), 48))
    assert body == {"messages": [{"role": "user", "content": "rivers"}], "max_completion_tokens": 48, "user": "x"}


def test_samples_have_seeds_of_their_own_that_repeat() -> None:
    requests = [Request((USER,), 48, temperature=1.0, sample_idx=i) for i in range(3)]
    seeds = [ChatWire().body(request)["seed"] for request in requests]
    assert len(set(seeds)) == 3
    assert seeds == [ChatWire().body(request)["seed"] for request in requests]
    assert "seed" not in ChatWire().body(Request((USER,), 48))


def test_a_schema_goes_to_servers_that_have_them() -> None:
    request = JsonRequest((USER,), 48, json_schema='{"type": "array"}')
    expected = {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": {"type": "array"}},
    }
    assert ChatWire().body(request)["response_format"] == expected
    assert "response_format" not in ChatWire(has_schemas=False).body(request)
    assert ChatWire().body(Request((USER,), 48)).keys() == {"messages", "max_tokens", "temperature"}
    with pytest.raises(SettingError, match="json_schema"):
        JsonRequest((USER,), 48, json_schema="{")


def test_a_transcript_for_plain_completions() -> None:
    wire = CompletionWire()
    assert wire.body(REQUEST)["prompt"] == "System: Name it.\n\nUser: rivers\n\nAssistant: Fires on:"
    assert wire.body(Request((USER,), 48))["prompt"] == "User: rivers\n\nAssistant:"
    body = {"choices": [{"text": " rivers\nUser:", "finish_reason": "length"}]}
    assert wire.read(body, USAGE, REQUEST) == Reply(" rivers", USAGE, "stop")
    assert wire.read(body, USAGE, replace(REQUEST, stop=())).finish == "length"


def test_marks_move_with_the_transcript_and_the_prompt_ends_at_the_last() -> None:
    # "User: a\n\nAssistant: " has 20 characters.
    marked = TranscriptPrompts().marked(
        MarkRequest((Message("user", "a"), Message("assistant", "b\tc\td")), (2, 4), ("1",))
    )
    assert (marked.prompt, marked.marks) == ("User: a\n\nAssistant: b\tc\t", (22, 24))
    assert marked.up_to(22) == "User: a\n\nAssistant: b\t"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "no list of choices"),
        ({"choices": []}, "0 of choices"),
        ({"choices": [1]}, "1 of choices"),
        (chat_body("a") | {"choices": chat_body("a")["choices"] * 2}, "2 of choices"),
        ({"choices": [{}]}, "without a message"),
        (chat_body(None), "text is NoneType"),
        (chat_body(7), "text is int"),
        (chat_body(None, refusal="I will not"), "refuses: 'I will not'"),
        (chat_body("a", "content_filter"), "content filter"),
        (chat_body("a", None), "does not say why it ends"),
    ],
)
def test_a_response_without_a_usable_answer(body: dict[str, Any], problem: str) -> None:
    with pytest.raises(AnswerError, match=problem):
        ChatWire().read(body, USAGE, Request((USER,), 48))


def test_half_a_surrogate_pair_can_be_written_to_files() -> None:
    reply = ChatWire().read(chat_body("a\ud83d, \U0001f600"), USAGE, Request((USER,), 48))
    assert reply.text == "a\ufffd, \U0001f600"


def test_estimates_are_rather_too_high() -> None:
    # 6 bytes make 2 tokens, and a message 8: "rivers" is one or two in truth.
    assert most_of((USER,), 48) == most_of_answer(Request((USER,), 48)) == Usage(10, 48)
    # 17 bytes would be 6 tokens, but 2 words and 7 signs are 9.
    assert most_of_answer(JsonRequest((USER,), 48, json_schema='{"type": "array"}')) == Usage(19, 48)


@pytest.mark.parametrize(
    ("text", "n_tokens"),
    [
        (" boats\t0\n", 4),  # a word, a tab, a digit, a line break: 9 bytes would be 3
        ("a\t10\n,\t0\n", 9),  # 5 + 4, where 9 bytes would be 3
        ("extraordinarily\na\t0\n", 6 + 4),  # 16 bytes are 6, and no less for the line below
        ("日本", 2),  # 6 bytes, one word
        ("", 0),
    ],
)
def test_short_tokens_count_one_by_one(text: str, n_tokens: int) -> None:
    # A message has 8 more around it.
    assert most_of((Message("user", text),), 48) == Usage(n_tokens + 8, 48)


@pytest.mark.parametrize(
    "other", [ChatWire(prefix_fields={}), ChatWire(has_schemas=False), ChatWire(renamed={"stop": None})]
)
def test_settings_tell_wires_apart(other: ChatWire) -> None:
    assert other.settings != ChatWire().settings
