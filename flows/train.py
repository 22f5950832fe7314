"""Fit a target's dictionary to its activations (DVC stage `train`).

python -m flows.train latents                                   one process, as DVC runs it
torchrun --nproc-per-node=2 -m flows.train latents              several, which divide what `training.divide` says
dvc commit train@latents                                        keep what they made, as if DVC had run it
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from flows.config import Params, build, build_once, read_params, settings
from flows.entry import run, run_stage
from flows.paths import CONTEXTS, activations_of, of_target, tracking_uri
from latentese.corpus.contexts import Contexts
from latentese.dictionaries.base import Dictionary, Trainable
from latentese.dictionaries.processes import Processes
from latentese.dictionaries.together import training_together
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.training import StepLogger
from latentese.errors import SettingError
from latentese.stages.streaming import SubjectTokens
from latentese.stages.train import CachedTokens, Fit, TrainTokens, assist, fit_dictionary
from latentese.store.shards import Activations
from latentese.subject.hookpoints import hookpoint_width
from latentese.subject.model import SubjectChoice
from latentese.subject.settings import CaptureSettings
from latentese.subject.shape import read_shape
from latentese.tracking import live_run


def prepare(params: Params, target: str) -> Callable[[Processes], Fit]:
    """Build everything the stage needs; the call that is returned opens what the dictionary is fitted to."""
    training, made = train_settings(params), dictionary(params, target)
    opened = streamed_tokens if params["targets"][target].get("stream") else cached_tokens
    tokens = opened(params, target)
    return lambda processes: Fit(tokens(), made, training, processes)


def cached_tokens(params: Params, target: str) -> Callable[[], TrainTokens]:
    """Read the activations that `collect` kept, once they are there."""
    activations = activations_of(params, target)
    return lambda: CachedTokens(Activations(activations))


def streamed_tokens(params: Params, target: str) -> Callable[[], TrainTokens]:
    """Let the subject read the contexts, once they are there."""
    hookpoint = params["targets"][target]["hookpoint"]
    capture = settings(CaptureSettings, {**params["capture"], "splits": ["train"]}, "capture")
    subject = SubjectChoice(build_once(params["subject"], "subject"), capture.dtype, capture.device)
    return lambda: SubjectTokens(Contexts(CONTEXTS), subject, hookpoint, capture.batch_contexts)


def train_settings(params: Params) -> TrainSettings:
    """Read how dictionaries are trained."""
    return settings(TrainSettings, params["training"], "training")


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
    """Run the stage for one target, as the first of all processes or the only one."""
    params = read_params()
    fit = prepare(params, target)
    with training_together(train_settings(params)) as processes, step_logger(params, target) as log:
        fit_dictionary(fit(processes), of_target(target, "dictionary"), log)


def help_main(target: str) -> None:
    """Take part as another process than the first: only that one writes, logs and shows progress."""
    params = read_params()
    fit = prepare(params, target)
    with training_together(train_settings(params)) as processes:
        assist(fit(processes))


if __name__ == "__main__":
    if os.environ.get("RANK", "0") == "0":
        run_stage("train", main)
    else:
        run(help_main)
