"""One SQLite file that several processes read and write at once, and that loses nothing when they are killed."""

from __future__ import annotations

import fcntl
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentese.errors import LatenteseError

_WAIT_SECONDS = 60.0


class Database:
    """A file with one or more tables, opened on first use.

    Write-ahead logging lets several processes read and write at once. `synchronous=FULL` waits for the disk at each
    change, which then survives a power cut and not only a kill.
    """

    def __init__(self, path: Path, tables: str) -> None:
        self.path = path
        self._tables = tables
        self._opened: sqlite3.Connection | None = None

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give the connection; raises LatenteseError, naming the file, when it cannot be used."""
        try:
            self._opened = self._opened or self._open()
            yield self._opened
        except sqlite3.DatabaseError as error:
            raise LatenteseError(f"{self.path}: cannot be used ({error}); move it away or free it") from error

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give the connection inside a transaction that begins before anything is read, and is kept whole or not."""
        with self.read() as connection:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                yield connection

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # The change to write-ahead logging does not wait for other processes, so they take turns.
        with self.path.with_name(f"{self.path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            connection = sqlite3.connect(
                self.path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(self._tables)
        weakref.finalize(self, connection.close)
        return connection
