"""Where fetched assets are kept, outside of every project folder, and made once."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from latentese.errors import AssetError


def cache_dir() -> Path:
    """Folder of fetched assets: `$LATENTESE_CACHE`, else `~/.cache/latentese`."""
    named = os.environ.get("LATENTESE_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "latentese"


def make_once(folder: Path, make: Callable[[Path], Path]) -> Path:
    """Return `folder`, made on the first call only, however many processes ask at once.

    `make` works in a folder that survives an interruption and returns the finished folder inside it, which is
    moved to `folder` in one step; what else it left there is removed.
    """
    if folder.is_dir():
        return folder
    work = folder.with_name(f"{folder.name}.work")
    try:
        work.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f"{folder.name}.lock")):
            if not folder.is_dir():
                work.mkdir(exist_ok=True)  # who held the lock before may have removed it
                make(work).rename(folder)
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise AssetError(f"{folder.name}: cannot write to {folder.parent} ({error.strerror})") from error
    return folder


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    """Wait for other processes that make the same asset; the lock goes with its process."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
