"""Answers from a file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from latentese.errors import AnswerError, SettingError
from latentese.lm.protocol import Message, Request
from latentese.lm.scripted import ScriptedChat

SCRIPT = '{"match": "Paris", "answer": "cities"}\n\n{"match": "Paris, Rome", "answer": "never"}\n'


def ask(path: Path, script: str, *contents: str, n_shared: int = 0) -> str:
    path.write_text(script)
    request = Request(tuple(Message("user", content) for content in contents), max_tokens=5, n_shared=n_shared)
    return asyncio.run(ScriptedChat(path).complete(request)).text


def test_the_first_rule_that_matches_answers(tmp_path: Path) -> None:
    assert ask(tmp_path / "script", SCRIPT, "Paris, Rome") == "cities"


def test_shared_messages_are_not_searched(tmp_path: Path) -> None:
    with pytest.raises(AnswerError, match="no answer to 'Rome'"):
        ask(tmp_path / "script", SCRIPT, "Paris", "Rome", n_shared=1)


def test_the_name_changes_with_the_script(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(SCRIPT)
    (tmp_path / "other").write_text(SCRIPT.replace("cities", "towns"))
    assert ScriptedChat(tmp_path / "one").name != ScriptedChat(tmp_path / "other").name


def test_a_line_separator_inside_a_text_does_not_end_its_line(tmp_path: Path) -> None:
    script = '{"match": "a\u2028b", "answer": "separated"}\r\n{"match": "", "answer": "other"}'
    assert ask(tmp_path / "script", script, "a\u2028b") == "separated"


@pytest.mark.parametrize(
    "line", ["{}", "[" * 100_000, "3", '{"match": "", "answer": null}', '{"match": 7, "answer": ""}']
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "script").write_text(f"{SCRIPT}{line}\n")
    with pytest.raises(SettingError, match="script:4"):
        ScriptedChat(tmp_path / "script")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "script").write_bytes(b'{"match": "", "answer": "\xff"}')
    with pytest.raises(SettingError, match=r"text in UTF-8 .* at byte 25"):
        ScriptedChat(tmp_path / "script")
