"""Publish the pipeline's state to MLflow (DVC stage `publish`, and `python -m flows.publish` by hand at any time).

The run is keyed by dvc.lock's entries of all stages before this one: a stage that DVC restores runs no code, and yet
its results belong in the run. Publishing twice changes nothing but tags.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import OmegaConf

from flows.config import read_params
from flows.entry import read_timings, run_with_params
from flows.graph import read_graph
from flows.paths import REPORT, TARGETS, TIMINGS, of_target, tracking_uri
from latentese.errors import LatenteseError
from latentese.report.findings import FINDINGS
from latentese.schemas import TRAIN_LOG
from latentese.store.files import sha256_json
from latentese.store.tables import read_table
from latentese.tracking import Curve, PipelineRun, publish_run

LOCK = Path("dvc.lock")
DVC_STAGE = "DVC_STAGE"
"""Set by DVC for the stages that it runs."""


def main() -> None:
    """Create the MLflow run of this pipeline, or tag the one there is."""
    if DVC_STAGE not in os.environ:
        check_up_to_date()
    params = read_params()
    items = {*params["targets"], *params["hookpoints"]}
    key = pipeline_key(items)
    published = PipelineRun(
        key=key,
        name=f"{params['study']}-{key[:8]}",
        params=dict(flat_params(params)),
        metrics=dict(flat_metrics(json.loads((REPORT / "metrics.json").read_text(encoding="utf-8"))))
        | dict(_timing_metrics(items))
        | dict(finding_metrics(read_table(REPORT / "findings.parquet", FINDINGS))),
        curves=[curve for target in params["targets"] for curve in _train_curves(target)],
        artifacts={"report": REPORT, "config": Path("params.yaml"), "dvc": LOCK},
        tags=_tags(),
    )
    run_id = publish_run(published, tracking_uri(params), params["tracking"]["experiment"])
    print(f"MLflow run {published.name} ({run_id})")


def check_up_to_date() -> None:
    """Raise LatenteseError where results are not those of params.yaml: they would stand under its settings for good."""
    stale = sorted(read_graph().stale - {"publish"})
    if stale:
        raise LatenteseError(f"results are not of these settings ({', '.join(stale)} would run): run `dvc repro` first")


def pipeline_key(items: Collection[str]) -> str:
    """Hash of what dvc.lock says of every stage that makes a result: two runs with one key are the same.

    Left out are timings, which differ from run to run; `check`, which only reads; the folder of all targets that
    `report` depends on, which may hold dropped ones. `items` are the present targets and hookpoints: DVC keeps the
    entries of those that a configuration dropped.
    """
    if not LOCK.is_file():
        raise LatenteseError("dvc.lock is missing: run `dvc repro` first")
    lock = OmegaConf.to_container(OmegaConf.load(LOCK))
    assert isinstance(lock, dict)
    present = {name for name in lock["stages"] if "@" not in name or name.partition("@")[2] in items}
    stages = {name: lock["stages"][name] for name in present - {"publish", "check"}}
    for entry in stages.values():
        entry["deps"] = [dep for dep in entry.get("deps", []) if dep["path"] != str(TARGETS)]
        entry["outs"] = [out for out in entry.get("outs", []) if not out["path"].startswith(f"{TIMINGS}/")]
    return sha256_json(stages)


def flat_metrics(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of a nested mapping by their path, such as `latents/fvu`; what is null or no number is left out."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat_metrics(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)


def finding_metrics(found: pl.DataFrame) -> Iterator[tuple[str, float]]:
    """Means of the findings by their path, such as `findings/layer/layer 12/latent/<explainer>/<judge>/<metric>/value`.

    MLflow takes letters, digits, spaces and `_-./:` alone in a name; a slash within a name would be a folder.
    """
    for row in found.iter_rows(named=True):
        names = [row[name] for name in ("by", "group", "kind", "explainer", "simulator", "metric")]
        path = "/".join(re.sub(r"[^\w.: -]", "", name, flags=re.ASCII).strip() or "-" for name in names)
        for figure in ("value", "wrong", "n_units"):
            if row[figure] is not None:
                yield f"findings/{path}/{figure}", float(row[figure])


def flat_params(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Values of a nested mapping by their path, such as `dictionary.k`, as text."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat_params(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)


def _timing_metrics(items: Collection[str]) -> Iterator[tuple[str, float]]:
    for stage, timings in read_timings(items).items():
        yield from flat_metrics(timings, f"timings/{stage.replace('@', '/')}/")


def _train_curves(target: str) -> Iterator[Curve]:
    log = read_table(of_target(target, "dictionary") / "train_log.parquet", TRAIN_LOG)
    for name in ("fvu", "l0", "n_dead", "aux_loss", "lr"):
        points = log.select("step", name).drop_nulls().filter(pl.col(name).is_finite())
        if not points.is_empty():
            yield Curve(f"{target}/train/{name}", points["step"].to_list(), points[name].to_list())


def _tags() -> dict[str, str]:
    tags = {"dvc.lock.sha256": hashlib.sha256(LOCK.read_bytes()).hexdigest(), "git.commit": _git_commit()}
    if prefect_run := os.environ.get("LATENTESE_PREFECT_RUN"):
        tags["prefect.flow_run"] = prefect_run
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc.experiment"] = experiment
    return tags


def _git_commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False)
    return commit.stdout.strip() or "not under git"


if __name__ == "__main__":
    run_with_params(main)
