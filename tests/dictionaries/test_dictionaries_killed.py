"""After kill -9 at any step training goes on to the same bytes: alone, in a grid, and divided between processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_killed_at_any_step_training_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    path = os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])
    command = [sys.executable, str(HERE / "killed_worker.py"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=False, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    runs = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert len(runs) == 8 + 6 + 2 + 2
    assert {run: said for run, said in runs.items() if not said.startswith("same, ")} == {}
    # Something was there to go on from, and what was being written when the kill came was there too.
    assert runs["one 1"] == "same, 0 files were left"
    assert runs["one 3"] == "same, 1 files were left"
    assert runs["one 0"] == "same, 2 files were left"
    assert runs["many 0"] == "same, 2 files were left"
    assert runs["tokens 6"] == runs["latents 6"] == "same, 1 files were left"
