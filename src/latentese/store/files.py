"""Files that are whole or absent, and their hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from latentese.errors import ArtifactError

CHUNK_BYTES = 1 << 22
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says on a full disk, and at a quota or a limit."""
REFUSALS = NO_ROOM | {errno.EROFS, errno.EACCES, errno.EPERM}
"""What it says when a file cannot be written: no room, or no permission."""


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_json(value: object) -> str:
    """SHA-256 of a value's canonical JSON: the same for equal values, whatever the order of keys."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spare space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; on success it becomes `path` atomically, on failure nothing is left.

    Raises ArtifactError where the system refuses to write, such as on a full disk; what was at `path` stays.
    """
    # A folder of its own: some writers use further files beside it, which a kill would leave among an artifact's.
    room = path.with_name(f"{path.name}.writing")
    try:
        with said_of(path, REFUSALS):
            shutil.rmtree(room, ignore_errors=True)
            room.mkdir(parents=True)
            yield (part := room / path.name)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
    finally:
        shutil.rmtree(room, ignore_errors=True)


@contextmanager
def said_of(path: Path, refusals: Collection[int]) -> Iterator[None]:
    """Turn what the system refuses, among these error numbers, into one line about `path`: an ArtifactError."""
    try:
        yield
    except Exception as error:
        if (number := _errno_of(error)) in refusals:
            problem = f"cannot be written ({os.strerror(number)}); what was there before is kept: mend it and run again"
            raise ArtifactError(path, problem) from error
        raise


def _errno_of(error: Exception) -> int:
    """Find the system's error number, 0 where there is none; libraries in Rust name it in their message alone."""
    if isinstance(error, OSError):
        return error.errno or 0
    named = re.search(r"\(os error (\d+)\)", str(error))
    return int(named[1]) if named else 0


def write_text(text: str, path: Path) -> None:
    """Write UTF-8 text at `path`, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(value: object, path: Path) -> None:
    """Write readable JSON at `path`, whole or not at all; equal values give equal bytes."""
    write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", path)
