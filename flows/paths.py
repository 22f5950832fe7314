"""Where artifacts are: the same literal paths as in dvc.yaml, all relative to the current directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PARAMS = Path("params.yaml")
CHECKED = Path("artifacts/checked.txt")
CONTEXTS = Path("artifacts/contexts")
ACTIVATIONS = Path("artifacts/activations")
TARGETS = Path("artifacts/targets")
SWEEPS = Path("artifacts/sweeps")
PLANTED = Path("artifacts/planted")
CASCADES = Path("artifacts/cascade")
REPORT = Path("reports/run")
FINDINGS = Path("reports/findings")
SWEEP_REPORTS = Path("reports/sweeps")
TIMINGS = Path("reports/timings")
COPY_MARK = Path(".git/latentese-copy")
"""A file that says that a folder is a copy of the project, and of which one: no other folder is ever written to."""

Place = Callable[[str, str], Path]
"""Where a target's artifact of some name is."""


def of_target(target: str, stage_output: str) -> Path:
    """Folder of one target's artifact, such as `dictionary` or `scores`."""
    return TARGETS / target / stage_output


def activations_of(params: Mapping[str, Any], target: str) -> Path:
    """Folder of the activations that a target reads; targets with one hookpoint share them."""
    return ACTIVATIONS / str(params["targets"][target]["activations"])


def shared(path: str) -> Path:
    """Place shared state (answers, the MLflow database) under the project root.

    DVC may run a stage in a copy of the project; it names the real root in DVC_ROOT.
    """
    return Path(os.environ.get("DVC_ROOT", ".")).resolve() / path


def kept(path: str) -> Path:
    """Place what was paid for (answers, and what they cost) under the project root: of a copy, the project copied."""
    mark = shared(str(COPY_MARK))
    project = mark.read_text(encoding="utf-8") if mark.is_file() else ""
    return Path(project) / path if project else shared(path)


def tracking_uri(params: Mapping[str, Any]) -> str:
    """Where runs go: the environment's MLFLOW_TRACKING_URI, else `tracking.uri` with its path under the project."""
    uri = str(os.environ.get("MLFLOW_TRACKING_URI") or params["tracking"]["uri"])
    if uri.startswith("sqlite:///"):
        return f"sqlite:///{shared(uri.removeprefix('sqlite:///'))}"
    return uri
