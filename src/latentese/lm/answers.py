"""Answers of language models in one SQLite file, under the hash of model and whole request.

The file lies outside every artifact and may be shared by all runs: an answer is never asked for twice. Write-ahead
logging lets several processes read and write at once. `synchronous=FULL` waits for the disk at each answer: some
milliseconds, for an answer that took seconds or money, which then survives a power cut and not only a kill.
"""

from __future__ import annotations

import fcntl
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentese.errors import LatenteseError
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
_WAIT_SECONDS = 60.0


class AnswerStore:
    """Answers by model, kind of request, and request; opened on first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: sqlite3.Connection | None = None

    def get(self, model: str, kind: str, request: object) -> str | None:
        """Return the kept answer, as it was put."""
        with self._connected() as connection:
            return _reply(connection, _key(model, kind, request))

    def put(self, model: str, kind: str, request: object, reply: str) -> str:
        """Keep an answer and return the kept one: the first, when two processes asked the same at once."""
        key = _key(model, kind, request)
        row = (key, model, kind, canonical_json(request), reply)
        with self._connected() as connection:
            with connection:
                connection.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", row)
            return _reply(connection, key) or reply

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            self._opened = self._opened or self._open()
            yield self._opened
        except sqlite3.DatabaseError as error:
            raise LatenteseError(
                f"{self._path}: answer cache cannot be used ({error}); move it away or free it"
            ) from error

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # The change to write-ahead logging does not wait for other processes, so they take turns.
        with self._path.with_name(f"{self._path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            connection = sqlite3.connect(self._path, timeout=_WAIT_SECONDS, check_same_thread=False)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            with connection:
                connection.execute(_TABLE)
        weakref.finalize(self, connection.close)
        return connection


def _key(model: str, kind: str, request: object) -> str:
    return sha256_json([model, kind, request])


def _reply(connection: sqlite3.Connection, key: str) -> str | None:
    row = connection.execute("SELECT reply FROM answers WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])
