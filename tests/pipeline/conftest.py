"""One planted project for all tests of the pipeline, run once through Prefect; and one server for all flows."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from planted_project import make_project
from ran import Ran

from flows.server import answers

PATIENCE_SECONDS = 600


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Prefect server: a flow without one starts a server of its own, which takes longer than the flow."""
    home, port = tmp_path_factory.mktemp("prefect"), free_port()
    where = ("--host", "127.0.0.1", "--port", str(port), "--no-ui")
    command = [sys.executable, "-m", "prefect", "server", "start", *where]
    environment = os.environ | {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/api"
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while not answers(f"{url}/health"):
            assert server.poll() is None and time.monotonic() < deadline, (home / "server.log").read_text()
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="session")
def ran(root: Path, tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Ran:
    """The project after `python -m flows.pipeline experiment=planted`."""
    project = make_project(root, tmp_path_factory.mktemp("planted"), prefect_api)
    said = project.python("flows.pipeline", "experiment=planted")
    return Ran(project, said, OmegaConf.to_object(OmegaConf.load(project.root / "params.yaml")))
