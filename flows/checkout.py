"""A copy of the project to run in, so that a run with other settings leaves the checkout as it is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from flows.paths import COPY_MARK
from latentese.errors import LatenteseError, SettingError


def copy_checkout(source: Path, copy: Path) -> Path:
    """Copy the project's files (tracked ones and new ones that git does not ignore); share DVC's cache and answers.

    Files that are gone from the project go from the copy too; artifacts of earlier runs in the copy stay.
    """
    copy = copy.resolve()
    mark = copy / COPY_MARK
    if copy.is_dir() and any(copy.iterdir()) and not mark.is_file():
        raise SettingError("--sandbox", str(copy), "an empty or new folder, or an earlier copy of this project")
    files = _git(source, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    present = {name for name in files if name and (source / name).is_file()}
    if mark.is_file():
        for name in set(_git(copy, "ls-files", "-z").split("\0")) - present - {""}:
            (copy / name).unlink(missing_ok=True)
    for name in sorted(present):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, copy / name)
    _git(copy, "init", "--quiet")
    mark.write_text(str(source.resolve()), encoding="utf-8")
    _git(copy, "add", "--all")
    (copy / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {source.resolve() / '.dvc' / 'cache'}\n")
    return copy


def _git(folder: Path, *words: str) -> str:
    try:
        return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", "") or str(error)
        raise LatenteseError(f"git {words[0]} in {folder}: {' '.join(detail.split())}") from error
