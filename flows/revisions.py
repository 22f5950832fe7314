"""Artifacts of any revision, read from DVC's cache, or of another project's folder; nothing in either is touched."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flows.config import Params, parse_yaml, read_params, read_yaml
from flows.paths import PARAMS
from latentese.errors import LatenteseError

if TYPE_CHECKING:
    from dvc.fs import DVCFileSystem

WORKSPACE = "workspace"


@dataclass(frozen=True)
class Revision:
    """One state of the project."""

    name: str
    params: Params
    fetch: Callable[[Path], Path]
    """Path in the project -> where its content is; a file or folder of another revision is copied from the cache."""

    def require(self, *sections: str) -> None:
        """Raise LatenteseError where the configuration says nothing of one of these."""
        for section in sections:
            if not self.params.get(section):
                raise LatenteseError(f"{self.name}: its {PARAMS} says nothing of `{section}`, so it is no run")


@contextmanager
def open_revision(name: str) -> Iterator[Revision]:
    """Open a Git revision, a DVC experiment by its name, `workspace`, or a folder; copies go when it is closed.

    A folder is one with a params.yaml, and comes before a revision of the same name.
    """
    if name == WORKSPACE:
        yield Revision(name, read_params(), partial(_present, name, Path()))
        return
    if (folder := Path(name)).joinpath(PARAMS).is_file():
        yield Revision(name, read_yaml(folder / PARAMS), partial(_present, name, folder))
        return
    files = _file_system(name)
    room = Path(tempfile.mkdtemp(prefix="latentese-revision-"))

    def fetch(path: Path) -> Path:
        return _fetch(files, name, path, room / path)

    try:
        yield Revision(name, parse_yaml(fetch(PARAMS).read_text(encoding="utf-8")), fetch)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _present(name: str, folder: Path, path: Path) -> Path:
    if not (folder / path).exists():
        raise LatenteseError(f"{name}: {path} is missing; run `dvc repro` or `dvc checkout`")
    return folder / path


def _file_system(name: str) -> DVCFileSystem:
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.fs import DVCFileSystem
    from dvc.repo import Repo
    from dvc.scm import resolve_rev

    try:
        with Repo() as repo:
            return DVCFileSystem(rev=resolve_rev(repo.scm, name))
    except NotDvcRepoError as error:
        raise LatenteseError(f"{name}: {' '.join(str(error).split())}") from error
    except DvcException as error:
        problem = f"no Git revision and no DVC experiment (`dvc exp list`), nor `{WORKSPACE}` or a folder with {PARAMS}"
        raise LatenteseError(f"{name}: {problem}") from error


def _fetch(files: DVCFileSystem, revision: str, path: Path, copy: Path) -> Path:
    from dvc.exceptions import DvcException

    if copy.exists():
        return copy
    try:
        if not files.exists(str(path)):
            raise LatenteseError(f"{revision}: it has no {path}")
        copy.parent.mkdir(parents=True, exist_ok=True)
        files.get(str(path), str(copy), recursive=files.isdir(str(path)))
    except (OSError, DvcException) as error:
        problem = f"{path} is not in DVC's cache: run `dvc fetch`, or check the revision out and run `dvc repro`"
        raise LatenteseError(f"{revision}: {problem}") from error
    return copy
