"""A key changes with what code does, not with how it is written, and only with code that takes part."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import latentese
from flows.keys import code_of, is_done, mark_done, module_of
from latentese.store.artifact import open_draft

TOPK = "latentese.dictionaries.topk"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package that may be edited."""
    return Path(shutil.copytree(Path(latentese.__file__).parent, tmp_path / "src" / "latentese"))


def code_in(package: Path, *modules: str) -> str:
    """Hash of a copy's code, in a process that imports the copy."""
    code = f"from flows.keys import code_of; print(code_of(*{modules!r}))"
    path = f"{package.parent}:{Path(__file__).parents[2]}"
    environment = {"PYTHONPATH": path, "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_comments_docstrings_and_layout_do_not_count(package: Path) -> None:
    before = code_in(package, TOPK)
    assert before == code_of(TOPK)
    file = package / "dictionaries" / "topk.py"
    edit(file, "sparse autoencoder of Gao et al. 2024", "autoencoder")
    edit(file, "        return UnitActs(", "        # the k largest\n\n        return UnitActs(")
    assert code_in(package, TOPK) == before


def test_a_changed_constant_counts_wherever_it_is_imported_from(package: Path) -> None:
    before = code_in(package, TOPK)
    edit(package / "dictionaries" / "losses.py", "n_steps: int = 50", "n_steps: int = 60")
    assert code_in(package, TOPK) != before


def test_code_that_takes_no_part_does_not_count(package: Path) -> None:
    before = code_in(package, TOPK)
    (package / "dictionaries" / "another.py").write_text("X = 1\n")
    edit(package / "metrics" / "intervals.py", "DECIMALS = 12", "DECIMALS = 11")
    assert code_in(package, TOPK) == before


def test_other_modules_other_code() -> None:
    assert code_of(TOPK) != code_of("latentese.dictionaries.neurons")
    assert code_of(TOPK, "latentese.stages.train") == code_of("latentese.stages.train", TOPK)
    assert module_of("latentese.dictionaries.topk.TopK") == TOPK


def test_done_is_an_artifact_with_this_key(tmp_path: Path) -> None:
    out = tmp_path / "cell" / "dictionary"
    assert not is_done(out, "a")
    mark_done(out, "a")
    assert not is_done(out, "a"), "a key without an artifact is nothing"
    with open_draft(out, "dictionary", {}, {}) as draft:
        draft.publish({})
    assert is_done(out, "a")
    assert not is_done(out, "b")


def test_code_that_is_imported_by_a_name_counts(package: Path) -> None:
    formats = "latentese.dictionaries.formats"
    before = code_in(package, f"{formats}.load")
    edit(
        package / "dictionaries" / "formats" / "sae_lens.py",
        "from pathlib import Path",
        "from pathlib import Path\nX = 1",
    )
    assert code_in(package, f"{formats}.load") != before
