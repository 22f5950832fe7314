"""A copy of the project is made in new folders and earlier copies only; nobody's files are ever touched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flows.checkout import copy_checkout
from flows.paths import kept
from latentese.errors import SettingError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").write_text("")
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / ".gitignore").write_text("artifacts\n")
    (folder / "artifacts").write_text("large")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    return folder


def test_tracked_and_new_files_are_copied_and_ignored_ones_are_not(project: Path, tmp_path: Path) -> None:
    (project / "new.py").write_text("")
    copy = copy_checkout(project, tmp_path / "copy")
    assert {path.name for path in copy.iterdir()} == {".dvc", ".git", ".gitignore", "dvc.yaml", "new.py"}
    assert str(project / ".dvc" / "cache") in (copy / ".dvc" / "config.local").read_text()


def test_second_copy_follows_the_project_and_keeps_artifacts(project: Path, tmp_path: Path) -> None:
    (project / "new.py").write_text("")
    copy = copy_checkout(project, tmp_path / "copy")
    (copy / "artifacts").write_text("of the copy")
    (project / "new.py").unlink()
    copy_checkout(project, copy)
    assert not (copy / "new.py").exists()
    assert (copy / "artifacts").read_text() == "of the copy"


def test_folder_with_other_files_is_refused_and_left_alone(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("work")
    for folder in (other, project):
        with pytest.raises(SettingError, match=r"^--sandbox='.*' is not allowed: an empty or new folder"):
            copy_checkout(project, folder)
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


def test_answers_are_those_of_the_project_that_was_copied(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy_checkout(project, tmp_path / "copy"))
    assert kept(".cache/answers.sqlite") == project / ".cache" / "answers.sqlite"
    monkeypatch.chdir(project)
    assert kept(".cache/answers.sqlite") == project / ".cache" / "answers.sqlite"
