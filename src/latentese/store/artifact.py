"""An artifact is a folder with a manifest, written last: no manifest, no artifact.

The manifest holds the schema version, the inputs' hashes, the settings, the counts and every file's hash, and
**no clock, no speed and no host**: the same inputs give the same bytes, or every rerun would invalidate what follows.

A stage works in a draft, a folder beside its output that survives a kill and is found again by the hash of its
inputs, settings and code, and publishes it in one move (DVC empties outputs before a stage runs).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from latentese.errors import ArtifactError, LatenteseError
from latentese.schemas import STILL_READ, VERSIONS
from latentese.store.files import NO_ROOM, said_of, sha256_file, sha256_json, write_json

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What an artifact is made of."""

    kind: str
    """A key of `schemas.VERSIONS`."""
    version: int
    inputs: Mapping[str, str]
    """Name of each input artifact and the SHA-256 of its manifest."""
    settings: Mapping[str, Any]
    counts: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)
    """Relative path of each file and its SHA-256."""


@dataclass(frozen=True)
class Artifact:
    """A published folder whose manifest was read and whose files were checked."""

    path: Path
    manifest: Manifest

    @property
    def sha256(self) -> str:
        """Identity of the artifact: the hash of its manifest."""
        return sha256_file(self.path / MANIFEST)

    def file(self, name: str) -> Path:
        """Path of a file that the manifest lists."""
        if name not in self.manifest.files:
            raise ArtifactError(self.path / name, "not listed in the manifest; run the stage that writes it again")
        return self.path / name


def open_artifact(path: Path, kind: str) -> Artifact:
    """Read the manifest of an artifact of this kind and check each of its files against its hash."""
    manifest = _read_manifest(path / MANIFEST)
    if manifest.kind != kind:
        raise ArtifactError(path, f"expected an artifact of kind {kind!r}, found {manifest.kind!r}")
    if manifest.version not in (VERSIONS[kind], *STILL_READ.get(kind, ())):
        raise ArtifactError(
            path / MANIFEST,
            f"schema version {manifest.version}, this release reads {VERSIONS[kind]}; run the stage again",
        )
    for name, sha256 in manifest.files.items():
        if not (path / name).is_file():
            raise ArtifactError(path / name, "missing; run the stage that writes it again")
        if sha256_file(path / name) != sha256:
            raise ArtifactError(path / name, "corrupt (another hash than in the manifest); run the stage again")
    return Artifact(path, manifest)


def _read_manifest(path: Path) -> Manifest:
    if not path.is_file():
        raise ArtifactError(path, "missing, so there is no artifact here; run the stage that writes it")
    try:
        return Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ArtifactError(path, f"not a manifest ({error}); run the stage again") from error


@dataclass(frozen=True)
class Draft:
    """A resumable folder that becomes an artifact when published."""

    path: Path
    out: Path
    kind: str
    inputs: Mapping[str, str]
    settings: Mapping[str, Any]

    def publish(self, counts: Mapping[str, Any]) -> Artifact:
        """Write the manifest and move the draft to its output in one step.

        Every file in the draft is listed; working files belong in `draft.path / "work"`, which is dropped.
        """
        shutil.rmtree(self.path / "work", ignore_errors=True)
        files = {
            str(file.relative_to(self.path)): sha256_file(file)
            for file in sorted(self.path.rglob("*"))
            if file.is_file() and file.name != MANIFEST
        }
        manifest = Manifest(self.kind, VERSIONS[self.kind], self.inputs, self.settings, counts, files)
        write_json(asdict(manifest), self.path / MANIFEST)
        # Moved away, not removed in place: a kill leaves the old artifact whole, or none, never half of it.
        before = self.path.with_name("replaced")
        if self.out.exists():
            self.out.replace(before)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(self.out)
        shutil.rmtree(before, ignore_errors=True)
        return Artifact(self.out, manifest)


@contextmanager
def open_draft(out: Path, kind: str, inputs: Mapping[str, Artifact], settings: Mapping[str, Any]) -> Iterator[Draft]:
    """Open the draft of the artifact `out`, as an interrupted run left it, or empty.

    Drafts of other inputs, settings or code are removed. A second process that wants the same output stops with one
    line: a killed scheduler may have left the first one alive. So does a full disk, whoever writes in the draft.
    """
    input_hashes = {name: artifact.sha256 for name, artifact in inputs.items()}
    key = sha256_json([kind, VERSIONS[kind], input_hashes, settings, code_sha256()])[:16]
    room = out.parent / ".scratch" / out.name
    room.mkdir(parents=True, exist_ok=True)
    with locked(room / "lock", out):
        for other in room.iterdir():
            if other.is_dir() and other.name != key:
                shutil.rmtree(other)
        path = room / key
        path.mkdir(exist_ok=True)
        with said_of(path, NO_ROOM):  # working files, too, which are written as they come
            yield Draft(path, out, kind, input_hashes, settings)


@contextmanager
def locked(lock: Path, out: Path) -> Iterator[None]:
    """Hold the lock file of `out`, or stop with one line when another process holds it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LatenteseError(
                f"{out}: another process is writing it; wait for it or stop it (fuser {lock})"
            ) from error
        yield


@cache
def code_sha256() -> str:
    """Hash of this package's source: a draft that other code began is not resumed."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for source in sorted(root.rglob("*.py")):
        digest.update(str(source.relative_to(root)).encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()
