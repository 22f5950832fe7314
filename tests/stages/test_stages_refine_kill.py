"""kill -9 while all arms refine, several times, and run again: the bytes of an undisturbed run, nothing asked twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from refine_worker import KINDS, TokenReader, main
from scored_study import write_study

from latentese import schemas
from latentese.explainers.n2g import N2GExplainer
from latentese.explainers.token_table import TokenTableExplainer
from latentese.patterns.token_table import TableSettings
from latentese.stages.explain import ExplainSettings, explain
from latentese.stages.score import score
from latentese.stages.scoring import ScoreSettings
from latentese.store.tables import read_table

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 600


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    found = write_study(folder)
    settings = ScoreSettings(n_boot=20)
    # One entry, one firing each: unit 4 fires on two words.
    few = [
        TokenTableExplainer(table=TableSettings(max_entries=1)),
        N2GExplainer(n_firings=1, reader=TokenReader(found.contexts)),  # type: ignore[arg-type]
    ]
    for explainer, out in zip(few, ("tables", "n2g"), strict=True):
        explain(found.contexts, found.examples, {explainer.name: explainer}, ExplainSettings(4), folder / out)
    for kind in KINDS.values():
        explanations, scores = (folder / name for name in kind.folders)
        score(found.contexts, found.examples, explanations, {kind.simulator.name: kind.simulator}, settings, scores)
    return folder


def arms_of(choice: str) -> set[str]:
    return set(OmegaConf.load(ROOT / f"conf/refinement/{choice}.yaml").arms)


def start(study: Path, kind: str, cache: Path, out: Path) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(str(ROOT / path) for path in ("src", "tests", "tests/stages"))
    command = [sys.executable, str(ROOT / "tests/stages/refine_worker.py"), str(study), kind, str(cache), str(out)]
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def finish(study: Path, kind: str, cache: Path, out: Path) -> tuple[int, int]:
    """Run to the end in this process: how many questions kept answers had, and how many there were."""
    ledger = main(str(study), kind, str(cache), str(out))
    return ledger.n_cached, ledger.n_requests


def kill_when(child: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert child.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, f"it did not get so far in {PATIENCE_SECONDS} s"
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL


def n_answers(cache: Path) -> int:
    if not cache.is_file():
        return 0
    connection = sqlite3.connect(f"file:{cache}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM answers").fetchone()[0])
    except sqlite3.OperationalError:  # the table is not there yet
        return 0
    finally:
        connection.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_arms_that_ask(study: Path, tmp_path: Path) -> None:
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "killed" / "refined"
    n_cached, n_requests = finish(study, "written", tmp_path / "whole.sqlite", undisturbed)
    n_distinct = n_answers(tmp_path / "whole.sqlite")
    assert n_requests - n_cached == n_distinct > 8
    decisions = read_table(undisturbed / "decisions.parquet", schemas.DECISIONS)
    assert set(decisions["arm"]) == arms_of("counterexamples") | arms_of("generated")
    cache = tmp_path / "killed.sqlite"
    for n_wanted in (1, n_distinct - 2):
        kill_when(start(study, "written", cache, out), lambda n=n_wanted: n_answers(cache) >= n)  # type: ignore[misc]
        assert not out.exists()
    n_kept = n_answers(cache)
    assert n_distinct - 2 <= n_kept < n_distinct
    n_cached, n_requests = finish(study, "written", cache, out)
    assert n_requests - n_cached == n_distinct - n_kept, "no answered question is asked again"
    assert n_answers(cache) == n_distinct
    assert contents(out) == contents(undisturbed)


@pytest.mark.parametrize("kind", ["patterns", "n2g"])
def test_arms_without_a_language_model(study: Path, tmp_path: Path, kind: str) -> None:
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "killed" / "refined"
    assert finish(study, kind, tmp_path / "none.sqlite", undisturbed) == (0, 0)
    decisions = read_table(undisturbed / "decisions.parquet", schemas.DECISIONS)
    assert set(decisions["arm"]) == arms_of(kind) and decisions["accepted"].any()
    kill_when(start(study, kind, tmp_path / "none.sqlite", out), (out.parent / ".scratch/refined").exists)
    assert not out.exists()
    finish(study, kind, tmp_path / "none.sqlite", out)
    assert contents(out) == contents(undisturbed)
