"""A language model that answers from a file: for lessons, tests, and pipelines that are tried out without a model.

The file has one JSON object per line; the first whose `match` occurs in the question answers it:

    {"match": "<<Paris>>", "answer": "names of cities"}
    {"match": "", "answer": "anything else"}
"""

from __future__ import annotations

import json
from pathlib import Path

from latentese.errors import AnswerError, SettingError
from latentese.lm.protocol import Reply, Request
from latentese.records import Usage
from latentese.store.files import sha256_json

_FORM = '{"match": a text, "answer": a text} on each line'


class ScriptedChat:
    """Answers by what a question holds: its messages after the shared ones, joined by line breaks.

    Raises SettingError naming the first line of the script that is not such an object.
    """

    def __init__(self, path: str | Path) -> None:
        if not Path(path).is_file():
            raise SettingError("script", str(path), "a file of answers that exists")
        self._answers: dict[str, str] = {}
        # At "\n" alone: JSON texts may hold other line separators.
        for number, line in enumerate(_read(Path(path)).split("\n"), start=1):
            if line.strip():
                match, answer = _rule(line, f"{path}:{number}")
                self._answers.setdefault(match, answer)

    @property
    def name(self) -> str:
        """`scripted` and the hash of the script, order included."""
        return f"scripted@{sha256_json(list(self._answers.items()))[:12]}"

    async def complete(self, request: Request) -> Reply:
        """Answer with the first rule that matches; raises AnswerError when none does."""
        question = "\n".join(message.content for message in request.messages[request.n_shared :])
        for match, answer in self._answers.items():
            if match in question:
                return Reply(answer, Usage(len(question.split()), len(answer.split())), "stop")
        raise AnswerError(f"the script has no answer to {question[-60:]!r}")


def _rule(line: str, where: str) -> tuple[str, str]:
    try:
        rule = json.loads(line)
        match, answer = rule["match"], rule["answer"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SettingError("script", where, _FORM) from error
    if not isinstance(match, str) or not isinstance(answer, str):
        raise SettingError("script", where, _FORM)
    return match, answer


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingError("script", str(path), f"text in UTF-8 ({error.reason} at byte {error.start})") from error
