"""Start and stop the Prefect and MLflow web pages on loopback, in the background: `make ui`, `make ui-stop`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from flows.config import read_params
from flows.entry import run
from flows.paths import tracking_uri
from flows.server import answers
from latentese.errors import LatenteseError, SettingError
from latentese.tracking import runs_page

HOST = "127.0.0.1"
PORTS = {"prefect": 4200, "mlflow": 5000}
ROOM = Path(".cache/ui")
START_SECONDS = 120


def main(*words: str) -> None:
    """Start or stop both pages."""
    actions = {"start": start, "stop": stop}
    if len(words) != 1 or words[0] not in actions:
        raise SettingError("flows.ui", " ".join(words), "start or stop")
    actions[words[0]]()


def start() -> None:
    """Start what is not running yet, wait until it answers, and say where it is."""
    params = read_params()
    uri = tracking_uri(params)
    pages = {"prefect": "/runs", "mlflow": runs_page(uri, params["tracking"]["experiment"])}
    commands = {
        "prefect": ["prefect", "server", "start", "--host", HOST, "--port", str(PORTS["prefect"])],
        "mlflow": ["mlflow", "server", "--backend-store-uri", uri, "--host", HOST, "--port", str(PORTS["mlflow"])],
    }
    for name, command in commands.items():
        if not _answers(name):
            _spawn(name, command)
        elif not _pid(name):
            raise LatenteseError(f"{_address(name)} already serves a {name} that is not this project's; stop it first")
    for name, page in pages.items():
        _wait(name)
        print(f"{name:8} {_address(name)}{page}")
    print("Stop both with `make ui-stop`.")


def stop() -> None:
    """End the servers that `start` started."""
    for name in PORTS:
        if pid := _pid(name):
            os.killpg(pid, signal.SIGTERM)
        print(f"{name} {'stopped' if pid else 'was not running'}")
        (ROOM / f"{name}.pid").unlink(missing_ok=True)


def _pid(name: str) -> int | None:
    """Process number of the server that `start` started, if it still runs and the number is not another's by now."""
    file = ROOM / f"{name}.pid"
    if not file.is_file():
        return None
    pid = file.read_text().strip()
    command = subprocess.run(["ps", "-o", "args=", "-p", pid], capture_output=True, text=True, check=False).stdout
    return int(pid) if name in command else None


def _spawn(name: str, command: list[str]) -> None:
    ROOM.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "PREFECT_UI_API_URL": f"{_address('prefect')}/api",  # without it the page asks the default port
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (ROOM / f"{name}.log").open("w") as log:
        server = subprocess.Popen(
            [str(Path(sys.executable).parent / command[0]), *command[1:]],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    (ROOM / f"{name}.pid").write_text(str(server.pid))


def _wait(name: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(name):
        if time.monotonic() > deadline or not _pid(name):
            raise LatenteseError(f"{name} does not answer at {_address(name)}; see {ROOM}/{name}.log")
        time.sleep(0.5)


def _answers(name: str) -> bool:
    path = {"prefect": "/api/health", "mlflow": "/health"}[name]
    return answers(f"{_address(name)}{path}")


def _address(name: str) -> str:
    return f"http://{HOST}:{PORTS[name]}"


if __name__ == "__main__":
    run(main)
