"""Answers of language models in one SQLite file, under the hash of model and whole request.

The file lies outside every artifact and may be shared by all runs: an answer is never asked for twice. Keeping one
costs some milliseconds, for an answer that took seconds or money.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from latentese.lm.database import Database
from latentese.store.files import canonical_json, sha256_json

_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,    -- SHA-256 of [model, kind, request]
    model TEXT NOT NULL,
    kind TEXT NOT NULL,      -- class of the request
    request TEXT NOT NULL,   -- JSON
    reply TEXT NOT NULL      -- JSON
) WITHOUT ROWID
"""


class AnswerStore:
    """Answers by model, kind of request, and request; opened on first use."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _TABLE)

    def get(self, model: str, kind: str, request: object) -> str | None:
        """Return the kept answer, as it was put."""
        with self._database.read() as connection:
            return _reply(connection, _key(model, kind, request))

    def put(self, model: str, kind: str, request: object, reply: str) -> str:
        """Keep an answer and return the kept one: the first, when two processes asked the same at once."""
        key = _key(model, kind, request)
        row = (key, model, kind, canonical_json(request), reply)
        with self._database.write() as connection:
            connection.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", row)
            return _reply(connection, key) or reply


def _key(model: str, kind: str, request: object) -> str:
    return sha256_json([model, kind, request])


def _reply(connection: sqlite3.Connection, key: str) -> str | None:
    row = connection.execute("SELECT reply FROM answers WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])
