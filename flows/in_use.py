"""A file that stays as it is while stages work with what it says.

DVC reads params.yaml when a stage begins and once more when it ends, and notes what it says then. If another run wrote
its own settings in between, dvc.lock and DVC's cache would name these for a result of others, for good.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from latentese.errors import LatenteseError
from latentese.store.files import write_text

LOCK = Path(".cache/params.lock")


@contextmanager
def in_use(path: Path) -> Iterator[None]:
    """Let nobody write the file by `written` meanwhile; others may use it too.

    Raises LatenteseError at the end if it was written all the same, as `dvc exp run -S` does.
    """
    with _lock() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        before = _content(path)
        yield
        if _content(path) != before:
            problem = "changed meanwhile, and what was made would be noted under other settings; run again"
            raise LatenteseError(f"{path} {problem}")


@contextmanager
def written(path: Path, text: str) -> Iterator[None]:
    """Write the file, unless it says the same already, and use it.

    Raises LatenteseError while others use it as it is.
    """
    with _lock() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if _content(path) != text.encode():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LatenteseError(
                    f"{path} is in use: stages run here with other settings; wait for them, or run in a copy of the "
                    "project (--sandbox)"
                ) from None
            write_text(text, path)
            fcntl.flock(lock, fcntl.LOCK_SH)
        with in_use(path):
            yield


def _lock() -> TextIO:
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    return LOCK.open("a", encoding="utf-8")


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
