"""Cells trained side by side are the artifacts that stage `train` writes, interrupted or not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_stages_train import SETTINGS, files_of
from toy_artifacts import write_activations, write_contexts

from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.errors import LatenteseError, SettingError
from latentese.schemas import TRAIN_LOG
from latentese.stages.cells import train_cells
from latentese.stages.train import train
from latentese.store.artifact import open_draft
from latentese.store.tables import read_table

KILLED = """
import os, signal, sys
from pathlib import Path
import latentese.stages.cells as cells
from test_stages_cells import grid
from test_stages_train import SETTINGS

publish, n_left = cells.publish_dictionary, int(sys.argv[3])

def die(*arguments):
    global n_left
    if n_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    n_left -= 1
    publish(*arguments)

cells.publish_dictionary = die
cells.train_cells(Path(sys.argv[1]), grid(), SETTINGS, Path(sys.argv[2]), lambda name: None)
"""


def grid() -> dict[str, TopK | Neurons]:
    return {"topk,n=32": TopK(16, 32, 2), "topk,n=24": TopK(16, 24, 2, seed=1), "neurons": Neurons(16)}


@pytest.fixture
def activations(tmp_path: Path) -> Path:
    return write_activations(tmp_path / "activations", write_contexts(tmp_path / "contexts"))


def test_each_cell_is_the_artifact_that_stage_train_writes(activations: Path, tmp_path: Path) -> None:
    published: list[str] = []
    train_cells(activations, grid(), SETTINGS, tmp_path / "cells", published.append)
    assert published == list(grid())
    for name, dictionary in grid().items():
        alone = train(activations, dictionary, SETTINGS, tmp_path / "alone" / name, lambda _: None)
        assert files_of(tmp_path / "cells" / name / "dictionary") == files_of(alone)
    assert not any((tmp_path / "cells" / ".scratch" / "checkpoints").iterdir()), "nothing is left behind"


def test_what_needs_no_training_alone_has_an_empty_log(activations: Path, tmp_path: Path) -> None:
    train_cells(activations, {"neurons": Neurons(16)}, SETTINGS, tmp_path, lambda _: None)
    assert read_table(tmp_path / "neurons" / "dictionary" / "train_log.parquet", TRAIN_LOG).height == 0


@pytest.mark.parametrize("n_published", [0, 1])
def test_killed_while_publishing_it_only_publishes_the_rest(
    activations: Path, tmp_path: Path, n_published: int
) -> None:
    train_cells(activations, grid(), SETTINGS, tmp_path / "whole", lambda _: None)
    out, here = tmp_path / "killed", Path(__file__)
    arguments = [sys.executable, "-c", KILLED, str(activations), str(out), str(n_published)]
    path = os.pathsep.join([str(here.parent), str(here.parents[1]), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    assert subprocess.run(arguments, env=environment, check=False).returncode == -signal.SIGKILL
    there = [name for name in grid() if (out / name / "dictionary").exists()]
    assert there == list(grid())[:n_published]
    checkpoints = {file: file.stat().st_mtime_ns for file in (out / ".scratch" / "checkpoints").iterdir()}
    assert len(checkpoints) == 2 - n_published
    rest = {name: dictionary for name, dictionary in grid().items() if name not in there}
    train_cells(activations, rest, SETTINGS, out, lambda _: None)
    for name in grid():
        assert files_of(out / name / "dictionary") == files_of(tmp_path / "whole" / name / "dictionary")


def test_checkpoints_of_other_settings_are_not_resumed(activations: Path, tmp_path: Path) -> None:
    work = tmp_path / "cells" / ".scratch" / "checkpoints"
    work.mkdir(parents=True)
    (work / "topk,n=32@0123456789abcdef.safetensors").write_bytes(b"of other settings")
    (work / "topk,n=320@0123456789abcdef.safetensors").write_bytes(b"of another cell")
    half_written = work / "topk,n=32@fedcba9876543210.safetensors.writing"
    half_written.mkdir()
    (half_written / "topk,n=32@fedcba9876543210.safetensors").write_bytes(b"killed here")
    train_cells(activations, {"topk,n=32": TopK(16, 32, 2)}, SETTINGS, tmp_path / "cells", lambda _: None)
    assert [file.name for file in work.iterdir()] == ["topk,n=320@0123456789abcdef.safetensors"]
    alone = train(activations, TopK(16, 32, 2), SETTINGS, tmp_path / "alone", lambda _: None)
    assert files_of(tmp_path / "cells" / "topk,n=32" / "dictionary") == files_of(alone)


def test_another_width_stops_before_any_work(activations: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"dictionary.d_model=17 is not allowed: 16, the width of"):
        train_cells(activations, {**grid(), "wide": TopK(17, 32, 2)}, SETTINGS, tmp_path / "cells", lambda _: None)
    assert not (tmp_path / "cells").exists()


def test_a_cell_that_another_process_writes_is_left_to_it(activations: Path, tmp_path: Path) -> None:
    out = tmp_path / "cells" / "neurons" / "dictionary"
    with (
        open_draft(out, "dictionary", {}, {}),
        pytest.raises(LatenteseError, match="another process is writing it"),
    ):
        train_cells(activations, grid(), replace(SETTINGS, n_tokens=660), tmp_path / "cells", lambda _: None)
