"""One planted project for all tests of the pipeline, run once through Prefect."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted_project import make_project
from ran import Ran


@pytest.fixture(scope="session")
def ran(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The project after `python -m flows.pipeline experiment=planted`."""
    project = make_project(root, tmp_path_factory.mktemp("planted"))
    return Ran(project, project.python("flows.pipeline", "experiment=planted"))
