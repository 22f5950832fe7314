"""The only door to MLflow: one run per distinct pipeline, written once and then only tagged.

MLflow is a view. Nothing reads it back to decide anything, and no run id enters an artifact.
"""

from __future__ import annotations

import fcntl
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from latentese.errors import LatenteseError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

KEY_TAG = "latentese.key"
COMPLETE_TAG = "latentese.complete"
BEGUN_TAG = "latentese.begun"
PARENT_TAG = "mlflow.parentRunId"
"""Under which run MLflow shows a run."""
MAX_PARAM_CHARS = 6000
"""MLflow refuses longer values."""
BATCH = 1000
"""Metrics that one request to MLflow may carry."""


@dataclass(frozen=True)
class Curve:
    """A metric with steps, such as fvu over training tokens."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class PipelineRun:
    """Everything about one distinct pipeline that is worth comparing."""

    key: str
    """Identity: the hash of all stages' inputs, parameters and outputs."""
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    curves: Sequence[Curve] = ()
    artifacts: Mapping[str, Path] = field(default_factory=dict)
    """Folder in the run to a local file or folder."""
    tags: Mapping[str, str] = field(default_factory=dict)


def publish_run(run: PipelineRun, uri: str, experiment: str) -> str:
    """Create the run in MLflow, or find it by its key; set its tags in both cases. Returns the run id.

    A run that an earlier process left half-written is deleted and written again.
    """
    from mlflow.exceptions import MlflowException

    try:
        return _publish(run, _client(uri, experiment), uri, experiment)
    except MlflowException as error:
        raise _away(uri, error) from error


def _publish(run: PipelineRun, client: MlflowClient, uri: str, experiment: str) -> str:
    experiment_id = _experiment_id(client, uri, experiment)
    for found in _with_key(client, experiment_id, run.key):
        run_id = str(found.info.run_id)
        if found.data.tags.get(COMPLETE_TAG) == "true":
            _set_tags(client, run_id, run.tags)
            return run_id
        if BEGUN_TAG in found.data.tags:
            return _fill(client, run_id, run)
        client.delete_run(run_id)
    created = client.create_run(experiment_id, run_name=run.name, tags={KEY_TAG: run.key})
    return _fill(client, str(created.info.run_id), run)


def begin_run(key: str, name: str, uri: str, experiment: str) -> str:
    """Create a run that others name as their parent before it has anything to show, or find it by its key.

    `publish_run` with the same key completes it. Returns the run id.
    """
    from mlflow.exceptions import MlflowException

    try:
        client = _client(uri, experiment)
        experiment_id = _experiment_id(client, uri, experiment)
        for found in _with_key(client, experiment_id, key):
            return str(found.info.run_id)
        created = client.create_run(experiment_id, run_name=name, tags={KEY_TAG: key, BEGUN_TAG: "true"})
        return str(created.info.run_id)
    except MlflowException as error:
        raise _away(uri, error) from error


def runs_page(uri: str, experiment: str) -> str:
    """Path, on an MLflow server, of the page that lists the experiment's runs; creates what does not exist yet.

    Without the workflow in its address MLflow 3 opens an experiment in its view of traces, where nothing is.
    """
    from mlflow.exceptions import MlflowException

    try:
        experiment_id = _experiment_id(_client(uri, experiment), uri, experiment)
    except MlflowException as error:
        raise _away(uri, error) from error
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning"


@contextmanager
def live_run(uri: str, experiment: str, name: str) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Open a run of its own for a long stage, to watch curves grow; yields `log(step, values)`.

    It is for watching only: the pipeline's run gets the same curves from the stage's artifact, and a server that does
    not answer ends the watching, not the stage.
    """
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

    run: _LiveRun | None = None

    def log(step: int, values: Mapping[str, float]) -> None:
        nonlocal run
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step) for key, value in values.items() if math.isfinite(value)]
        try:
            if run:
                run.client.log_batch(run.run_id, metrics=metrics)
        except MlflowException as error:
            print(f"warning: no longer shown live: {_away(uri, error)}", file=sys.stderr)
            run = None

    try:
        run = _begin_live(uri, experiment, name)
    except MlflowException as error:
        print(f"warning: not shown live: {_away(uri, error)}", file=sys.stderr)
    status = "KILLED"
    try:
        yield log
        status = "FINISHED"
    finally:
        if run:
            with suppress(MlflowException):
                run.client.set_terminated(run.run_id, status)


class _LiveRun(NamedTuple):
    client: MlflowClient
    run_id: str


def _begin_live(uri: str, experiment: str, name: str) -> _LiveRun:
    client = _client(uri, experiment)
    run = client.create_run(
        _experiment_id(client, uri, experiment), run_name=f"live {name}", tags={"latentese.live": name}
    )
    return _LiveRun(client, run.info.run_id)


def _away(uri: str, error: Exception) -> LatenteseError:
    """Say what MLflow said, without the user and password that an address may have."""
    message = f"tracking.uri={uri!r}: {' '.join(str(error).split())}"
    return LatenteseError(re.sub(r"(?<=://)[^/?#\s]*@", "", message))


def _with_key(client: MlflowClient, experiment_id: str, key: str) -> Sequence[Run]:
    found: Sequence[Run] = client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{key}'")
    return found


def _fill(client: MlflowClient, run_id: str, run: PipelineRun) -> str:
    from mlflow.entities import Param

    params = [Param(name, value[:MAX_PARAM_CHARS]) for name, value in sorted(run.params.items())]
    for start in range(0, len(params), 100):
        client.log_batch(run_id, params=params[start : start + 100])
    points = list(_points(run))
    for start in range(0, len(points), BATCH):
        client.log_batch(run_id, metrics=points[start : start + BATCH])
    for folder, path in run.artifacts.items():
        log = client.log_artifacts if path.is_dir() else client.log_artifact
        log(run_id, str(path), folder)
    _set_tags(client, run_id, {**run.tags, COMPLETE_TAG: "true"})
    client.set_terminated(run_id)
    return run_id


def _points(run: PipelineRun) -> Iterator[object]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    for name, value in sorted(run.metrics.items()):
        yield Metric(name, value, now, 0)
    for curve in run.curves:
        for step, value in zip(curve.steps, curve.values, strict=True):
            yield Metric(curve.name, value, now, step)


def _set_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in sorted(tags.items())])


def _client(uri: str, experiment: str) -> MlflowClient:
    from mlflow import MlflowClient

    with _first_opening(uri):
        client = MlflowClient(tracking_uri=uri)
        client.get_experiment_by_name(experiment)
    return client


def _experiment_id(client: MlflowClient, uri: str, experiment: str) -> str:
    """Find or create the experiment by itself: `set_experiment` logs to "Default" when two processes race.

    Files of a SQLite store lie beside it, not where the first process happened to run.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(experiment)
    if found is None:
        try:
            database = Path(uri.removeprefix("sqlite:///"))
            place = (database.parent / "mlartifacts").resolve().as_uri() if uri.startswith("sqlite:///") else None
            return str(client.create_experiment(experiment, artifact_location=place))
        except MlflowException:
            found = client.get_experiment_by_name(experiment)
    if found is None or found.lifecycle_stage != "active":
        raise LatenteseError(
            f"tracking.experiment={experiment!r}: it was deleted in MLflow; restore it or name another"
        )
    return str(found.experiment_id)


@contextmanager
def _first_opening(uri: str) -> Iterator[None]:
    """Let one process at a time open a SQLite database: several creating its tables at once break it for good."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    database = Path(uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f"{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
