"""Train a grid of dictionaries, measure each, and fit scaling laws: one command, which can be killed and run again.

    python -m flows.sweep demo                          conf/sweep/demo.yaml
    python -m flows.sweep demo sweep.per_pass=4         with Hydra overrides
    python -m flows.sweep demo experiment=smoke

A Prefect flow with a task per source of activations, per pass and per cell. Cells are artifacts under
artifacts/sweeps/<name>/, each marked with a hash of what it was made from, so that a rerun does only what is missing:
shrink or extend the grid, and the cells that stay are kept. Results are written to reports/sweeps/<name>/ and to
MLflow, a run per cell below a run of the sweep.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.cells import Cells, build_dictionary
from flows.children import ending_children
from flows.config import Params, compose, parse_yaml, settings
from flows.entry import command_line, run
from flows.paths import SWEEP_REPORTS, tracking_uri
from flows.pipeline import BUSY_SECONDS, Engine, done, failure, outcome, run_logged, walk
from flows.plan import Cell, Pass, Plan, plan_sweep
from flows.server import running_server
from flows.sources import bring_up_to_date
from flows.sweep_results import Results
from latentese.errors import LatenteseError
from latentese.store.artifact import locked
from latentese.store.files import write_text

OWN = ("sweep", "claims")
"""Groups that the pipeline knows nothing of."""

# What a child says, and stops, where the child of a flow that was killed is still at work.
WRITTEN = "another process is writing it"

LOOK = "what is missing"


class Sweep:
    """One run of a sweep: its steps, and what each does. A step returns its verdict, `ran` or `unchanged`."""

    def __init__(self, choice: str, overrides: Sequence[str]) -> None:
        self.overrides = [word for word in overrides if word.lstrip("+~").partition("=")[0].split(".")[0] not in OWN]
        self.text = compose([choice, *overrides])
        self.params: Params = parse_yaml(self.text)
        self.plan: Plan = plan_sweep(self.params)
        self.engine = settings(Engine, self.params["engine"], "engine")
        self.cells = Cells(self.plan)
        self.results = Results(self.cells, tracking_uri(self.params), self.params["tracking"]["experiment"])
        self.missing: Mapping[str, list[str]] = {}

    def needs(self) -> dict[str, list[str]]:
        """Name every step, in order, and what it waits for.

        A pass waits for the cells of an earlier one, so that they are in MLflow before all passes are through.
        """
        needs: dict[str, list[str]] = {f"activations of {source}": [] for source in self.plan.sources}
        needs[LOOK] = list(needs)
        passes = self.plan.passes
        for one, earlier in zip(passes, [None] * self.engine.max_workers + list(passes), strict=False):
            needs[f"train {one.name}"] = [cell.name for cell in earlier.cells] if earlier else [LOOK]
            needs |= {cell.name: [f"train {one.name}"] for cell in one.cells}
        needs["results"] = [cell.name for cell in self.plan.cells]
        return needs

    def steps(self) -> dict[str, Callable[[], str]]:
        """Give what each step does."""
        steps: dict[str, Callable[[], str]] = {LOOK: self.look, "results": self.results.write}
        for source in self.plan.sources:
            steps[f"activations of {source}"] = partial(self.bring_up_to_date, source)
        for one in self.plan.passes:
            steps[f"train {one.name}"] = partial(self.train, one)
            steps |= {cell.name: partial(self.publish, cell) for cell in one.cells}
        return steps

    def bring_up_to_date(self, source: str) -> str:
        """Make sure that a source's activations are there."""
        return bring_up_to_date(self.plan, source, self.overrides, self.engine.threads)

    def look(self) -> str:
        """See what is missing, and build each dictionary that is, so that a setting that cannot work stops here."""
        self.missing = {cell.name: self.cells.missing(cell) for cell in self.plan.cells}
        for cell in self.plan.cells:
            if self.missing[cell.name]:
                build_dictionary(cell, self.cells.places[cell.source].activations)
        self.results.begin()
        return "ran" if any(self.missing.values()) else "unchanged"

    def train(self, one: Pass) -> str:
        """Train and measure the cells of a pass in a process of its own."""
        if not any(self.missing[cell.name] for cell in one.cells):
            return "unchanged"
        command = [sys.executable, "-m", "flows.cells", self.plan.settings.name, one.name]
        code, lines = run_logged(command, self.engine.threads)
        while code != 0 and any(WRITTEN in line for line in lines):
            time.sleep(BUSY_SECONDS)
            code, lines = run_logged(command, self.engine.threads)
        if code != 0:
            raise LatenteseError(failure(lines, code))
        return "ran"

    def publish(self, cell: Cell) -> str:
        """Make the MLflow run of a cell."""
        self.results.publish(cell)
        return "ran" if self.missing[cell.name] else "unchanged"


@task(cache_policy=NO_CACHE, persist_result=False)
def step(work: Callable[[], str]) -> State[str]:
    """Do one step, and end with its verdict or with the one line that says why not."""
    try:
        return done(work())
    except LatenteseError as error:
        return Failed(message=str(error))


@flow(name="sweep", flow_run_name="{name}", persist_result=False, validate_parameters=False)
def sweep(choice: str, overrides: Sequence[str] = (), name: str = "sweep") -> State[str]:
    """Bring every cell of a sweep up to date, and write its results."""
    try:
        one = Sweep(choice, overrides)
    except LatenteseError as error:
        return Failed(message=str(error))
    steps = one.steps()
    with ThreadPoolTaskRunner[Any](max_workers=one.engine.max_workers) as runner, ending_children():

        def submit(name: str, upstream: Sequence[str]) -> PrefectFuture[Any]:
            return runner.submit(step.with_options(name=name, task_run_name=name), {"work": steps[name]})

        return outcome(list(walk(one.needs(), submit)), "steps")


def run_sweep(choice: str, overrides: Sequence[str]) -> Sweep:
    """Run a sweep as a flow; raises LatenteseError with the first failure's line."""
    prepared = Sweep(choice, overrides)  # a wrong setting stops here, before a server starts
    with locked(prepared.plan.folder / "lock", prepared.plan.folder), running_server():
        write_text(prepared.text, prepared.plan.params_file)
        state = sweep(choice, overrides, name=" ".join([prepared.plan.settings.name, *overrides]), return_state=True)
    if not state.is_completed():
        raise LatenteseError(state.message or f"the run ended as {state.name}")
    return prepared


def main(*words: str) -> None:
    """Run a sweep from the command line."""
    parser = command_line("sweep", __doc__)
    parser.add_argument("name", help="a file of conf/sweep/")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="Hydra override, such as sweep.per_pass=4")
    arguments = parser.parse_args(words)
    prepared = run_sweep(f"sweep={arguments.name}", arguments.overrides)
    folder = SWEEP_REPORTS / prepared.plan.settings.name
    print((folder / "README.md").read_text(encoding="utf-8"))
    print(f"Read it at {folder}/README.md")


if __name__ == "__main__":
    run(main)
