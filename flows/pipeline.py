"""The pipeline as a Prefect flow: one visible task per DVC stage, one DAG, one cache.

    python -m flows.pipeline                      the configuration's defaults
    python -m flows.pipeline dictionary.k=64      with Hydra overrides
    python -m flows.pipeline --sandbox .scratch/smoke experiment=smoke
                                                  in a copy of the project: this checkout stays as it is

Each task runs `dvc repro --single-item STAGE` as a child process; Prefect stores no results, so there is no second
cache. A stage that DVC finds unchanged starts no process.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.checkout import copy_checkout
from flows.children import ending_children, run_child
from flows.config import read_params, settings, write_params, written_params
from flows.entry import command_line, run
from flows.graph import read_graph
from flows.server import running_server
from latentese.errors import LatenteseError, SettingError

VERDICTS = {
    "restored": re.compile(r"^Stage '.+' is cached - skipping run"),
    "ran": re.compile(r"^Running stage '.+'"),
    "unchanged": re.compile(r"^Stage '.+' didn't change, skipping"),
}
DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")
# What DVC says, and stops, when another run uses the same paths: `--wait-for-lock` covers the repository's lock alone.
BUSY = "is busy, it is being blocked by"
BUSY_SECONDS = 5
# DVC's advice on what to commit and push, and the command, which the task's name already says.
NOISE = re.compile(
    r"^\s*$|^> PYTHONPATH=|^Use `dvc push`|^(Updating|Generating) lock file"
    r"|^To (track|enable)|^\s*(git add|dvc config) "
)


@dataclass(frozen=True)
class Engine:
    """How the flow runs the stages."""

    max_workers: int
    """Stages at a time."""
    threads: int | None = None
    """Threads of each stage; None leaves it to torch, which takes every core."""

    def __post_init__(self) -> None:
        if not isinstance(self.max_workers, int) or self.max_workers < 1:
            raise SettingError("engine.max_workers", self.max_workers, "a whole number, at least 1")
        if self.threads is not None and (not isinstance(self.threads, int) or self.threads < 1):
            raise SettingError("engine.threads", self.threads, "a whole number, at least 1, or null")


@task(cache_policy=NO_CACHE, persist_result=False)
def run_stage(stage: str, stale: bool, upstream: Sequence[str], threads: int | None = None) -> State[str]:
    """Bring one stage up to date and say how: `ran`, `restored` from DVC's cache or `unchanged`.

    `upstream` holds the verdicts of the stages it waits for.
    """
    if not stale and all(verdict == "unchanged" for verdict in upstream):
        return done("unchanged")
    code, lines = repro(stage, threads)
    while code != 0 and any(BUSY in line for line in lines):
        time.sleep(BUSY_SECONDS)
        code, lines = repro(stage, threads)
    if code != 0:
        return Failed(message=f"{stage}: {failure(lines, code)}")
    return done(next((verdict for verdict, said in VERDICTS.items() if any(map(said.match, lines))), "unchanged"))


@flow(name="latentese", flow_run_name="{name}", persist_result=False, validate_parameters=False)
def pipeline(overrides: Sequence[str] = (), name: str = "pipeline") -> State[str]:
    """Compose the configuration with Hydra overrides and bring every DVC stage up to date.

    Ends as failed, with the one line that says why, when a stage fails; what was computed before stays.
    """
    try:
        with written_params(overrides):
            return _run_stages()
    except LatenteseError as error:
        return Failed(message=str(error))


def _run_stages() -> State[str]:
    """Bring every stage of dvc.yaml up to date with params.yaml as it is."""
    graph = read_graph()
    engine = settings(Engine, read_params()["engine"], "engine")
    with ThreadPoolTaskRunner[Any](max_workers=engine.max_workers) as runner, ending_children():

        def submit(stage: str, upstream: Sequence[str]) -> PrefectFuture[Any]:
            parameters = {"stage": stage, "stale": stage in graph.stale, "upstream": upstream}
            named = run_stage.with_options(name=stage, task_run_name=stage)
            return runner.submit(named, parameters | {"threads": engine.threads})

        return outcome(list(walk(graph.upstream, submit)))


def walk(
    needs: Mapping[str, Sequence[str]], submit: Callable[[str, Sequence[str]], PrefectFuture[Any]]
) -> Iterator[State[str]]:
    """Submit each task when all that it needs are done, and yield final states; what waits for a failure is left.

    `submit` is given the task's name and the verdicts of what it needed. A task starts only when it can run, so a
    failure ends as one line and not as one for each task behind.
    """
    waiting, verdicts = dict(needs), dict[str, str]()
    running: dict[PrefectFuture[Any], str] = {}
    while True:
        for name in [name for name, needed in waiting.items() if verdicts.keys() >= set(needed)]:
            running[submit(name, [verdicts[need] for need in waiting.pop(name)])] = name
        if not running:
            return
        first = next(as_completed(list(running)))
        first.wait()  # its state is read only then
        name = running.pop(first)
        if first.state.is_completed():
            verdicts[name] = str(first.state.message)
        yield first.state


def repro(stage: str, threads: int | None) -> tuple[int, list[str]]:
    """Run `dvc repro` of one stage as a child and log what it says; returns its exit code and its lines."""
    return run_logged([*DVC, "repro", "--single-item", stage], threads)


def run_logged(command: Sequence[str], threads: int | None, folder: Path | None = None) -> tuple[int, list[str]]:
    """Run a child, in `folder` or here, and log what it says; returns its exit code and its lines."""
    logger = get_run_logger()
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        if not NOISE.match(line):
            logger.info(line)

    return run_child(command, on_line, stage_environment(threads), folder), lines


def main(*words: str) -> None:
    """Run the pipeline from the command line; progress is shown in the terminal and in the Prefect UI."""
    parser = command_line("pipeline", __doc__)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="Hydra override, such as dictionary.k=64")
    parser.add_argument("--sandbox", type=Path, help="run in a copy of the project in this folder")
    arguments = parser.parse_args(words)
    if arguments.sandbox:
        os.chdir(copy_checkout(Path.cwd(), arguments.sandbox))
    name = " ".join(arguments.overrides) or "pipeline"
    write_params(arguments.overrides)  # a wrong override stops here, before a server starts
    with running_server():
        state = pipeline(arguments.overrides, name=name, return_state=True)
    if not state.is_completed():
        raise LatenteseError(state.message or f"the run ended as {state.name}")


def failure(lines: Sequence[str], code: int) -> str:
    """Give the one line that says why a stage failed: our own error, or else the last thing that DVC or Python said."""
    ours = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    said = [line for line in lines if line.strip() and not NOISE.match(line)]
    return (ours or said or [f"ended with exit code {code}"])[-1]


def stage_environment(threads: int | None) -> dict[str, str]:
    """Give the environment of a stage: its threads, this interpreter first on the path, and the Prefect run's id."""
    environment = dict(os.environ)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    context = FlowRunContext.get()
    if context and context.flow_run:
        environment["LATENTESE_PREFECT_RUN"] = str(context.flow_run.id)
    return environment


def done(verdict: str) -> State[str]:
    """End a task with its verdict, which is what people see."""
    return Completed(name=verdict.capitalize(), message=verdict, data=verdict)


def outcome(states: Sequence[State[str]], what: str = "stages") -> State[str]:
    """End a flow: as failed, with the first failure's line, or with how many tasks had which verdict."""
    failed = [state for state in states if not state.is_completed()]
    if failed:
        return Failed(message=failed[0].message)
    messages = [state.message for state in states]
    counts = ", ".join(f"{messages.count(verdict)} {verdict}" for verdict in ("ran", "restored", "unchanged"))
    return Completed(message=f"{len(states)} {what}: {counts}")


class _NoEmptyTraceback(logging.Filter):
    """Drops the "NoneType: None" that Prefect prints behind a task that returned a failure instead of raising it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[0] is None:
            record.exc_info = None
        return True


logging.getLogger("prefect.task_runs").addFilter(_NoEmptyTraceback())


if __name__ == "__main__":
    run(main)
