"""Files are whole or absent: after a kill, on a full disk, and beside what was there before."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
import torch

from latentese.errors import ArtifactError
from latentese.store.files import sha256_file, whole_file, write_json, write_text
from latentese.store.shards import write_shard
from latentese.store.tables import write_table
from latentese.store.tensors import TensorSpec, write_tensors

N = 50_000
TENSORS = {"a": torch.arange(N, dtype=torch.float32)}
WRITERS: dict[str, Callable[[Path], None]] = {
    "text": lambda path: write_text("x" * N, path),
    "json": lambda path: write_json(["x" * N], path),
    "shard": lambda path: write_shard(TENSORS, path),
    "tensors": lambda path: write_tensors({"a": TensorSpec(torch.float32, (N,))}, TENSORS.items(), path),
    "table": lambda path: write_table(pl.DataFrame({"a": noise()}), pl.Schema({"a": pl.Float64}), path),
}


def noise() -> list[float]:
    """Numbers that do not compress."""
    return torch.rand(N, generator=torch.Generator().manual_seed(0)).double().tolist()


@contextmanager
def room_for(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path: Path, writer: str) -> None:
    path = tmp_path / "file"
    WRITERS[writer](path)
    before = sha256_file(path)
    with room_for(10_000), pytest.raises(ArtifactError, match=r"file: cannot be written \(File too large\)") as error:
        WRITERS[writer](path)
    assert "\n" not in str(error.value)
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
    assert sha256_file(path) == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_each_refusal_is_said_in_the_systems_words(tmp_path: Path, number: int) -> None:
    with pytest.raises(ArtifactError, match=os.strerror(number)), whole_file(tmp_path / "file"):
        raise OSError(number, os.strerror(number))


def test_a_folder_that_is_a_file_is_no_refusal_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        write_text("x", tmp_path / "file" / "inside")


def test_other_errors_pass_and_leave_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_file(tmp_path / "file") as part:
            part.write_text("half")
            raise ValueError("not the disk")

    with pytest.raises(ValueError, match="not the disk"):
        fail()
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from latentese.store.files import whole_file
with whole_file(Path(sys.argv[1])) as part:
    part.write_text("half")
    (part.parent / ".tmpabc").write_text("what safetensors writes before it renames it")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_kill_left_is_gone_once_the_file_is_written(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "file")]
    environment = {**os.environ, "PYTHONPATH": "src"}
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "file").exists()
    write_text("whole", tmp_path / "file")
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_writers_of_tensors_stay_in_the_folder_they_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """safetensors writes under a name of its own beside the file it is asked for."""
    from latentese.store import shards

    seen: list[Path] = []
    monkeypatch.setattr(shards, "save_file", lambda _, path, notes: seen.append(path) or path.write_bytes(b""))
    write_shard(TENSORS, tmp_path / "shard")
    assert seen == [tmp_path / "shard.writing" / "shard"]
