"""Fit a target's dictionary to its activations (DVC stage `train`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from flows.config import Params, build, build_once, read_params, settings
from flows.entry import run_stage
from flows.paths import activations_of, of_target, tracking_uri
from latentese.dictionaries.base import Dictionary, Trainable
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.training import StepLogger
from latentese.errors import SettingError
from latentese.stages.train import train
from latentese.subject.hookpoints import hookpoint_width
from latentese.subject.shape import read_shape
from latentese.tracking import live_run


def prepare(params: Params, target: str) -> Callable[[StepLogger], Path]:
    """Build everything the stage needs; the call that is returned writes the target's dictionary."""
    training = settings(TrainSettings, params["training"], "training")
    out = of_target(target, "dictionary")
    return partial(train, activations_of(params, target), dictionary(params, target), training, out)


@contextmanager
def step_logger(params: Params, target: str) -> Iterator[StepLogger]:
    """Where training curves go while they grow: to a live MLflow run if `tracking.live`, else nowhere."""
    if not params["tracking"]["live"]:
        yield lambda step: None
        return
    with live_run(tracking_uri(params), params["tracking"]["experiment"], f"train@{target}") as log:
        yield lambda step: log(step.step, asdict(step))


def dictionary(params: Params, target: str) -> Dictionary:
    """Build the target's dictionary at the width of its hookpoint, which the subject's configuration tells."""
    spec = params["targets"][target]
    shape = read_shape(build_once(params["subject"], "subject").folder())
    made: Dictionary = build(
        spec["dictionary"], f"targets.{target}.dictionary", d_model=hookpoint_width(shape, spec["hookpoint"])
    )
    if isinstance(made, Trainable) and "train" not in spec["splits"]:
        raise SettingError(f"targets.{target}.splits", spec["splits"], "its dictionary is trained: it needs train")
    return made


def main(target: str) -> None:
    """Run the stage for one target."""
    params = read_params()
    run_train = prepare(params, target)
    with step_logger(params, target) as log:
        run_train(log)


if __name__ == "__main__":
    run_stage("train", main)
