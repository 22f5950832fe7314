"""params.yaml stays as it is while stages run: DVC notes what it says when they end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.in_use import in_use, written
from latentese.errors import LatenteseError

ROOT = Path(__file__).parents[2]
STAGE = """
from pathlib import Path
from flows.entry import run_with_params
run_with_params(lambda: Path("params.yaml").write_text("k: {k}") and None)
"""


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("params.yaml")
    path.write_text("k: 64")
    return path


def test_settings_in_use_are_not_replaced(params: Path) -> None:
    with in_use(params):
        with pytest.raises(LatenteseError, match=r"^params\.yaml is in use: .*--sandbox"), written(params, "k: 16"):
            pass
        with written(params, "k: 64"), in_use(params):
            pass
    assert params.read_text() == "k: 64"
    with written(params, "k: 16"):
        assert params.read_text() == "k: 16"
        with pytest.raises(LatenteseError, match="in use"), written(params, "k: 8"):
            pass
    with written(params, "k: 8"):
        pass
    assert params.read_text() == "k: 8"


@pytest.mark.parametrize(("k", "code"), [(64, 0), (16, 2)])
def test_a_stage_fails_under_whose_hands_settings_changed(params: Path, k: int, code: int) -> None:
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", STAGE.format(k=k)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: params.yaml changed meanwhile" if code else "")
